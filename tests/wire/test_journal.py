"""Calls of the real SDKs, as a journal has them afterwards."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import openai
import pytest
from google import genai

import costguard
from costguard._config import state
from costguard._journal import Selection
from costguard._money import decimal_usd
from costguard.errors import BudgetExceededError, ConfigError
from costguard.journals import open_journal
from costguard.journals.memory import MemoryJournal
from costguard.testing.loopback import LoopbackProvider, Reply

from . import truth

pytestmark = pytest.mark.usefixtures("guard")

ASK: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 100}


@pytest.fixture
def client(provider: LoopbackProvider) -> Iterator[openai.OpenAI]:
    provider.reply = Reply(input_tokens="measured", output_tokens=50)
    with openai.OpenAI(api_key="x", base_url=provider.openai_url, max_retries=0) as client:
        yield client


@pytest.fixture
def journal() -> MemoryJournal:
    journal = MemoryJournal()
    costguard.configure(journal=journal, budgets=[costguard.budget("$0.01", feature="small", period="lifetime")])
    return journal


def test_a_file_has_what_the_provider_billed(client: openai.OpenAI, provider: LoopbackProvider, tmp_path: Path) -> None:
    """Calls, streams and failures of a block, with its attribution and its run, and not a word of what was asked."""
    costguard.configure(journal=f"sqlite:///{tmp_path}/calls.db")
    with costguard.budgeted("search", team="web", user="u1", customer="c1"):
        client.chat.completions.create(**ASK)
        list(client.chat.completions.create(**ASK, stream=True))
        provider.reply = Reply(status=400)
        with pytest.raises(openai.BadRequestError):
            client.chat.completions.create(**ASK)
        costguard.outcome("answered", value="$2")
    costguard.flush()
    journal = open_journal(f"sqlite:///{tmp_path}/calls.db")
    events = list(journal.calls(Selection()))
    assert ["ok", "ok", "error"] == [event.outcome for event in events]
    assert truth.cost("openai", *provider.billed) == decimal_usd(sum(event.cost.nano for event in events))
    assert {("search", "web", "u1", "c1")} == {tuple(event.tags.values()) for event in events}
    (result,) = journal.results(Selection())
    assert {result.run} == {event.run for event in events}
    assert 2 * 10**9 == result.value
    assert events[0].cost.entry.startswith("openai/gpt-4o")
    assert events[0].duration > 0
    journal.close()
    for file in tmp_path.iterdir():
        assert b'"hi"' not in file.read_bytes()


def test_equal_requests_have_equal_fingerprints(client: openai.OpenAI, journal: MemoryJournal) -> None:
    """However they travel; so a review can tell what a cache would have saved."""
    client.chat.completions.create(**ASK)
    list(client.chat.completions.create(**ASK, stream=True))
    client.chat.completions.create(**{**ASK, "model": "gpt-4o-mini"})
    one, two, other = [event.fingerprint for event in journal.calls(Selection())]
    assert one
    assert one == two
    assert one != other


def test_google_s_requests_have_fingerprints_too(provider: LoopbackProvider, journal: MemoryJournal) -> None:
    """A function seam hands its request over as well."""
    client = genai.Client(api_key="x", http_options={"base_url": provider.google_url})
    for _ in range(2):
        client.models.generate_content(model="gemini-2.5-flash", contents="hi")
    prints = [event.fingerprint for event in journal.calls(Selection())]
    assert prints[0]
    assert [prints[0]] * 2 == prints


def test_refused_calls_are_kept_as_blocked(client: openai.OpenAI, journal: MemoryJournal) -> None:
    """They cost nothing, and the review can say what a limit kept out."""
    with costguard.budgeted("small"), pytest.raises(BudgetExceededError):
        client.chat.completions.create(**{**ASK, "max_tokens": 10_000, "n": 50})
    (event,) = journal.calls(Selection())
    assert ("refused", "blocked", 0) == (event.outcome, event.decision, event.cost.nano)


def test_without_a_journal_no_fingerprint_is_made(client: openai.OpenAI, guard: Any) -> None:
    """Nobody pays for what nobody wants."""
    assert state.guard.fingerprints is None
    client.chat.completions.create(**ASK)


def test_a_broken_journal_breaks_no_call(client: openai.OpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its errors are logged."""
    from costguard._shield import bugs

    class Broken(MemoryJournal):
        def record(self, record: Any) -> None:
            raise RuntimeError("broken")

    costguard.configure(journal=Broken())
    monkeypatch.setattr(bugs, "loud", False)
    with costguard.budgeted("f"):
        client.chat.completions.create(**ASK)
        costguard.outcome("done")
    assert 1 == costguard.spend(feature="f").calls


def test_an_outcome_without_a_journal_warns_once(caplog: pytest.LogCaptureFixture) -> None:
    """It is no error: tests of a program need no journal."""
    with caplog.at_level(logging.WARNING, "costguard"):
        costguard.outcome("nowhere")
        costguard.outcome("nowhere", value=Decimal("1.5"))
    assert 1 == sum("COSTGUARD_JOURNAL" in record.message for record in caplog.records)


@pytest.mark.parametrize(("name", "value"), [("", 1), ("a\nb", 1), ("x", -1), ("x", "many"), (5, 1)])
def test_a_wrong_outcome_says_what_is_wrong(name: Any, value: Any) -> None:
    """Its name or its value."""
    with pytest.raises(ConfigError, match=r"value|printable"):
        costguard.outcome(name, value=value)


def test_the_environment_names_the_journal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """COSTGUARD_JOURNAL, which an argument overrides."""
    monkeypatch.setenv("COSTGUARD_JOURNAL", f"sqlite:///{tmp_path}/calls.db")
    costguard.configure()
    costguard.track("gpt-4o-mini", input_tokens=10)
    costguard.configure(journal="memory://")
    assert isinstance(state.guard.journal, MemoryJournal)
    assert 1 == len(list(open_journal(f"sqlite:///{tmp_path}/calls.db").calls(Selection())))
    with pytest.raises(ConfigError, match="journal"):
        costguard.configure(journal=5)  # type: ignore[arg-type]
