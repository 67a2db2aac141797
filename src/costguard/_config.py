"""The process's current guard, and the only module that reads the environment."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal

from ._budget import Budget
from ._catalog import Catalog
from ._clock import SteadyClock
from ._environment import Environment, home
from ._executors import Executors
from ._fingerprint import Fingerprints, machine_key
from ._greens import Greens
from ._guard import Guard, Mode
from ._leaving import Leaving
from ._patch import Patches
from ._settings import Settings, find, load
from ._settlements import OnAlert
from ._setup import ARGUMENT, Arguments, Setup, resolve
from ._shield import shielded
from ._snapshot import load as load_prices
from ._tokens import Count, Counter, Tokenizers, folders, for_ladders
from .errors import ConfigError
from .exporters import open_exporter
from .exporters.run_log import RunLog
from .journals import open_journal
from .ledgers import open_ledger
from .optimize import Cache, Compression, Compressor, Ladder, LoopGuard, OnCompress, OnDowngrade, Tiers
from .optimize import ladders as ladders_of
from .ports import Exporter, Journal, Ledger
from .providers import load_providers

OnUnknownPrice = Literal["estimate", "raise"]
ConfigFile = str | os.PathLike[str] | Literal[False]


class Costguard:
    """The state of one process: its catalog, its current guard, and the patches that lead to it.

    Attributes:
        followers: told of each guard before it becomes the current one; how the pytest plugin stays on across
            `configure`.
        setup: what the current guard was made of, None as long as there is none.
        settings: what the configuration file said.
        assumed_exporters: who is told where neither an argument nor the environment says.
    """

    def __init__(self) -> None:
        self.catalog = Catalog(_load_prices)
        self.patches = Patches(lambda: self._guard)
        self.executors = Executors()
        self.tokenizers = Tokenizers(lambda: folders(os.environ, tempfile.gettempdir()))
        self.followers: list[Callable[[Guard], None]] = []
        self.setup: Setup | None = None
        self.settings = Settings()
        self.assumed_exporters: tuple[str, ...] = ()
        self._guard: Guard | None = None
        self._lock = threading.RLock()
        self._leaving = Leaving(self._exit)
        self._greens = Greens(self._pause)

    @property
    def guard(self) -> Guard:
        """The current guard, made from the environment if nobody configured one."""
        guard = self._guard
        return self.configure() if guard is None else guard

    def configure(
        self,
        *,
        budgets: Iterable[Budget] = (),
        ledger: str | Ledger | None = None,
        journal: str | Journal | None = None,
        exporters: Iterable[str | Exporter] | None = None,
        tags: Mapping[str, str] | None = None,
        mode: Mode | None = None,
        on_unknown_price: OnUnknownPrice | None = None,
        on_alert: OnAlert | None = None,
        clock: Callable[[], float] | None = None,
        config: ConfigFile | None = None,
        cache: str | Cache | None = None,
        ladders: Iterable[Ladder | Sequence[str]] = (),
        on_downgrade: OnDowngrade | None = None,
        loop_guard: LoopGuard | None = None,
        compression: Compression | None = None,
        on_compress: OnCompress | None = None,
        tokenizer: bool | None = None,
    ) -> Guard:
        """Replace the current guard; see `costguard.configure`."""
        env = environment()
        file = settings(env, config)
        rungs = tuple(ladders)
        arguments = Arguments(
            budgets, ledger, exporters, tags, mode, on_unknown_price, journal, cache, rungs, loop_guard,
            compression, tokenizer,
        )  # fmt: skip
        setup = resolve(arguments, env, file, self.assumed_exporters)
        _check_callable("on_alert", on_alert)
        with _told_of(setup, "ledger"):
            opened = open_ledger(setup.ledger) if isinstance(setup.ledger, str) else setup.ledger
        with _told_of(setup, "exporters"):
            told = [open_exporter(one, options) for one, options in setup.exporters]
        told += [] if env.run is None else [RunLog(env.run)]
        with _told_of(setup, "journal"):
            kept = open_journal(setup.journal) if isinstance(setup.journal, str) else setup.journal
        with _told_of(setup, "cache"):
            answers = _cache(setup.cache)
        guard = Guard(
            self.catalog,
            opened,
            exporters=told,
            budgets=setup.budgets,
            tags=setup.tags,
            mode="observe" if setup.mode == "observe" else "enforce",
            strict_prices=setup.on_unknown_price == "raise",
            on_alert=on_alert,
            clock=SteadyClock() if clock is None else clock,
            journal=kept,
            fingerprints=None if kept is None else Fingerprints(machine_key(env.home)),
            cache=answers,
            tiers=self._tiers(setup.ladders, on_downgrade),
            loop_guard=setup.loop_guard,
            compressor=_compressor(setup.compression, on_compress),
            counter=self._counter(setup),
        )
        _price(self.catalog, file)
        self._take_over(guard, setup, file)
        return guard

    def _take_over(self, guard: Guard, setup: Setup, file: Settings) -> None:
        with self._lock:
            for follow in self.followers:
                follow(guard)
            before, self._guard = self._guard, guard
            self.setup, self.settings = setup, file
            self._leaving.arm()
            self._greens.follow()
        if before is not None:
            _leave(before, guard.journal)

    def prices(self) -> Catalog:
        """The catalog with what the configuration file says of prices, for commands that need no ledger and no guard.

        Raises:
            ConfigError: the environment or the file is malformed.
        """
        _price(self.catalog, settings(environment()))
        return self.catalog

    def _tiers(self, ladders: Iterable[Ladder | Sequence[str]], on_downgrade: OnDowngrade | None) -> Tiers | None:
        _check_callable("on_downgrade", on_downgrade)
        made = ladders_of(ladders)
        return Tiers(self.catalog, made, on_downgrade) if made else None

    def _counter(self, setup: Setup) -> Counter | None:
        if not setup.tokenizer:
            return None
        self.tokenizers.begin()
        return for_ladders(self.tokenizers.counter, [ladder.models for ladder in ladders_of(setup.ladders)])

    def exact_count(self, model: str) -> Count | None:
        """What counts a model's tokens, once it was read; None where that cannot be done or is not asked for."""
        return None if self.guard.counter is None else self.tokenizers.exact(model)

    @property
    def instrumented(self) -> bool:
        """Whether the SDKs are wrapped, or will be when they are imported."""
        return self.patches.wanted

    def instrument(self, *, executors: bool | None = None) -> bool:
        """Wrap the SDKs, and thread pools if asked; False when ``COSTGUARD_DISABLED`` forbids it."""
        if environment().disabled:
            return False
        with self._lock:
            _ = self.guard
            self.patches.install(load_providers())
            if executors if executors is not None or self.setup is None else self.setup.executors:
                self.executors.install()
        return True

    def uninstrument(self) -> None:
        """Restore the SDKs and thread pools."""
        with self._lock:
            self.patches.uninstall()
            self.executors.uninstall()

    def _pause(self) -> None:
        """Have nothing under way, and no connection open."""
        if self._guard is not None:
            self._guard.flush()
            self._guard.ledger.close()

    def _exit(self) -> None:
        with shielded("closing at exit"):
            if self._guard is not None:
                self._guard.close()


def environment() -> Environment:
    """What the environment says now.

    Raises:
        ConfigError: a variable is malformed.
    """
    return Environment.read(os.environ)


def inherited(**changes: str) -> dict[str, str]:
    """This process's whole environment with changes, for a child."""
    return {**os.environ, **changes}


def settings(env: Environment, config: ConfigFile | None = None) -> Settings:
    """What the configuration file says: the one given, else the one the environment names, else the nearest one.

    Raises:
        ConfigError: it is not there, or something in it is not allowed.
    """
    if config is not None and not isinstance(config, str | os.PathLike) and config is not False:
        raise ConfigError(f"config={config!r}: give the path of a file, or False for none")
    named = env.config if config is None else config
    if named is None:
        try:
            found = find(Path.cwd())
        except OSError:
            # The working directory was removed under us, or may not be looked into.
            found = None
        return Settings() if found is None else load(found)
    return Settings() if named is False or named == "" else load(Path(named).absolute())


def _check_callable(knob: str, given: object) -> None:
    if given is not None and not callable(given):
        raise ConfigError(f"{knob}={given!r} cannot be called")


def _leave(before: Guard, journal: Journal | None) -> None:
    """Write what is behind, and let the journal go unless it stays; a call in flight that ends there opens it again."""
    before.flush()
    if before.journal is not None and before.journal is not journal:
        with shielded("closing the journal before"):
            before.journal.close()


def _cache(said: str | Cache | Mapping[str, Any] | None) -> Cache | None:
    if isinstance(said, Mapping):
        return Cache(**said)
    return Cache(said) if isinstance(said, str) else said


def _compressor(said: Compression | None, on_compress: OnCompress | None) -> Compressor | None:
    _check_callable("on_compress", on_compress)
    if said is not None and not isinstance(said, Compression):
        raise ConfigError(f"compression={said!r}: give a costguard.Compression(features=[...])")
    return None if said is None and on_compress is None else Compressor(said, on_compress)


@contextmanager
def _told_of(setup: Setup, setting: str) -> Iterator[None]:
    """Say in an error where a setting comes from, unless it stands in the program that fails."""
    try:
        yield
    except ConfigError as error:
        source = setup.sources.get(setting, ARGUMENT)
        raise error if source == ARGUMENT else ConfigError(f"{source}: {error}") from None


def _load_prices(provider: str) -> Mapping[str, Any] | None:
    return load_prices(provider, home(os.environ) / "prices")


def _price(catalog: Catalog, file: Settings) -> None:
    try:
        catalog.lay_under(file.prices.add, file.prices.discount, file.prices.alias)
    except ConfigError as error:
        raise ConfigError(f"{file.file}: prices: {error}") from None


state: Final = Costguard()
