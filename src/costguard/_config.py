"""The process's current guard, and the only module that reads the environment."""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from ._budget import Budget, clean_tags
from ._catalog import Catalog
from ._clock import SteadyClock
from ._executors import Executors
from ._guard import Guard, Mode
from ._patch import Patches
from ._settlements import OnAlert
from ._shield import shielded
from ._snapshot import load
from .errors import ConfigError
from .exporters import open_exporter
from .ledgers import open_ledger
from .ports import Exporter, Ledger
from .providers import load_providers

OnUnknownPrice = Literal["estimate", "raise"]
_TRUE: Final = ("1", "true", "yes", "on")


@dataclass(frozen=True, slots=True)
class Environment:
    """What costguard reads from the environment, each overridden by an argument.

    Attributes:
        disabled: ``COSTGUARD_DISABLED``: `instrument` leaves the SDKs untouched.
        mode: ``COSTGUARD_MODE``: ``enforce`` or ``observe``.
        ledger: ``COSTGUARD_LEDGER``: a ledger's URL.
        exporters: ``COSTGUARD_EXPORTERS``: names, separated by commas.
        environment: ``COSTGUARD_ENVIRONMENT``: the ``environment`` tag of every call.
        home: ``COSTGUARD_HOME``: where costguard keeps what belongs to this machine, such as the key of fingerprints.
    """

    disabled: bool
    mode: str
    ledger: str
    exporters: tuple[str, ...]
    environment: str | None
    home: Path

    @classmethod
    def read(cls, env: Mapping[str, str]) -> Environment:
        """Read the variables named above."""
        names = env.get("COSTGUARD_EXPORTERS", "").split(",")
        return cls(
            disabled=env.get("COSTGUARD_DISABLED", "").strip().lower() in _TRUE,
            mode=env.get("COSTGUARD_MODE", "enforce"),
            ledger=env.get("COSTGUARD_LEDGER", "memory://"),
            exporters=tuple(name.strip() for name in names if name.strip()),
            environment=env.get("COSTGUARD_ENVIRONMENT") or None,
            home=_home(env),
        )


class Costguard:
    """The state of one process: its catalog, its current guard, and the patches that lead to it.

    Attributes:
        followers: told of each guard before it becomes the current one; how the pytest plugin stays on across
            `configure`.
    """

    def __init__(self) -> None:
        self.catalog = Catalog(load)
        self.patches = Patches(lambda: self._guard)
        self.executors = Executors()
        self.followers: list[Callable[[Guard], None]] = []
        self._guard: Guard | None = None
        self._lock = threading.RLock()
        self._at_exit = False

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
        exporters: Iterable[str | Exporter] | None = None,
        tags: Mapping[str, str] | None = None,
        mode: Mode | None = None,
        on_unknown_price: OnUnknownPrice = "estimate",
        on_alert: OnAlert | None = None,
        clock: Callable[[], float] | None = None,
    ) -> Guard:
        """Replace the current guard; see `costguard.configure`."""
        env = Environment.read(os.environ)
        mode_given = mode if mode is not None else env.mode
        if mode_given not in ("enforce", "observe"):
            raise ConfigError(f"mode={mode_given!r}: allowed are 'enforce' and 'observe'")
        if on_unknown_price not in ("estimate", "raise"):
            raise ConfigError(f"on_unknown_price={on_unknown_price!r}: allowed are 'estimate' and 'raise'")
        if on_alert is not None and not callable(on_alert):
            raise ConfigError(f"on_alert={on_alert!r} cannot be called")
        opened = ledger if isinstance(ledger, Ledger) else open_ledger(_text("ledger", ledger or env.ledger))
        guard = Guard(
            self.catalog,
            opened,
            exporters=[open_exporter(one) for one in (env.exporters if exporters is None else exporters)],
            budgets=_budgets(budgets),
            tags=clean_tags({"environment": env.environment, **(tags or {})}),
            mode="observe" if mode_given == "observe" else "enforce",
            strict_prices=on_unknown_price == "raise",
            on_alert=on_alert,
            clock=SteadyClock() if clock is None else clock,
        )
        with self._lock:
            for follow in self.followers:
                follow(guard)
            before, self._guard = self._guard, guard
            if not self._at_exit:
                self._at_exit = True
                atexit.register(self._exit)
        if before is not None:
            before.flush()
        return guard

    @property
    def instrumented(self) -> bool:
        """Whether the SDKs are wrapped, or will be when they are imported."""
        return self.patches.wanted

    def instrument(self, *, executors: bool = False) -> bool:
        """Wrap the SDKs, and thread pools if asked; False when ``COSTGUARD_DISABLED`` forbids it."""
        if Environment.read(os.environ).disabled:
            return False
        with self._lock:
            _ = self.guard
            self.patches.install(load_providers())
            if executors:
                self.executors.install()
        return True

    def uninstrument(self) -> None:
        """Restore the SDKs and thread pools."""
        with self._lock:
            self.patches.uninstall()
            self.executors.uninstall()

    def _exit(self) -> None:
        with shielded("closing at exit"):
            if self._guard is not None:
                self._guard.close()


def _home(env: Mapping[str, str]) -> Path:
    if named := env.get("COSTGUARD_HOME"):
        return Path(named)
    return Path(env.get("XDG_STATE_HOME") or Path("~/.local/state").expanduser()) / "costguard"


def _budgets(budgets: Any) -> list[Budget]:
    listed = list(budgets)
    for one in listed:
        if not isinstance(one, Budget):
            raise ConfigError(f"budgets: {one!r} is no budget; make one with costguard.budget('$5/day', feature=...)")
    return listed


def _text(knob: str, value: object) -> str:
    if not isinstance(value, str):
        raise ConfigError(f"{knob}={value!r}: give a URL such as 'memory://' or a ledger object")
    return value


state: Final = Costguard()
