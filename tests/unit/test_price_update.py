"""Newer prices: from a newer genai-prices, or from files; dated, validated, written at once, never an edit of the past."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from costguard._catalog import Catalog
from costguard._pricebook import problems
from costguard._snapshot import load
from costguard._types import Usage
from costguard.errors import ConfigError
from costguard.prices import _genai
from costguard.prices._refresh import refreshed
from costguard.prices._update import forget, from_files, from_package, write

TODAY = date(2026, 12, 1)
NOON = 1_796_126_400.0
"""That day's noon."""
YEAR = 365 * 86_400.0

Book = dict[str, Any]


def book(**changes: Any) -> Book:
    tiers = {"batch": {"input": 2, "output": 4}}
    model = {
        "id": "m-1",
        "names": ["m1"],
        "prices": [{"from": None, "rates": {"input": 4, "output": 8, "cache_read": 1}, "tiers": tiers}],
    }
    made: Book = {"version": 1, "provider": "acme", "checked": "2026-11-01", "models": [model]}
    return made | changes


def price(source: Book, model: str, at: float, tier: str = "standard") -> tuple[int, str]:
    """What a million of each token costs in nano-dollars, and the entry."""
    catalog = Catalog(lambda name: source if name == "acme" else None)
    cost = catalog.cost("acme", model, [Usage({"input": 1000, "output": 1000, "cache_read": 1000}, tier=tier)], at)
    return cost.nano, cost.entry


def test_a_changed_price_becomes_a_dated_entry_in_front() -> None:
    """From today where the source gives no day; last month stays as it was, and what only we know stays, in proportion."""
    fresh = [{"id": "m-1", "names": ["m1", "m-one"], "prices": [{"from": None, "rates": {"input": 6, "output": 12}}]}]
    new, changes = refreshed(book(), fresh, "2026-12-01")
    assert problems(new) == []
    assert changes == ['~ acme/m-1 from 2026-12-01: {"input": 6, "output": 12}']
    assert price(new, "m-1", NOON - YEAR) == (13, "acme/m-1")
    assert price(new, "m-one", NOON) == (19, "acme/m-1@2026-12-01")
    assert price(new, "m-1", NOON, "batch") == (3 + 6 + 1, "acme/m-1@2026-12-01#batch")
    assert refreshed(new, fresh, "2026-12-02") == (new, [])


def test_an_announced_price_keeps_its_day() -> None:
    """A dated price of the source is taken with its own day, in order, with the tiers it was published with."""
    prices = [
        {"from": "2027-03-01", "rates": {"input": 9, "output": 9}, "tiers": {"batch": {"input": 1, "output": 1}}},
        {"from": "2027-01-01", "rates": {"input": 5, "output": 8}},
        {"from": None, "rates": {"input": 4, "output": 8}},
    ]
    new, changes = refreshed(book(), [{"id": "m-1", "prices": prices}], "2026-12-01")
    assert problems(new) == []
    assert len(changes) == 2
    assert [price["from"] for price in new["models"][0]["prices"]] == ["2027-03-01", "2027-01-01", None]
    assert price(new, "m-1", NOON)[0] == 13
    assert price(new, "m-1", NOON + YEAR) == (19, "acme/m-1@2027-03-01")
    assert price(new, "m-1", NOON + YEAR, "batch")[0] == 3


def test_long_context_rates_that_only_we_know_stay_in_proportion() -> None:
    """The source has a plain rate where a long request costs more: the same rate is no change, another one scales."""
    ours = book()
    ours["models"][0]["prices"][0]["rates"]["input"] = [4, [1000, 8]]
    same = [{"id": "m-1", "prices": [{"from": None, "rates": {"input": 4, "output": 8}}]}]
    assert refreshed(ours, same, "2026-12-01") == (ours, [])
    half = [{"id": "m-1", "prices": [{"from": None, "rates": {"input": 2, "output": 8}}]}]
    new, _ = refreshed(ours, half, "2026-12-01")
    assert new["models"][0]["prices"][0]["rates"]["input"] == [2, [1000, 4]]


def test_a_new_model_is_added_with_names_that_are_free() -> None:
    """A name that another model has stays with it: nothing that is priced today is priced as the new model."""
    fresh = [{"id": "m-2", "names": ["m1", "m-two"], "context": 9, "prices": [{"from": None, "rates": {"input": 1}}]}]
    new, changes = refreshed(book(), fresh, "2026-12-01")
    assert (problems(new), changes) == ([], ["+ acme/m-2"])
    assert new["models"][1]["names"] == ["m-two"]
    assert price(new, "m1", NOON)[1] == "acme/m-1"


def older(provider: str, folder: Path, change: Callable[[Book], None]) -> None:
    """Put a file into the folder that is from an older release, and changed."""
    old: Book = json.loads(json.dumps(load(provider)))
    old["checked"] = "2999-01-01"
    old["sources"][0]["version"] = "0.0.1"
    change(old)
    write([old], folder)


def test_a_newer_package_restores_what_an_old_file_lacks(tmp_path: Path) -> None:
    """The real genai-prices: a model that was missing comes back, a rate that was another is dated from today."""
    ours = load("mistral")
    assert ours is not None
    wanted = next(model for model in ours["models"] if model["id"] == "codestral")
    now = _genai.current(wanted, TODAY.isoformat())["rates"]

    def change(old: Book) -> None:
        old["models"] = [model for model in old["models"] if model["id"] != "mistral-nemo"]
        codestral = next(model for model in old["models"] if model["id"] == "codestral")
        codestral["prices"] = [{"from": None, "rates": {**now, "input": 7}}]

    older("mistral", tmp_path, change)
    found = {fresh["provider"]: (fresh, changes) for fresh, changes in from_package(tmp_path, TODAY)}
    assert set(found) == {"mistral"}
    fresh, changes = found["mistral"]
    assert any(line.startswith("+ mistral/mistral-nemo") for line in changes)
    assert any(line.startswith("~ mistral/codestral from 2026-12-01") for line in changes)
    assert problems(fresh) == []
    write([fresh], tmp_path)
    assert list(from_package(tmp_path, TODAY)) == []


def test_the_files_are_already_what_the_package_says(tmp_path: Path) -> None:
    """Every provider of the release that our files are from comes out of a refresh as it went in."""
    if _genai.PUBLISHED.keys() != {_release()}:
        pytest.skip("another release of genai-prices is installed than the files are from")
    for provider in _genai.providers():
        ours = load(provider.id, tmp_path)
        if ours is not None:
            free = [model["id"] for model in ours["models"] if model.get("free")]
            assert refreshed(ours, _genai.models(provider, free), "2026-11-23")[1] == [], provider.id


def _release() -> str:
    from importlib.metadata import version

    return version("genai-prices")


def test_files_are_taken_when_they_were_checked_later(tmp_path: Path) -> None:
    """A file or a folder of them; what is not newer than the present file is left out."""
    source, folder = tmp_path / "new", tmp_path / "prices"
    source.mkdir()
    (source / "acme.json").write_text(json.dumps(book()), encoding="utf-8")
    (source / "openai.json").write_text(
        json.dumps({**(load("openai") or {}), "checked": "2020-01-01"}), encoding="utf-8"
    )
    found = list(from_files(source, folder))
    assert [(new["provider"], changes) for new, changes in found] == [("acme", ["+ acme: 1 models"])]
    write([new for new, _ in found], folder)
    assert load("acme", folder) == book()
    later = book(checked="2026-11-02")
    later["models"][0]["prices"].insert(0, {"from": "2026-12-24", "rates": {"input": 5}})
    (source / "acme.json").write_text(json.dumps(later), encoding="utf-8")
    ((new, changes),) = from_files(source / "acme.json", folder)
    assert changes == ['~ acme/m-1 {"from": "2026-12-24", "rates": {"input": 5}}']
    assert forget(folder) == ["acme"]
    assert load("acme", folder) is None
    assert new == later


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "Expecting"),
        ("[]", "holds no table"),
        (json.dumps(book(version=9)), "version 9"),
        (json.dumps(book(provider="../../etc")), "no name of a provider"),
        (json.dumps(book(models=[{"id": "m", "prices": [{"rates": {"input": 0}}]}])), "input = 0 is no rate"),
    ],
)
def test_a_bad_file_is_refused_and_nothing_is_written(tmp_path: Path, content: str, words: str) -> None:
    """Also what is sound beside it: an update is carried out as a whole or not at all."""
    source = tmp_path / "new"
    source.mkdir()
    (source / "acme.json").write_text(json.dumps(book()), encoding="utf-8")
    (source / "bad.json").write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=words):
        list(from_files(source, tmp_path))
    with pytest.raises(ConfigError, match="no price file"):
        write([book(), book(provider="other", models=[])], tmp_path / "prices")
    assert not (tmp_path / "prices").exists()
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="holds no price files"):
        list(from_files(tmp_path / "empty", tmp_path))


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    """The folder's path is a file: one line of error, nothing half written."""
    (tmp_path / "prices").write_text("", encoding="utf-8")
    with pytest.raises(ConfigError, match="cannot be written to"):
        write([book()], tmp_path / "prices")
