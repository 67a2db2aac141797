"""Own prices that are written down: in a TOML or JSON file, or in a configuration's table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from costguard._catalog import Catalog
from costguard._snapshot import read_table, vendored
from costguard._types import Usage
from costguard.errors import ConfigError
from costguard.prices._written import put

NOW = 1_795_392_000.0
TOML = """
[[discount]]
provider = "anthropic"
percent = 15

[[discount]]
provider = "openai"
model = "gpt-4o-mini"
percent = 50

[[add]]
provider = "openai"
model = "our-finetune"
input = "3.00"
output = 12.0
cache_read = 0.1
context = 128_000
max_output = 16_384

[[add]]
provider = "openai"
model = "gpt-4o"
input = 2
output = 8
start = 2027-01-01

[[add]]
provider = "ollama"
model = "llama3"
free = true

[[add]]
provider = "azure"
model = "whisper"
audio_seconds = "0.0001"

[[alias]]
provider = "azure"
name = "our-deployment"
target = "gpt-4o"
"""


@pytest.fixture
def catalog() -> Catalog:
    return vendored()


def nano(catalog: Catalog, provider: str, model: str, at: float = NOW, **counts: int) -> int:
    cost = catalog.cost(provider, model, [Usage(counts)], at)
    assert cost.unpriced == ()
    return cost.nano


def check(catalog: Catalog) -> None:
    """What the file above says, in nano-dollars of a thousand units."""
    assert nano(catalog, "openai", "our-finetune", input=1000, output=1000, cache_read=1000) == 15_100_000
    assert nano(catalog, "openai", "gpt-4o", input=1000) == 2_500_000
    assert nano(catalog, "openai", "gpt-4o", NOW + 60 * 86_400, input=1000) == 2_000_000
    assert nano(catalog, "openai", "gpt-4o-mini", output=1000) == 300_000
    assert nano(catalog, "anthropic", "claude-3-opus", input=1000) == 12_750_000
    assert nano(catalog, "ollama", "llama3", input=1000, output=5) == 0
    assert nano(catalog, "azure", "our-deployment", input=1000) == 2_500_000
    assert nano(catalog, "azure", "whisper", audio_seconds=1000) == 100_000_000


def test_a_toml_file_sets_prices(catalog: Catalog, tmp_path: Path) -> None:
    """Rates, days, sizes, discounts, free models and aliases, as one would write them."""
    file = tmp_path / "prices.toml"
    file.write_text(TOML, encoding="utf-8")
    put(catalog, file)
    check(catalog)
    model = next(one for one in catalog.models("openai") if one.id == "our-finetune")
    assert (model.context, model.max_output) == (128_000, 16_384)


def test_json_says_the_same(catalog: Catalog, tmp_path: Path) -> None:
    """A JSON file of the same shape does the same, without a float in between."""
    file = tmp_path / "prices.json"
    toml = tmp_path / "prices.toml"
    toml.write_text(TOML, encoding="utf-8")
    file.write_text(json.dumps(read_table(toml), default=str), encoding="utf-8")
    put(catalog, file)
    check(catalog)


def test_a_fraction_is_exact(catalog: Catalog, tmp_path: Path) -> None:
    """0.1 in a file is a tenth of a dollar for a million tokens: 100,000 pico-dollars for one."""
    file = tmp_path / "prices.json"
    file.write_text('{"add": [{"provider": "openai", "model": "m", "input": 0.1}]}', encoding="utf-8")
    put(catalog, file)
    assert catalog.explain("openai", "m", [Usage({"input": 1})], NOW).lines[0].rate == 100_000


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"discount": [{"provider": "openai", "percent": True}]}, "percent"),
        ({"discount": [{"provider": "openai", "percent": 150}]}, "not between 0 and 100"),
        ({"add": {"m": 3}}, "add"),
        ({"add": [{"provider": "openai", "model": "m", "inptu": 3}]}, "did you mean 'input'"),
        ({"add": [{"provider": "openai", "model": "m", "input": -3}]}, "input"),
        ({"add": [{"provider": "openai", "model": "m", "free": "yes"}]}, "free"),
        ({"add": [{"provider": "openai", "model": "m", "input": 1, "context": 0}]}, "context"),
        ({"add": [{"provider": "openai", "model": "m", "input": 1, "start": "soon"}]}, "start"),
        ({"add": [{"provider": "openai", "model": "m"}]}, "at least one rate"),
        ({"add": [{"model": "m", "input": 1}]}, "provider"),
        ({"alias": [{"provider": "azure", "name": "a", "target": 3}]}, "target"),
        ({"openai": {}}, "openai"),
    ],
)
def test_a_mistake_is_named_and_nothing_counts(catalog: Catalog, table: dict[str, Any], words: str) -> None:
    """The message says what is wrong; prices beside the mistake do not count either."""
    sound = {"provider": "deepseek", "model": "deepseek-chat", "input": 99}
    whole = {**table, "add": [sound, *table.get("add", [])]} if isinstance(table.get("add", []), list) else table
    before = nano(catalog, "deepseek", "deepseek-chat", input=1000)
    with pytest.raises(ConfigError, match=words) as error:
        put(catalog, whole)
    assert str(error.value).startswith("prices: ")
    assert nano(catalog, "deepseek", "deepseek-chat", input=1000) == before


@pytest.mark.parametrize("content", ["[openai", "{", "[]", '"x"'])
def test_a_broken_file_is_named(tmp_path: Path, content: str) -> None:
    """What cannot be read as a table says which file it is."""
    for name in ("own.toml", "own.json"):
        file = tmp_path / name
        file.write_text(content, encoding="utf-8")
        if name == "own.toml" and content == "[]":
            continue
        with pytest.raises(ConfigError, match=name):
            read_table(file)
    with pytest.raises(ConfigError, match=r"missing\.toml"):
        read_table(tmp_path / "missing.toml")


def test_what_was_said_before_stays(catalog: Catalog) -> None:
    """A file adds to prices that were set in code."""
    catalog.add("mine", provider="openai", input=1)
    put(catalog, {"add": [{"provider": "openai", "model": "other", "input": 2}]})
    assert nano(catalog, "openai", "mine", input=1000) == 1_000_000
    assert nano(catalog, "openai", "other", input=1000) == 2_000_000


def test_scratch_leaves_the_catalog_alone(catalog: Catalog) -> None:
    """What is said to a scratch copy counts once it is adopted."""
    other = catalog.scratch()
    other.add("mine", provider="openai", input=1)
    assert catalog.cost("openai", "mine", [Usage({"input": 1000})], NOW).estimated
    catalog.adopt(other)
    assert nano(catalog, "openai", "mine", input=1000) == 1_000_000
