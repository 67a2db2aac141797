"""`costguard doctor`: what is fine, what is not, and how to mend it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import costguard
from costguard._environment import VARIABLES, Environment
from costguard._types import Balance, Leg
from costguard.cli import _checks, doctor, main
from costguard.cli._checks import Found, Patient, examine, safe
from costguard.cli._checks_sdks import _wrapped
from costguard.ports import Seam

from ..faults.clocks import other_zones

EVERY = doctor.CHECKS
QUICK = tuple(check for check in doctor.CHECKS if check.__name__ != "sdks")
"""Without the check that imports every SDK there is."""


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(doctor, "CHECKS", QUICK)
    yield
    monkeypatch.undo()
    costguard.configure(ledger="memory://", exporters=[])


def told(capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, dict[str, Any]]:
    """The exit code, and the document."""
    code = main(["doctor", "--json", *options])
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "costguard.doctor/1"
    assert document["ok"] == (code == 0)
    return code, document


def findings(document: dict[str, Any]) -> list[tuple[str, str]]:
    assert all(one["fix"] for one in document["checks"] if one["state"] == "finding")
    return [(one["check"], one["said"]) for one in document["checks"] if one["state"] == "finding"]


def test_a_whole_environment_is_told_so(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Every SDK that is installed here would be metered, nothing is to be mended, and it fits a page of 80 columns."""
    monkeypatch.setattr(doctor, "CHECKS", EVERY)
    monkeypatch.setenv("COLUMNS", "80")
    code = main(["doctor"])
    out, err = capsys.readouterr()
    assert (code, err) == (0, ""), out
    lines = out.splitlines()
    for name in ("openai", "anthropic", "google-genai"):
        assert any(f" {name} " in line and "would be metered" in line for line in lines), out
    assert any(line.startswith("note") and "memory:// counts for one process" in line for line in lines)
    assert lines[-1] == "all is well"
    assert max(map(len, lines)) <= 80


def test_settings_are_told_with_where_they_come_from(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """File, variable or default, budgets and tags one by one."""
    text = 'mode = "observe"\nexporters = ["stdout"]\n[tags]\nteam = "web"\n[[budgets]]\nlimit = "$5/day"\nfeature = "f.g"\n'
    Path("costguard.toml").write_text(text, encoding="utf-8")
    monkeypatch.setenv("COSTGUARD_TAGS", "tenant=acme")
    code, document = told(capsys)
    assert code == 0
    assert {(one["setting"], one["value"], one["source"]) for one in document["settings"]} == {
        ("mode", "observe", str(tmp_path / "costguard.toml")),
        ("exporters", "stdout", str(tmp_path / "costguard.toml")),
        ("tags.team", "web", str(tmp_path / "costguard.toml")),
        ("tags.tenant", "acme", "COSTGUARD_TAGS"),
        ("budget", "feature=f.g, per day: $5.00 per day", str(tmp_path / "costguard.toml")),
        ("ledger", "memory://", "default"),
        ("journal", "none", "default"),
        ("on_unknown_price", "estimate", "default"),
        ("executors", "False", "default"),
        ("tokenizer", "False", "default"),
    }


def test_a_broken_configuration_is_a_finding(capsys: pytest.CaptureFixture[str]) -> None:
    """With what is allowed; checks that need none go on."""
    Path("costguard.toml").write_text("mod = 3", encoding="utf-8")
    code, document = told(capsys)
    [(check, said)] = findings(document)
    assert (code, check) == (1, "configuration")
    assert "unknown key, did you mean 'mode'?" in said
    assert {"prices", "clock", "package"} <= {one["check"] for one in document["checks"]}
    assert told(capsys, "--config", "gone.toml")[0] == 1


def test_variables_that_nobody_reads_are_found(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those that look like one of ours; another product has variables of that beginning too."""
    monkeypatch.setenv("COSTGUARD_LEGDER", "sqlite:x.db")
    monkeypatch.setenv("COSTGUARD_API_KEY", "theirs")
    monkeypatch.setenv("COSTGUARD_DISABLED", "1")
    said = [said for _, said in findings(told(capsys)[1])]
    assert said == [
        "the variable COSTGUARD_LEGDER is not read, did you mean COSTGUARD_LEDGER?",
        "COSTGUARD_DISABLED is set: nothing is metered",
    ]


def test_every_variable_that_is_read_is_known() -> None:
    """A new one has to be named in the list, or the doctor takes it for a slip of the pen."""
    read: set[str] = set()

    class Spy(dict[str, str]):
        def get(self, key: str, default: Any = None) -> Any:
            read.add(key)
            return {"COSTGUARD_RUN": "/x"}.get(key, default)

    Environment.read(Spy())
    assert {name for name in read if name.startswith("COSTGUARD_")} == set(VARIABLES)


def test_a_ledger_that_does_not_answer_is_found_and_its_password_is_not_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither in the finding, nor in the settings."""
    monkeypatch.setenv("COSTGUARD_LEDGER", "redis://me:s3cret@127.0.0.1:1/0")
    code = main(["doctor"])
    out = capsys.readouterr().out
    assert code == 1
    assert "FINDING  ledger" in out
    assert "redis://me:***@127.0.0.1:1/0" in out
    assert "s3cret" not in out
    assert "1 thing to mend" in out


def test_ledgers_and_exporters_that_answer_are_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """How long a round trip takes; an exporter that cannot be made is a finding."""
    monkeypatch.setenv("COSTGUARD_LEDGER", "sqlite:books.db")
    monkeypatch.setenv("COSTGUARD_EXPORTERS", "stdout,nothing")
    _, document = told(capsys)
    assert [one["state"] for one in document["checks"] if one["check"] in ("ledger", "exporters")] == [
        "ok",
        "ok",
        "finding",
    ]
    assert findings(document)[0][1].startswith("exporter 'nothing': known are")


def test_models_without_a_price_are_found_in_the_journal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the line that gives them one."""
    costguard.configure(journal="sqlite:calls.db", exporters=[], ledger="memory://")
    costguard.track("gpt-4o", input_tokens=10)
    costguard.track("who-knows", input_tokens=10, provider="nobody")
    costguard.track("gpt-4o-brand-new", input_tokens=10, provider="openai")
    costguard.flush()
    monkeypatch.setenv("COSTGUARD_JOURNAL", "sqlite:calls.db")
    _, document = told(capsys)
    assert {said for _, said in findings(document)} == {
        "nobody/who-knows: 1 calls have a part without any price",
        "openai/gpt-4o-brand-new: 1 calls were priced as a guess",
    }
    fixes = [one["fix"] for one in document["checks"] if one["state"] == "finding"]
    assert any(fix.startswith("costguard.prices.add('who-knows', provider='nobody'") for fix in fixes)
    monkeypatch.setenv("COSTGUARD_JOURNAL", "nowhere:x")
    assert findings(told(capsys)[1])[0][0] == "journal"


def test_the_other_package_of_that_name_is_found(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Its files and ours overwrite each other; two versions of ours on the path are found too."""
    other = tmp_path / "costguard-0.3.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: costguard\nVersion: 0.3\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    assert findings(told(capsys)[1])[0][1].startswith("the other package called costguard is installed too")
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: costguard-ai\nVersion: 0.0.9\n", encoding="utf-8")
    assert "several versions are on the path: 0.0.9" in findings(told(capsys)[1])[0][1]


def test_an_old_price_list_is_found(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A new release has newer ones."""
    monkeypatch.setattr(_checks, "OLD", -1)
    assert next(said for check, said in findings(told(capsys)[1]) if check == "prices").startswith("last checked on 20")


@pytest.mark.parametrize(
    ("seams", "state", "said"),
    [
        ([Seam("json", "dumps", "function")], "ok", "would be metered, in 1 places"),
        ([Seam("json", "dumps", "function"), Seam("json.gone", "f", "function")], "ok", "in 1 places"),
        ([Seam("json", "gone", "function")], "finding", "calls are not metered in 1 places, first json.gone"),
        ([Seam("json.gone", "f", "function")], "finding", "calls are not metered in 0 places, first any of them"),
        ([Seam("broken_sdk", "f", "function")], "finding", "broken_sdk cannot be imported, KeyError: 'half installed'"),
        (
            [Seam("needy_sdk", "f", "function")],
            "finding",
            "cannot be imported, ModuleNotFoundError: No module named 'gon",
        ),
    ],
)
def test_a_place_that_an_sdk_lacks_is_found(
    seams: list[Seam], state: str, said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A module that a version does not have is none of it; one that is there and lacks the function is."""
    (tmp_path / "broken_sdk.py").write_text("raise KeyError('half installed')", encoding="utf-8")
    (tmp_path / "needy_sdk.py").write_text("import gone_dependency", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    found = _wrapped(SimpleNamespace(name="x", seams=tuple(seams)), "sdk 1.0")  # type: ignore[arg-type]
    assert (found.state, found.said.startswith("sdk 1.0: ")) == (state, True)
    assert said in found.said
    assert type(json.dumps).__name__ == "function"


def test_a_check_that_fails_does_not_end_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a finding itself. Our own tests make it loud."""

    def failing(_: Patient) -> Iterator[Found]:
        raise KeyError("ours")

    def fine(_: Patient) -> Iterator[Found]:
        yield Found("fine", "ok", "it is")

    patient = Patient(None, "", "")
    with pytest.raises(KeyError):
        list(examine(patient, (failing,)))
    monkeypatch.setattr(_checks.bugs, "loud", False)
    found = list(examine(patient, (failing, fine)))
    assert [(one.check, one.state) for one in found] == [("failing", "finding"), ("fine", "ok")]


def test_passwords_are_taken_out_of_urls_only() -> None:
    """Everything else is shown as it is."""
    assert (
        safe("postgresql://u:p%40ss@host:5432/db?sslmode=require") == "postgresql://u:***@host:5432/db?sslmode=require"
    )
    assert safe("redis://:x@host") == "redis://:***@host"
    assert [safe(value) for value in ("memory://", "sqlite:///a.db", "enforce", True)] == [
        "memory://",
        "sqlite:///a.db",
        "enforce",
        "True",
    ]


def test_hosts_with_other_zone_data_are_noticed_in_the_books(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They count in windows of their own, each with the whole limit, until their data agree."""
    ledger = f"sqlite://{tmp_path}/book.db"
    shown = other_zones(tmp_path, ledger)
    assert shown.wrong == [], shown
    monkeypatch.setenv("COSTGUARD_LEDGER", ledger)
    code, document = told(capsys)
    notes = [one["said"] for one in document["checks"] if (one["check"], one["state"]) == ("ledger", "note")]
    assert (code, notes) == (0, ["'day' is counted in two windows at once, each with the whole limit"])


def test_windows_that_follow_each_other_overlap_nowhere() -> None:
    """Nor do those of different budgets, or those without an end."""
    legs = [
        Leg("day", "1", 5, 0.0, 10.0), Leg("day", "2", 5, 10.0, 20.0), Leg("other", "1", 5, 5.0, 15.0),
        Leg("ever", "lifetime", 5), Leg("ever", "1", 5, 0.0, 10.0),
    ]  # fmt: skip
    assert [] == _checks.counted_twice([Balance(leg, 0, 0) for leg in legs])
    assert ["day"] == _checks.counted_twice([Balance(leg, 0, 0) for leg in [*legs, Leg("day", "3", 5, 9.0, 19.0)]])
