"""pytest: what a test may spend, and what it did spend. Run it with `pytest`; the plugin comes with costguard."""

from collections.abc import Iterator

import openai
import pytest


@pytest.fixture
def client() -> Iterator[openai.OpenAI]:
    """A client; the tests need nothing of costguard in their code."""
    with openai.OpenAI() as client:
        yield client


def ask(client: openai.OpenAI, question: str) -> None:
    """The code under test."""
    client.chat.completions.create(model="gpt-4o-mini", max_tokens=50, messages=[{"role": "user", "content": question}])


@pytest.mark.budget("$0.01")
def test_a_greeting(client: openai.OpenAI) -> None:
    """It fails when it tries to spend more than a cent, before the money is spent."""
    ask(client, "Say hello.")


def test_what_a_summary_costs(client: openai.OpenAI, costguard_ledger) -> None:
    """What a feature costs is a property worth a test."""
    ask(client, "Summarise: the moon is far away.")
    assert costguard_ledger.spent < 0.001
    assert [call.model for call in costguard_ledger.calls] == ["gpt-4o-mini"]
