"""`costguard.toml`, variables and arguments: which of them holds, and what is said of mistakes."""

from __future__ import annotations

import copy
import inspect
import json
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import costguard
from costguard import ConfigError, Usage
from costguard._budget import budget
from costguard._config import state
from costguard._keys import Place
from costguard._own import OwnPrices
from costguard._settings import BUDGET, FILE, load, schema
from costguard.exporters.stdout import StdoutExporter
from costguard.ledgers import anchored

SHIPPED = Path(costguard.__file__).parent / "config.schema.json"

FULL: dict[str, Any] = {
    "mode": "observe",
    "ledger": "memory://",
    "exporters": {"stdout": {"json_lines": True}},
    "environment": "staging",
    "tags": {"tenant": "acme"},
    "on_unknown_price": "raise",
    "executors": True,
    "tokenizer": True,
    "cache": {
        "store": "memory://",
        "ttl": "10m",
        "features": ["faq"],
        "apart": ["tenant"],
        "sampling": True,
        "tools": False,
        "ignore": ["user"],
        "patience": 2.5,
    },
    "loop_guard": {"repeats": 5, "within": "1m", "features": ["faq"]},
    "compression": {"features": ["faq"], "steps": ["json", "phrases"], "phrases": {"please note that": ""}},
    "ladders": [{"models": ["gpt-4o", "gpt-4o-mini"], "features": ["faq"], "floor": "20%"}],
    "budgets": [
        {
            "limit": 5,
            "name": "search",
            "period": "day",
            "timezone": "Europe/Berlin",
            "week_start": "sunday",
            "per": "user",
            "alert_at": [50, 80.5],
            "enforcement": "expected",
            "on_exceeded": "warn",
            "wait": 0.5,
            "clamp": False,
            "on_ledger_down": "local",
            "local_allowance": "$1",
            "feature": "search",
            "team": "web",
            "environment": "staging",
            "user": "u-1",
            "scope": {"tenant": "acme"},
        }
    ],
    "prices": {
        "add": [
            {
                "model": "mine",
                "provider": "openai",
                "start": "2026-01-01",
                "input": 3.25,
                "output": "12",
                "context": 8000,
                "max_output": 1000,
                "discount": 10,
                "images:hd": "0.01",
            }
        ],
        "discount": [{"provider": "anthropic", "percent": 12.5, "model": "claude-sonnet-5"}],
        "alias": [{"provider": "azure", "name": "deployed", "target": "gpt-4o"}],
    },
}


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """An empty directory to work in, no variables of ours, and nothing left over."""
    monkeypatch.chdir(tmp_path)
    for name in ("CONFIG", "MODE", "LEDGER", "EXPORTERS", "TAGS", "ENVIRONMENT", "BUDGET", "RUN", "EXECUTORS"):
        monkeypatch.delenv(f"COSTGUARD_{name}", raising=False)
    yield
    costguard.uninstrument()
    monkeypatch.undo()
    state.catalog._own = OwnPrices()
    costguard.configure(ledger="memory://", exporters=[], config=False)


def write(text: str, name: str = "costguard.toml") -> Path:
    path = Path(name).absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def setup() -> Any:
    assert state.setup is not None
    return state.setup


# -- where it is found -----------------------------------------------------------------------------------------


def test_the_nearest_file_upwards_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a folder deep in a project; a `pyproject.toml` that does not mention us is passed by."""
    found = write('mode = "observe"')
    write("[project]\nname = 'inner'\n", "a/pyproject.toml")
    (tmp_path / "a" / "b").mkdir()
    monkeypatch.chdir(tmp_path / "a" / "b")
    costguard.configure()
    assert (setup().mode, setup().sources["mode"]) == ("observe", str(found))


def test_pyproject_has_a_table_for_us() -> None:
    """`[tool.costguard]`, and a `costguard.toml` beside it goes before it."""
    write('[tool.costguard]\nmode = "observe"\n', "pyproject.toml")
    costguard.configure()
    assert setup().mode == "observe"
    write('mode = "enforce"')
    costguard.configure()
    assert setup().mode == "enforce"


def test_a_broken_pyproject_that_does_not_mention_us_stops_nothing() -> None:
    """Somebody else's mistake is theirs to find."""
    write("[project\n", "pyproject.toml")
    costguard.configure()
    assert setup().mode == "enforce"


def test_the_file_can_be_named_or_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the variable, by the argument which goes before it, and not at all."""
    write('mode = "observe"')
    other = write('environment = "other"', "other/costguard.toml")
    monkeypatch.setenv("COSTGUARD_CONFIG", str(other))
    costguard.configure()
    assert (setup().mode, setup().tags) == ("enforce", {"environment": "other"})
    costguard.configure(config="costguard.toml")
    assert setup().mode == "observe"
    costguard.configure(config=False)
    assert (setup().mode, setup().tags) == ("enforce", {})
    monkeypatch.setenv("COSTGUARD_CONFIG", "")
    costguard.configure()
    assert setup().mode == "enforce"


def test_a_path_in_the_file_is_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever a program is started, it counts in the same books."""
    write('ledger = "sqlite:a%20b.db?durability=power"')
    (tmp_path / "deep").mkdir()
    for folder in (tmp_path, tmp_path / "deep"):
        monkeypatch.chdir(folder)
        costguard.configure()
        assert setup().ledger == f"sqlite://{tmp_path}/a%20b.db?durability=power"
    assert (tmp_path / "a b.db").exists()
    assert anchored("sqlite:////x/y.db") == anchored("sqlite:///x/y.db") == "sqlite:///x/y.db"
    assert anchored("redis://host/0") == "redis://host/0"


def test_a_file_that_is_named_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not passed over in silence."""
    with pytest.raises(ConfigError, match=r"gone\.toml cannot be read: .*No such file"):
        costguard.configure(config="gone.toml")
    write("", "pyproject.toml")
    with pytest.raises(ConfigError, match=r"pyproject.toml has no table \[tool.costguard\]"):
        costguard.configure(config="pyproject.toml")
    with pytest.raises(ConfigError, match="give the path of a file, or False for none"):
        costguard.configure(config=3)  # type: ignore[arg-type]


def test_nothing_is_read_on_import() -> None:
    """A broken file breaks `instrument()`, where it can be handled, and not `import costguard`."""
    write("nonsense = ")
    code = (
        "import costguard\ntry:\n    costguard.instrument()\nexcept costguard.ConfigError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert "costguard.toml is not valid TOML" in done.stdout


# -- what holds ------------------------------------------------------------------------------------------------


def test_a_file_is_weaker_than_a_variable_and_that_than_an_argument(monkeypatch: pytest.MonkeyPatch) -> None:
    """Setting by setting, and tag by tag."""
    write('mode = "observe"\non_unknown_price = "raise"\n[tags]\na = "file"\nb = "file"\nc = "file"\n')
    monkeypatch.setenv("COSTGUARD_MODE", "enforce")
    monkeypatch.setenv("COSTGUARD_TAGS", "b=variable, c=variable")
    costguard.configure(tags={"c": "argument"})
    assert (setup().mode, setup().on_unknown_price) == ("enforce", "raise")
    assert setup().tags == {"a": "file", "b": "variable", "c": "argument"}
    assert (setup().sources["mode"], setup().sources["tags.b"]) == ("COSTGUARD_MODE", "COSTGUARD_TAGS")
    costguard.configure(mode="observe", on_unknown_price="estimate")
    assert (setup().mode, setup().on_unknown_price) == ("observe", "estimate")
    assert setup().sources["mode"] == "argument"


def test_budgets_add_up_and_the_stronger_place_wins_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file's, a variable's and an argument's budgets all hold."""
    write('[[budgets]]\nname = "one"\nlimit = 1\n[[budgets]]\nname = "two"\nlimit = "$2/day"\nuser = "u"\nwait = 0.5\n')
    monkeypatch.setenv("COSTGUARD_BUDGET", "$9/week")
    costguard.configure(budgets=[costguard.budget(5, name="one")])
    assert {one.name: one.limit for one in setup().budgets} == {
        "one": 5 * 10**9,
        "everything, per week": 9 * 10**9,
        "two": 2 * 10**9,
    }
    assert next(one for one in setup().budgets if one.name == "two").wait == 0.5


def test_exporters_are_made_with_their_options(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when a variable or an argument chooses among them."""
    write("[exporters.stdout]\njson_lines = true\n")
    costguard.configure()
    [made] = state.guard.exporters
    assert isinstance(made, StdoutExporter)
    assert made._json
    monkeypatch.setenv("COSTGUARD_EXPORTERS", "")
    costguard.configure()
    assert state.guard.exporters == []
    costguard.configure(exporters=["stdout"])
    assert state.guard.exporters[0]._json  # type: ignore[attr-defined]


def test_prices_of_a_file_hold_and_a_program_goes_before_them() -> None:
    """Whenever the program says it, before or after the file is read."""
    costguard.prices.add("first", provider="openai", input=1, output=1)
    rows = "\n".join(
        f'[[prices.add]]\nprovider = "openai"\nmodel = "{name}"\ninput = 7.10\noutput = "7.10"'
        for name in ("first", "second")
    )
    write(rows + '\n[[prices.alias]]\nprovider = "openai"\nname = "nick"\ntarget = "second"\n')
    costguard.configure()
    usage = Usage({"input": 1_000_000})
    costs = {name: costguard.explain(name, usage, provider="openai").nano for name in ("first", "second", "nick")}
    assert costs == {"first": 10**9, "second": 7_100_000_000, "nick": 7_100_000_000}
    costguard.prices.add("second", provider="openai", input=2, output=2)
    assert costguard.explain("nick", usage, provider="openai").nano == 2 * 10**9
    costguard.configure(config=False)
    assert costguard.explain("nick", usage, provider="openai").cost.estimated


def test_discounts_of_a_file_stay_under_the_programs() -> None:
    """The most specific one that was said counts, and of those the program's."""
    write('[[prices.discount]]\nprovider = "openai"\nmodel = "gpt-4o"\npercent = "50%"\n')
    usage = Usage({"input": 1_000_000})
    costguard.configure(config=False)
    whole = costguard.explain("gpt-4o", usage, provider="openai").nano
    costguard.configure()
    assert costguard.explain("gpt-4o", usage, provider="openai").nano * 2 == whole
    costguard.prices.discount("openai", 10)
    assert costguard.explain("gpt-4o", usage, provider="openai").nano * 2 == whole
    costguard.prices.discount("openai", 0, "gpt-4o")
    assert costguard.explain("gpt-4o", usage, provider="openai").nano == whole


def test_executors_can_be_switched_on_in_a_file() -> None:
    """And off again by the argument."""
    write("executors = true")
    costguard.configure()
    costguard.instrument()
    assert state.executors.installed
    costguard.uninstrument()
    costguard.instrument(executors=False)
    assert not state.executors.installed


def test_a_cache_and_ladders_can_be_in_a_file(tmp_path: Path) -> None:
    """What the file says holds until the program says otherwise."""
    write(
        'ledger = "memory://"\n[cache]\nstore = "sqlite:answers.db"\nttl = "10m"\npatience = 2.5\nfeatures = ["faq"]\n'
        '[loop_guard]\nrepeats = 3\nwithin = "30s"\n'
        '[compression]\nfeatures = ["faq"]\nphrases = ["please note that"]\n'
        '[[ladders]]\nmodels = ["gpt-4o", "gpt-4o-mini"]\nfloor = "20%"\n'
    )
    costguard.configure()
    loops = state.guard.loop_guard
    assert loops is not None
    assert (loops.repeats, loops.within) == (3, 30)
    compressor = state.guard.compressor
    assert compressor is not None
    assert (True, False) == (compressor.covers(None, "faq"), compressor.covers(None, "other"))
    assert "phrases" in repr(setup().compression)
    cache = state.guard.cache
    assert cache is not None
    assert (cache.ttl, cache.patience, cache.features) == (600, 2.5, {"faq"})
    assert setup().cache["store"] == f"sqlite://{tmp_path}/answers.db"
    assert [ladder.models for ladder in setup().ladders] == [("gpt-4o", "gpt-4o-mini")]
    assert setup().sources["ladders"] == str(tmp_path / "costguard.toml")
    costguard.configure(cache="memory://", ladders=[["gpt-4.1", "gpt-4.1-mini"]])
    assert (setup().cache, setup().sources["cache"]) == ("memory://", "argument")
    assert setup().ladders == (["gpt-4.1", "gpt-4.1-mini"],)


def test_a_file_takes_everything_that_configure_takes() -> None:
    """A new argument needs a key here, or a reason: functions and clocks cannot be written down."""
    knobs = set(inspect.signature(costguard.configure).parameters)
    assert knobs - set(FILE.keys) == {"config", "clock", "on_alert", "on_compress", "on_downgrade"}


# -- mistakes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('mod = "observe"', "costguard.toml: mod: unknown key, did you mean 'mode'?; allowed are 'mode', 'ledger'"),
        ('mode = "obsrve"', "mode: 'obsrve' is not allowed here, did you mean 'observe'?; allowed are 'enforce'"),
        ("mode = 3", "mode: 3 is not allowed here; allowed are 'enforce', 'observe'"),
        ('[[budgets]]\nlimt = "$5"', "budgets[1].limt: unknown key, did you mean 'limit'?"),
        ('[[budgets]]\nlimit = "$5/dy"', "budgets[1]: period 'dy' is unknown"),
        ('[[budgets]]\nfeature = "x"', "budgets[1]: 'limit' must be given"),
        ('[[budgets]]\nlimit = 1\nuser = "u"\nscope = { user = "v" }', "scope and the key 'user' both set the tag"),
        ("[[budgets]]\nlimit = 1\nclamp = 1", "budgets[1].clamp: 1 is not allowed here; give true or false"),
        ("[[budgets]]\nlimit = -0.5", "budgets[1].limit: -0.5 is not allowed here; give a number of 0 or more"),
        ("budgets = 3", "budgets: 3 is not allowed here; give a list"),
        ('ledger = ""', "ledger: '' is not allowed here; give a string that is not empty"),
        ('ledger = "nowhere://"', "costguard.toml: ledger 'nowhere://': the schemes are"),
        ("[cache]\nttl = 'soon'", "costguard.toml: "),
        ("[cache]\nstore = 'nowhere:x'", "costguard.toml: "),
        ("[[ladders]]\nmodels = ['one']", "ladders[1].models: ['one'] is not allowed here; give a list of 2 or more"),
        ("[compression]\nsteps = ['jsn']", "steps[1]: 'jsn' is not allowed here, did you mean 'json'?"),
        ("[compression]\nphrases = { a = 1 }", "compression.phrases.a: 1 is not allowed here; give a string"),
        ('exporters = ["std"]', "costguard.toml: exporter 'std': known are"),
        (
            "[exporters.stdout]\ncolour = 1",
            "exporters.stdout: got an unexpected keyword argument 'colour'; its options",
        ),
        ('[tags]\n"no name" = "x"', "costguard.toml: tags: 'no name' is no tag name"),
        ('environment = "a"\n[tags]\nenvironment = "b"', "environment: tags.environment says otherwise"),
        ('[[prices.add]]\nprovider = "openai"\nmodel = "m"\ninptu = 3', "prices.add[1].inptu: unknown key, did you"),
        ('[[prices.add]]\nprovider = "openai"\nmodel = "m"', "prices: prices for 'm': give at least one rate"),
        ('[[prices.discount]]\nprovider = "openai"\npercent = 101', "prices: a discount of 101 is not between"),
        ("tool = {}\n", "tool: unknown key"),
    ],
)
def test_a_mistake_names_the_file_the_key_and_what_is_allowed(text: str, said: str) -> None:
    """So that nobody has to look it up, and nothing is set up halfway."""
    before = state.guard
    write(text)
    with pytest.raises(ConfigError) as raised:
        costguard.configure()
    assert said in str(raised.value)
    assert str(Path("costguard.toml").absolute()) in str(raised.value)
    assert state.guard is before


def test_a_mistake_in_pyproject_has_the_path_of_its_table() -> None:
    """As it stands in the file."""
    write("[tool.costguard.tags]\nteam = 3\n", "pyproject.toml")
    with pytest.raises(ConfigError, match=r"pyproject.toml: tool.costguard.tags.team: 3 is not allowed here"):
        costguard.configure()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("MODE", "obsrve", "COSTGUARD_MODE='obsrve': allowed are 'enforce' and 'observe'"),
        ("TAGS", "team", "write tags like 'team=web,tenant=acme'"),
        ("TAGS", "9=x", "COSTGUARD_TAGS: '9' is no tag name"),
        ("BUDGET", "5 apples", "COSTGUARD_BUDGET: "),
        ("EXECUTORS", "maybe", "COSTGUARD_EXECUTORS='maybe': allowed are '1' and '0'"),
        ("LEDGER", "nowhere://", "COSTGUARD_LEDGER: ledger 'nowhere://'"),
        ("EXPORTERS", "std", "COSTGUARD_EXPORTERS: exporter 'std'"),
        ("CONFIG", "gone.toml", "gone.toml cannot be read"),
    ],
)
def test_a_mistake_in_a_variable_names_it(name: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the argument that it stands for."""
    monkeypatch.setenv(f"COSTGUARD_{name}", value)
    with pytest.raises(ConfigError) as raised:
        costguard.configure()
    assert said in str(raised.value)
    monkeypatch.undo()


# -- the schema ------------------------------------------------------------------------------------------------


def test_the_schema_that_ships_is_the_readers() -> None:
    """`python tools/config_schema.py` writes it."""
    shipped = json.loads(SHIPPED.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(shipped)
    assert shipped == schema()


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in items:
        yield from _places(one, (*path, key))


def _planted(path: tuple[Any, ...], value: Any) -> Any:
    document = copy.deepcopy(FULL)
    if not path:
        return value
    inner: Any = document
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return document


def _reads(document: Any) -> bool:
    try:
        FILE.read(document, Place("costguard.toml"))
    except ConfigError:
        return False
    return True


def test_schema_and_reader_agree_on_every_key() -> None:
    """Whatever is put in the place of any value, and wherever a key is added: both take it, or neither does."""
    validator = jsonschema.Draft202012Validator(json.loads(SHIPPED.read_text(encoding="utf-8")))
    assert validator.is_valid(FULL)
    assert _reads(FULL)
    taken = refused = 0
    for path in _places(FULL):
        for value in (True, 3, -1, 2.5, "", [], {}, [3], {"unknown": 3}, ["stdout"]):
            document = _planted(path, value)
            expected = validator.is_valid(document)
            assert _reads(document) == expected, (path, value)
            taken, refused = taken + expected, refused + (not expected)
    assert taken > 40
    assert refused > 300


def test_a_file_takes_everything_that_budget_takes() -> None:
    """A new argument of `costguard.budget` needs a key here, or a reason."""
    knobs = set(inspect.signature(budget).parameters) - {"scope", "default_period"}
    assert knobs <= set(BUDGET.keys)


def test_a_full_file_is_read_whole() -> None:
    """Every key, with fractions that are exact."""
    write(
        'mode = "observe"\nexecutors = true\n[[budgets]]\nlimit = 0.1\nalert_at = [33.3]\n'
        '[[prices.add]]\nprovider = "openai"\nmodel = "m"\nstart = 2026-12-01\ninput = 0.1\noutput = 0.3\n'
    )
    settings = load(Path("costguard.toml"))
    assert settings.budgets[0].limit == 10**8
    assert settings.prices.add[0] == {
        "provider": "openai",
        "model": "m",
        "start": "2026-12-01",
        "input": Decimal("0.1"),
        "output": Decimal("0.3"),
    }
