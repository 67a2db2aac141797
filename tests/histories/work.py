"""What one process does until it is killed, and the log that it leaves."""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from costguard._book import IdempotencyConflictError
from costguard._types import Granted, Hold, Leg, Refused
from costguard.errors import LedgerUnavailableError
from costguard.ports import Ledger

from .books import NEVER, Operation, Window

LIMITS: Final[dict[str, int | None]] = {"tight": 400, "wide": 900, "watched": None, "once": 600}
LENGTH: Final = 1.5
"""Seconds of a window: short, so that there is always room to fight over."""
LEASE: Final = 100_000.0
"""Nobody's lease ends during a run, since who was killed is stood in for."""
OPEN: Final = 4
"""Holds that a client has open at most."""


class Client:
    """A process that reserves, extends, settles, releases and reads, and logs each before and after.

    Args:
        ledger: the books.
        name: tells it from others; a client that follows a killed one has the same.
        log: where it writes.
        stop: a file that says to end.
        seed: what it does follows from it.
    """

    def __init__(self, ledger: Ledger, name: str, log: Path, stop: Path, seed: int) -> None:
        self._ledger = ledger
        self._name = name
        self._stop = stop
        self._dice = random.Random(seed)
        self._serial = f"{name}-{seed}"
        self._count = 0
        self._open: dict[str, int] = {}
        self._before = operations(log)
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def run(self) -> None:
        """End what the one before left behind, and go on until told to stop."""
        for one in self._before:
            if one.step == "reserve" and one.reply in ("granted", None):
                self._open[one.id] = one.arguments[1]
            if one.step in ("settle", "release") and one.reply is not None:
                self._open.pop(one.id, None)
        unheard = [one for one in self._before if one.reply is None]
        # Sent again as it was: that is what ids are for. An extension has none, and its hold is ended below.
        again = [one for one in unheard[-1:] if one.step in ("reserve", "settle", "release")]
        for one in again:
            self._ask(one.step, *one.arguments)
        while not self._stop.exists():
            self._something()
        for id in list(self._open):
            self._ask("settle", id, self._dice.choice((0, 1, 5)))

    def _something(self) -> None:
        windows = self._windows()
        kinds = ["reserve"] * 5 + ["read"] if len(self._open) < OPEN else []
        kinds += ["settle", "settle", "settle", "release", "extend"] if self._open else []
        kind = self._dice.choice(kinds)
        if kind == "reserve":
            self._count += 1
            self._ask("reserve", f"{self._serial}-{self._count}", self._dice.choice((0, 20, 60, 110)), windows)
        elif kind == "read":
            self._ask("read", windows)
        else:
            id = self._dice.choice(list(self._open))
            amount = self._open[id]
            actual = self._dice.choice((0, 1, 3, amount // 4, amount))
            figures = {"settle": (actual,), "extend": (self._dice.choice((0, 10, 30)),)}.get(kind, ())
            self._ask(kind, id, *figures)

    def _ask(self, step: str, *arguments: Any) -> None:
        while True:
            self._write({"ask": step, "arguments": arguments, "at": time.monotonic()})
            reply = self._reply(step, arguments)
            if reply is not None:
                break
            # The ledger is away, and it may have been done: the next line is the same one, sent again.
            self._write({"lost": True})
            if step == "extend":
                return
            time.sleep(0.02)
        self._write({"reply": reply, "at": time.monotonic()})
        if step == "reserve" and reply == "granted":
            self._open[arguments[0]] = arguments[1]
        if step in ("settle", "release"):
            self._open.pop(arguments[0], None)

    def _reply(self, step: str, arguments: Sequence[Any]) -> Any:
        try:
            if step == "read":
                balances = self._ledger.balances([_leg(*window) for window in arguments[0]])
                return [(one.spent, one.held) for one in balances]
            if step == "reserve":
                id, amount, windows = arguments
                hold = Hold(id, amount, tuple(_leg(*window) for window in windows), EXPIRES)
                return _plain(self._ledger.reserve(hold))
            return _plain(getattr(self._ledger, step)(*arguments))
        except KeyError:
            return "unknown"
        except IdempotencyConflictError:
            return "conflict"
        except LedgerUnavailableError:
            return None

    def _windows(self) -> list[Window]:
        now = f"{time.monotonic() // LENGTH:.0f}"
        budgets = [budget for budget in LIMITS if self._dice.random() < 0.7]
        return [(budget, f"run:{now}" if budget == "once" else now) for budget in budgets or ["tight"]]

    def _write(self, line: dict[str, Any]) -> None:
        os.write(self._log, json.dumps(line).encode() + b"\n")


EXPIRES: Final = time.time() + LEASE
"""One instant for all, so that a hold that is sent again is the same one; set before the clients are forked."""


def _leg(budget: str, window: str) -> Leg:
    limit = LIMITS[budget]
    return Leg(budget, window, 10**6 if limit is None else limit, hard=limit is not None)


def _plain(reply: Granted | Refused) -> Any:
    if isinstance(reply, Granted):
        return "granted"
    return [(one.leg.budget, one.leg.window, one.spent, one.held) for one in reply.refusals]


def operations(log: Path) -> list[Operation]:
    """What a log tells of. The last of its operations has no reply when its client was killed in it."""
    found: list[Operation] = []
    asked: dict[str, Any] | None = None
    lines = log.read_text().splitlines() if log.exists() else []
    for line in lines:
        told = json.loads(line)
        if "ask" in told:
            if asked is not None:
                found.append(_operation(asked, None, NEVER, log.stem))
            asked = told
        elif asked is not None:
            lost = "lost" in told
            found.append(
                _operation(asked, *((None, NEVER) if lost else (_tuples(told["reply"]), told["at"])), log.stem)
            )
            asked = None
    if asked is not None:
        found.append(_operation(asked, None, NEVER, log.stem))
    return found


def _operation(asked: dict[str, Any], reply: Any, ended: float, client: str) -> Operation:
    return Operation(asked["ask"], _tuples(asked["arguments"], tuple), reply, asked["at"], ended, client)


def _tuples(value: Any, outer: type = list) -> Any:
    """JSON has no tuples; rows are some."""
    if not isinstance(value, list):
        return value
    return outer(tuple(map(_row, one)) if isinstance(one, list) else one for one in value)


def _row(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
