"""What holds, out of several places: a configuration file, environment variables, arguments, from weak to strong."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ._budget import Budget, clean_tags
from ._environment import Environment
from ._keys import near
from ._settings import MODES, UNKNOWN_PRICE, Settings
from ._shield import log
from .errors import ConfigError
from .ledgers import anchored
from .optimize import Cache, Compression, LoopGuard
from .ports import Exporter, Journal, Ledger

ARGUMENT: Final = "argument"
DEFAULT: Final = "default"


@dataclass(frozen=True, slots=True)
class Arguments:
    """What a program says itself; None where it says nothing."""

    budgets: Iterable[Budget] = ()
    ledger: str | Ledger | None = None
    exporters: Iterable[str | Exporter] | None = None
    tags: Mapping[str, str] | None = None
    mode: str | None = None
    on_unknown_price: str | None = None
    journal: str | Journal | None = None
    cache: str | Cache | None = None
    ladders: tuple[Any, ...] = ()
    loop_guard: LoopGuard | None = None
    compression: Compression | None = None
    tokenizer: bool | None = None


@dataclass(frozen=True, slots=True)
class Setup:
    """What a guard is made of, and where each part was said.

    Attributes:
        exporters: each a name with its options, or an object.
        cache: a store's URL, an object, or the arguments of one.
        sources: setting to the place it was said in: a file's path, a variable's name, ``argument`` or ``default``.
    """

    mode: str
    ledger: str | Ledger
    exporters: tuple[tuple[str | Exporter, Mapping[str, Any]], ...]
    tags: Mapping[str, str]
    on_unknown_price: str
    budgets: tuple[Budget, ...]
    executors: bool
    journal: str | Journal | None = None
    cache: str | Cache | Mapping[str, Any] | None = None
    ladders: tuple[Any, ...] = ()
    loop_guard: LoopGuard | None = None
    compression: Compression | None = None
    tokenizer: bool = False
    sources: Mapping[str, str] = field(default_factory=dict)


def resolve(arguments: Arguments, env: Environment, file: Settings, assumed: tuple[str, ...] = ()) -> Setup:
    """Decide what holds; `assumed` are exporters where no place names any.

    Raises:
        ConfigError: an argument is malformed, or would loosen the cap of ``costguard run``.
    """
    sources: dict[str, str] = {}

    def first(name: str, default: Any, *, argument: Any = None) -> Any:
        variable = "COSTGUARD_" + name.upper()
        places = ((ARGUMENT, argument), (variable, getattr(env, name)), (file.file, getattr(file, name)))
        sources[name], value = next((said for said in places if said[1] is not None), (DEFAULT, default))
        return value

    mode = _checked("mode", first("mode", "enforce", argument=arguments.mode), MODES)
    unknown = first("on_unknown_price", "estimate", argument=arguments.on_unknown_price)
    ledger = first("ledger", "memory://", argument=arguments.ledger)
    if not isinstance(ledger, Ledger) and not isinstance(ledger, str):
        raise ConfigError(f"ledger={ledger!r}: give a URL such as 'memory://' or a ledger object")
    journal = first("journal", None, argument=arguments.journal)
    if journal is not None and not isinstance(journal, Journal) and not isinstance(journal, str):
        raise ConfigError(f"journal={journal!r}: give a URL such as 'sqlite:calls.db' or a journal object")
    if env.cap is not None:
        ledger, sources["ledger"] = _of_run(ledger, env), "COSTGUARD_LEDGER"
        if mode == "observe" and env.mode != "observe":
            log.warning("this program observes only (%s), so the budget of costguard run does too", sources["mode"])
    names = first("exporters", assumed, argument=arguments.exporters)
    options = file.exporters or {}
    return Setup(
        mode=mode,
        ledger=ledger,
        exporters=tuple((one, _options(one, options, env)) for one in names),
        tags=_tags(arguments, env, file, sources),
        on_unknown_price=_checked("on_unknown_price", unknown, UNKNOWN_PRICE),
        budgets=_budgets(arguments, env, file, sources),
        executors=bool(first("executors", default=False)),
        journal=journal,
        cache=_only(sources, "cache", arguments.cache, file.cache, file.file),
        ladders=_only(sources, "ladders", arguments.ladders or None, file.ladders or None, file.file) or (),
        loop_guard=_only(sources, "loop_guard", arguments.loop_guard, file.loop_guard, file.file),
        compression=_only(sources, "compression", arguments.compression, file.compression, file.file),
        tokenizer=bool(first("tokenizer", default=False, argument=arguments.tokenizer)),
        sources=sources,
    )


def _options(exporter: str | Exporter, options: Mapping[str, Mapping[str, Any]], env: Environment) -> Mapping[str, Any]:
    """What the file says of an exporter, and of one over HTTP the token that is better kept out of files."""
    if not isinstance(exporter, str):
        return {}
    said = options.get(exporter, {})
    return {"token": env.http_token, **said} if env.http_token and exporter.startswith("http") else said


def _only(sources: dict[str, str], name: str, argument: Any, said: Any, file: str) -> Any:
    """Of a setting that has no variable."""
    if argument is not None or said is not None:
        sources[name] = ARGUMENT if argument is not None else file
    return said if argument is None else argument


def _checked(knob: str, value: Any, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        hint = near(value, allowed) if isinstance(value, str) else ""
        raise ConfigError(f"{knob}={value!r}: allowed are {' and '.join(map(repr, allowed))}{hint}")
    return str(value)


def _of_run(ledger: str | Ledger, env: Environment) -> str | Ledger:
    """The one ledger in which all processes of a run count against its cap.

    A ledger in memory cannot be shared, so the run's takes its place. Another one could be shared by some processes of
    the run and not by others, and each would have the whole cap.
    """
    shared = env.ledger or ""
    if isinstance(ledger, str) and anchored(ledger) == shared:
        return shared
    alone = ledger.startswith("memory:") if isinstance(ledger, str) else ledger.inline
    if not alone:
        raise ConfigError(
            "this program names a ledger of its own, and costguard run --budget counts in another one, so the cap "
            "would hold in neither; give run the same one with --ledger, or take ledger= out of the program"
        )
    log.info("costguard run --budget: the ledger of the run is used instead of one in memory")
    return shared


def _tags(arguments: Arguments, env: Environment, file: Settings, sources: dict[str, str]) -> dict[str, str]:
    said: dict[str, str] = {}
    for place, tags in ((file.file, file.tags), ("COSTGUARD_TAGS", env.tags), (ARGUMENT, arguments.tags or {})):
        kept = clean_tags(dict(tags))
        said.update(kept)
        sources.update({f"tags.{name}": place for name in kept})
    return said


def _budgets(arguments: Arguments, env: Environment, file: Settings, sources: dict[str, str]) -> tuple[Budget, ...]:
    """All of them; one that is said in a stronger place takes the place of those of its name."""
    listed = list(arguments.budgets)
    for one in listed:
        if not isinstance(one, Budget):
            raise ConfigError(f"budgets: {one!r} is no budget; make one with costguard.budget('$5/day', feature=...)")
    named = [] if env.budget is None else [env.budget]
    # The cap of a run is the operator's, and not the program's to replace.
    capped = [] if env.cap is None else [env.cap]
    places = ("COSTGUARD_RUN_BUDGET", ARGUMENT, "COSTGUARD_BUDGET", file.file)
    kept: list[Budget] = []
    for place, budgets in zip(places, (capped, listed, named, list(file.budgets)), strict=True):
        taken = {budget.name for budget in kept}
        new = [budget for budget in budgets if budget.name not in taken]
        kept += new
        sources.update({f"budgets[{budget.name}]": place for budget in new})
    return tuple(kept)
