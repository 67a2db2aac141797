"""What has to be right in a price file that comes from elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from costguard._pricebook import problems
from costguard._snapshot import load, providers

SOUND: dict[str, Any] = {
    "version": 1,
    "provider": "acme",
    "checked": "2027-01-02",
    "fees": {"web_searches": 10**10, "images:hd": [5, 3]},
    "aliases": {"m": {"to": "m-1"}},
    "models": [
        {
            "id": "m-1",
            "names": ["m1"],
            "prices": [
                {"from": "2027-01-01", "rates": {"input": [5, [1000, 9]]}, "tiers": {"batch": {"input": 2}}},
                {"from": None, "rates": {"input": 4, "output": 7}},
            ],
        }
    ],
}


def changed(path: str, value: Any) -> dict[str, Any]:
    book: dict[str, Any] = json.loads(json.dumps(SOUND))
    at: Any = book
    *way, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    for step in way:
        at = at[step]
    at[last] = value
    return book


def test_our_own_files_are_sound() -> None:
    """Every price file of the package passes."""
    assert problems(SOUND) == []
    for provider in providers():
        assert problems(load(provider)) == [], provider


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("version", 2, "version 2"),
        ("provider", "", "no provider"),
        ("checked", "yesterday", "on which day"),
        ("models", [], "no models"),
        ("models.0.id", None, "no id"),
        ("models.0.prices", [], "no prices"),
        ("models.0.prices.0.rates", {}, "without rates"),
        ("models.0.prices.0.rates", {"input": 0}, "no rate"),
        ("models.0.prices.0.rates", {"input": -1}, "no rate"),
        ("models.0.prices.0.rates", {"input": 2.5}, "no rate"),
        ("models.0.prices.0.rates", {"input": True}, "no rate"),
        ("models.0.prices.0.rates", {"input": 10**16}, "no rate"),
        ("models.0.prices.0.rates", {"input": [5, [1000, 9], [1000, 10]]}, "no rate"),
        ("models.0.prices.0.rates", {"input": [5]}, "no rate"),
        ("models.0.prices.0.rates", {"inptu": 5}, "no unit"),
        ("models.0.prices.0.tiers", {"batch": {"input": "2"}}, "no rate"),
        ("models.0.prices.0.from", "2026-13-01", "newest first"),
        ("models.0.prices.1.from", "2028-01-01", "newest first"),
        ("fees", {"web": 1}, "no unit"),
        ("aliases", {"m": {"to": "m-9"}}, "no listed model"),
    ],
)
def test_what_is_wrong_is_named(path: str, value: Any, words: str) -> None:
    """Each mistake by itself is found, and said where it is."""
    first, *others = problems(changed(path, value))
    assert words in first
    assert others == [] or words == "no id"


def test_what_is_no_book_at_all_is_no_error() -> None:
    """Anything can be asked about."""
    for thing in (None, [], "x", 3, {}, {"version": 1, "models": [3]}):
        assert problems(thing)


def test_the_newer_of_two_files_counts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An updated file goes before the package's when it was checked later; a damaged one is told of and not used."""
    packaged = load("openai")
    assert packaged is not None
    file = tmp_path / "openai.json"
    assert load("openai", tmp_path) == packaged
    file.write_text(json.dumps({**packaged, "checked": "2999-01-01"}), encoding="utf-8")
    assert (load("openai", tmp_path) or {})["checked"] == "2999-01-01"
    file.write_text(json.dumps({**packaged, "checked": "2020-01-01"}), encoding="utf-8")
    assert load("openai", tmp_path) == packaged
    assert caplog.messages == []
    file.write_text('{"version": 1', encoding="utf-8")
    assert load("openai", tmp_path) == packaged
    file.write_text(json.dumps({**packaged, "checked": "2999-01-01", "models": []}), encoding="utf-8")
    assert load("openai", tmp_path) == packaged
    assert [f"{file} is no price file" in said for said in caplog.messages] == [True, True]
    (tmp_path / "acme.json").write_text(json.dumps(SOUND), encoding="utf-8")
    assert load("acme", tmp_path) == SOUND
