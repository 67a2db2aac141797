"""The configuration file: ``costguard.toml``, or ``[tool.costguard]`` in ``pyproject.toml``.

To add a key: one line in `FILE`, one attribute in `Settings`, and ``python tools/config_schema.py``.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from ._budget import Budget, budget, clean_tags
from ._keys import Day, Either, Flag, Free, Number, Place, Several, Table, Text
from ._own import UNITS
from .errors import ConfigError
from .ledgers import anchored
from .optimize import COMPRESSION_STEPS, Compression, Ladder, LoopGuard

NAMES: Final = ("costguard.toml", "pyproject.toml")
"""The files looked for in a directory, the first one that has something for us counts."""

MODES: Final = ("enforce", "observe")
UNKNOWN_PRICE: Final = ("estimate", "raise")


@dataclass(frozen=True, slots=True)
class PriceSettings:
    """What the ``[prices]`` of a file say: the arguments of ``costguard.prices.add``, ``discount`` and ``alias``."""

    add: tuple[dict[str, Any], ...] = ()
    discount: tuple[dict[str, Any], ...] = ()
    alias: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Settings:
    """What a configuration file says; None and empty where it says nothing.

    Attributes:
        file: its path, empty when there is none.
        exporters: name to options, in the file's order.
    """

    file: str = ""
    mode: str | None = None
    ledger: str | None = None
    journal: str | None = None
    exporters: Mapping[str, Mapping[str, Any]] | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    on_unknown_price: str | None = None
    executors: bool | None = None
    tokenizer: bool | None = None
    cache: Mapping[str, Any] | None = None
    loop_guard: LoopGuard | None = None
    compression: Compression | None = None
    ladders: tuple[Ladder, ...] = ()
    budgets: tuple[Budget, ...] = ()
    prices: PriceSettings = PriceSettings()


def _budget(said: dict[str, Any]) -> Budget:
    shortcuts: dict[str, Any] = {
        tag: said.pop(tag) for tag in ("feature", "team", "environment", "user") if tag in said
    }
    scope = said.pop("scope", {})
    twice = sorted(shortcuts.keys() & scope.keys())
    if twice:
        raise ConfigError(f"scope and the key {twice[0]!r} both set the tag {twice[0]!r}; keep one of them")
    if "wait" in said:
        said["wait"] = float(said["wait"])
    tags: dict[str, Any] = clean_tags({**scope, **shortcuts})
    return budget(said.pop("limit"), **said, **tags)


_TAG: Final = Text("the value a call's tag must have")
_TAGS: Final = Table("Tags, each with its value.", {}, others=Text("its value"))
_LIMIT: Final = Number("US dollars, as a number or like '$500/month', '5 USD per day', '$2/24h'", text=True)

BUDGET: Final = Table(
    "A limit on what the calls of a scope may cost in each window of a period.",
    {
        "limit": _LIMIT,
        "name": Text("unique in a ledger; made from scope and period when left out"),
        "period": Text("hour, day, week, month, year, a length such as 24h (rolling), lifetime, or run"),
        "timezone": Text("the IANA zone that calendar windows follow; UTC when left out"),
        "week_start": Text("the weekday a calendar week begins on"),
        "per": Text("a tag; each of its values gets this limit for itself"),
        "alert_at": Several("thresholds in percent of the limit", Number("percent")),
        "enforcement": Text("how strictly it holds; hard when left out", ("hard", "expected", "soft")),
        "on_exceeded": Text("what happens at the limit; raise when left out", ("raise", "warn", "downgrade")),
        "downgrade_at": Number("percent of the limit from which on calls go to a cheaper model of a ladder"),
        "wait": Number("seconds a caller waits when only other callers' holds are in its way"),
        "clamp": Flag("whether a call that fits only with a shorter answer is sent with a lower output cap"),
        "on_ledger_down": Text("what happens while a shared ledger is away", ("closed", "open", "local")),
        "local_allowance": Number("what each process may spend on its own with on_ledger_down = 'local'", text=True),
        "feature": _TAG,
        "team": _TAG,
        "environment": _TAG,
        "user": _TAG,
        "scope": Table("Any other tags that a call must carry to be counted.", {}, others=_TAG),
    },
    needed=("limit",),
    make=_budget,
)

_PROVIDER: Final = Text("who bills it, for example openai")
PRICES: Final = Table(
    "Own and negotiated prices; they win over the listed ones.",
    {
        "add": Several(
            "Own rates of models.",
            Table(
                "The rates of one model: US dollars for a million tokens, or for one unit of what is no token.",
                {
                    "model": Text("the model or deployment as calls name it"),
                    "provider": _PROVIDER,
                    "start": Day("the first day the rates hold; always when left out"),
                    "free": Flag("the model costs nothing"),
                    "discount": Number("percent off these rates, or off the listed ones without rates", text=True),
                    "context": Number("the most input tokens it takes", least=1, whole=True),
                    "max_output": Number("the most output tokens it gives", least=1, whole=True),
                    **{unit: Number("US dollars", text=True) for unit in sorted(UNITS)},
                },
                needed=("model", "provider"),
                others=Number("US dollars", text=True),
                pattern=f"^(?:{'|'.join(sorted(UNITS))}):.",
            ),
        ),
        "discount": Several(
            "Percentages off listed prices.",
            Table(
                "A percentage off a provider's listed prices, or off those of one of its models.",
                {
                    "provider": _PROVIDER,
                    "percent": Number("percent, for example 12.5", text=True),
                    "model": Text("the only model it is for"),
                },
                needed=("provider", "percent"),
            ),
        ),
        "alias": Several(
            "Names to be priced as others.",
            Table(
                "A name, such as an Azure deployment, that is priced as a model.",
                {
                    "provider": _PROVIDER,
                    "name": Text("the name that calls use"),
                    "target": Text("a model of the provider, or provider:model"),
                },
                needed=("provider", "name", "target"),
            ),
        ),
    },
    make=lambda said: PriceSettings(**said),
)

_EXPORTERS: Final = Either(
    "Told of each call and alert: a list of names, or a table with the options of each.",
    Several("Names, without options.", Text("an exporter's name, for example stdout")),
    Table("Each exporter's options.", {}, others=Table("Its options.", {}, others=Free("an option"))),
)


def _plain(said: dict[str, Any]) -> dict[str, Any]:
    return {name: float(value) if isinstance(value, Decimal) else value for name, value in said.items()}


def _ladder(said: dict[str, Any]) -> Ladder:
    return Ladder(*said.pop("models"), **said)


def _loop_guard(said: dict[str, Any]) -> LoopGuard:
    return LoopGuard(**_plain(said))


def _compression(said: dict[str, Any]) -> Compression:
    return Compression(**said)


def _names(about: str) -> Several:
    return Several(about, Text("a name"))


CACHE: Final = Table(
    "A response cache, for the features and blocks that ask for it.",
    {
        "store": Text("where answers are kept: memory://, sqlite:///path/to/answers.db, redis://host/0"),
        "ttl": Number("how long an answer is used: seconds, or like '10m'", text=True),
        "features": _names("features whose calls are all answered from it where they can be"),
        "apart": _names("tags that keep answers apart"),
        "sampling": Flag("also answer requests with a temperature above zero, or for several answers"),
        "tools": Flag("also answer requests that carry tools"),
        "ignore": _names("further fields of requests that do not shape the answer"),
        "patience": Number("seconds that a call waits for an equal one under way"),
    },
    make=_plain,
)

COMPRESSION: Final = Table(
    "Shorter prompts, for the features and blocks that ask for them.",
    {
        "features": _names("features whose calls are all compressed"),
        "steps": Several("what is done; the first four when left out", Text("a step", COMPRESSION_STEPS)),
        "phrases": Either(
            "Filler to leave out of prose.",
            _names("phrases that are left out"),
            Table(
                "Phrases, each with what stands for it.",
                {},
                others=Text("what stands for it", empty=True),
            ),
        ),
    },
    make=_compression,
)

LADDER: Final = Table(
    "Models of one provider that can stand in for each other.",
    {
        "models": Several("two or more, the best first, the cheapest last", Text("a model's id"), least=2),
        "features": _names("the features it is for; all when left out"),
        "floor": Number("what has to be left of a budget, as '20%' or '$5'", text=True),
    },
    needed=("models",),
    make=_ladder,
)

LOOP_GUARD: Final = Table(
    "Stops a request that is sent again and again.",
    {
        "repeats": Number("how often the same request may be sent", least=1, whole=True),
        "within": Number("in how long a time: seconds, or like '1m'", text=True),
        "features": _names("the features it watches; all when left out"),
    },
    make=_loop_guard,
)

FILE: Final = Table(
    "What costguard is set up with; environment variables and arguments override it.",
    {
        "mode": Text("enforce, or observe: refuse nothing, note what would have been refused", MODES),
        "ledger": Text("where money is counted: a URL such as sqlite:///path/to/book.db"),
        "journal": Text("where calls are kept to be read back: a URL such as sqlite:///path/to/calls.db"),
        "exporters": _EXPORTERS,
        "environment": Text("the environment tag of every call, for example staging"),
        "tags": Table("Attribution of every call that does not say otherwise.", {}, others=_TAGS.others),
        "on_unknown_price": Text("what happens to models without a price; estimate when left out", UNKNOWN_PRICE),
        "executors": Flag("whether work given to thread and process pools carries its attribution along"),
        "tokenizer": Flag("whether inputs are counted exactly for models whose tokenizer is public (extra: tokens)"),
        "cache": CACHE,
        "loop_guard": LOOP_GUARD,
        "compression": COMPRESSION,
        "ladders": Several("Cheaper models; each is a [[ladders]] table.", LADDER),
        "budgets": Several("Limits; each is a [[budgets]] table.", BUDGET),
        "prices": PRICES,
    },
)


def schema() -> dict[str, Any]:
    """The JSON schema of `costguard.toml`, as it ships in the package."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "costguard.toml",
        **FILE.schema(),
    }


def find(folder: Path) -> Path | None:
    """The nearest configuration file, from `folder` upwards; a ``pyproject.toml`` without our table is passed by."""
    for parent in (folder, *folder.parents):
        for path in (parent / name for name in NAMES):
            if path.is_file() and (path.name != "pyproject.toml" or _table(path) is not None):
                return path
    return None


def load(path: Path) -> Settings:
    """Read a configuration file.

    Raises:
        ConfigError: it cannot be read, or something in it is not allowed.
    """
    said = _table(path)
    if said is None:
        raise ConfigError(f"{path} has no table [tool.costguard]")
    place = Place(str(path), "tool.costguard" if path.name == "pyproject.toml" else "")
    found = FILE.read(said, place)
    for name in ("ledger", "journal"):
        if name in found:
            # Else a program that is started in another folder would count in another file.
            found[name] = anchored(found[name], path.absolute().parent)
    if "store" in found.get("cache", {}):
        found["cache"]["store"] = anchored(found["cache"]["store"], path.absolute().parent)
    exporters = found.get("exporters")
    tags = dict(found.pop("tags", {}))
    environment = found.pop("environment", None)
    if environment is not None and tags.setdefault("environment", environment) != environment:
        raise place.key("environment").wrong("tags.environment says otherwise; keep one of them")
    try:
        tags = clean_tags(tags)
    except ConfigError as error:
        raise place.key("tags").wrong(str(error)) from None
    if isinstance(exporters, tuple):
        found["exporters"] = {name: {} for name in exporters}
    return Settings(file=str(path), tags=tags, **found)


def _table(path: Path) -> Any:
    """What a file says to us, None for a ``pyproject.toml`` that says nothing. Fractions are exact, never floats."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None
    ours = path.name != "pyproject.toml"
    # Somebody else's mistake in a file that does not mention us is theirs to find.
    if not ours and "costguard" not in text:
        return None
    try:
        document = tomllib.loads(text, parse_float=Decimal)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None
    if ours:
        return document
    tools = document.get("tool")
    return tools.get("costguard") if isinstance(tools, dict) else None
