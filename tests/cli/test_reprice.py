"""``costguard prices reprice``: recorded calls are priced again, once, and the books follow."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from costguard._config import state
from costguard._journal import Selection
from costguard._types import Call, Cost, CostEvent, Hold, Leg, Usage
from costguard.cli import main
from costguard.journals.sqlite import SQLiteJournal
from costguard.ledgers.sqlite import SQLiteLedger

AT = 1_795_000_000.0
LEG = Leg("month", "w", 10**12)


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A configuration of our own, with a journal, a ledger and a price that was negotiated afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COSTGUARD_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("COSTGUARD_CONFIG")
    yield
    state.catalog.lay_under()


def configured(tmp_path: Path, usd: str) -> None:
    """Write the configuration, with what an output token of the model costs."""
    text = (
        f'ledger = "sqlite:///{tmp_path}/book.db"\njournal = "sqlite:///{tmp_path}/calls.db?keep=all"\n'
        f'[[prices.add]]\nprovider = "acme"\nmodel = "m"\ninput = "1"\noutput = "{usd}"\n'
    )
    (tmp_path / "costguard.toml").write_text(text, encoding="utf-8")


def call(id: str, **changes: Any) -> CostEvent:
    event: dict[str, Any] = {
        "call": Call("acme", "m"),
        "usages": (Usage({"input": 1000, "output": 100}),),
        "cost": Cost(1_200_000, "own:acme/m"),
        "budgets": ("month",),
    }
    return CostEvent(id, AT, 1.0, **(event | changes))


def recorded(tmp_path: Path, *events: CostEvent) -> None:
    """Calls in the journal, and those with a budget in the ledger."""
    journal = SQLiteJournal(tmp_path / "calls.db", keep=math.inf)
    ledger = SQLiteLedger(tmp_path / "book.db")
    for event in events:
        journal.record(event)
        if event.budgets:
            ledger.reserve(Hold(event.id, 5_000_000, (LEG,), AT * 2))
            ledger.settle(event.id, event.cost.nano)
    journal.close()
    ledger.close()


def spent(tmp_path: Path) -> tuple[int, int]:
    """What the ledger's window and the journal's sums have, in nano-dollars."""
    journal = SQLiteJournal(tmp_path / "calls.db", keep=math.inf)
    ledger = SQLiteLedger(tmp_path / "book.db")
    try:
        return ledger.balances([LEG])[0].spent, sum(group.sums.nano for group in journal.sums(Selection()))
    finally:
        journal.close()
        ledger.close()


def reprice(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert main(["prices", "reprice", "--model", "m", "--since", "2026-11-01", "--json", *words]) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def test_calls_are_priced_again_once_in_journal_and_ledger(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A corrected price reaches what was recorded; doing it again changes nothing; every step stays on record."""
    recorded(tmp_path, call("a"), call("b"), call("free of budgets", budgets=()), call("other", call=Call("acme", "n")))
    assert spent(tmp_path) == (3_600_000, 4_800_000)
    configured(tmp_path, "7")
    shown = reprice(capsys, "--dry-run")
    assert (shown["changed"], shown["written"], shown["before_usd"], shown["after_usd"]) == (
        3, False, "0.003600000", "0.005100000"
    )  # fmt: skip
    assert spent(tmp_path) == (3_600_000, 4_800_000)
    done = reprice(capsys)
    assert (done["changed"], done["ledger_corrected"], done["same"]) == (3, 2, 0)
    assert spent(tmp_path) == (2 * 1_700_000 + 1_200_000, 3 * 1_700_000 + 1_200_000)
    again = reprice(capsys)
    assert (again["changed"], again["same"]) == (0, 3)
    assert spent(tmp_path) == (4_600_000, 6_300_000)
    configured(tmp_path, "2")
    assert reprice(capsys)["changed"] == 3
    assert spent(tmp_path) == (3_600_000, 4_800_000)
    configured(tmp_path, "7")
    assert reprice(capsys)["changed"] == 3
    assert spent(tmp_path) == (4_600_000, 6_300_000)
    journal = SQLiteJournal(tmp_path / "calls.db", keep=math.inf)
    kept = [(one.call, one.before.nano, one.after.nano) for one in journal.corrections(Selection())]
    journal.close()
    assert kept[:1] + kept[3:4] + kept[6:7] == [
        ("a", 1_200_000, 1_700_000),
        ("a", 1_700_000, 1_200_000),
        ("a", 1_200_000, 1_700_000),
    ]
    assert len(kept) == 9


def test_what_is_not_charged_by_its_usage_stays(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A call that was cut off, refused, answered from the cache or charged as held keeps its charge."""
    recorded(
        tmp_path,
        call("cut", outcome="partial"),
        call("refused", outcome="refused", decision="blocked", usages=(), cost=Cost(0)),
        call("cached", decision="cache_hit", cost=Cost(0)),
        call("guessed", usages=(Usage({"output": 5}, estimated=True),), cost=Cost(9, "own:acme/m", estimated=True)),
        call("returned", usages=(Usage({"output": 5}, reported=1_200_000),), cost=Cost(1_200_000, "reported")),
        call("early", budgets=()),
    )
    configured(tmp_path, "7")
    done = reprice(capsys)
    assert (done["changed"], done["left_out"], done["same"]) == (1, 4, 1)
    assert [one["id"] for one in done["calls"]] == ["early"]
    assert reprice(capsys, "--until", "2026-11-02")["changed"] == 0


def test_a_correction_that_broke_off_is_carried_out_once(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The ledger was corrected and the journal was not: the next time both are right."""
    recorded(tmp_path, call("a"))
    ledger = SQLiteLedger(tmp_path / "book.db")
    ledger.adjust("a", "a/1/1700000", 1_700_000)
    ledger.close()
    configured(tmp_path, "7")
    assert reprice(capsys)["ledger_corrected"] == 1
    assert spent(tmp_path) == (1_700_000, 1_700_000)


def test_the_table_says_what_was_done(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """In eighty columns, with the sums."""
    recorded(tmp_path, *[call(f"call-{number}") for number in range(25)])
    configured(tmp_path, "7")
    assert main(["prices", "reprice", "--model", "m", "--since", "2026-11-01"]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert "and 5 more" in out
    assert "25 calls  corrected: $0.030000000 before, $0.042500000 after" in out
