"""``costguard run -- python app.py``: meter and limit a program without editing it."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from .. import _run
from .._accounts import spend_of
from .._budget import Budget, budget
from .._config import environment, inherited, settings
from .._environment import Environment
from .._money import format_usd
from .._shield import shielded
from .._tallies import Tally
from ..errors import ConfigError
from ..ledgers import anchored, open_ledger
from ._interpreter import check, interpreter

BOOTSTRAP: Final = Path(__file__).resolve().parent.parent / "_bootstrap"
_FORWARDED: Final = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGWINCH", "SIGBREAK")
_OF_THE_TERMINAL: Final = ("SIGINT", "SIGQUIT", "SIGWINCH")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.usage = "costguard run [options] -- python app.py ..."
    parser.epilog = "The exit code is the program's, 128 + n when signal n ended it, and 2 when it was not started."
    parser.add_argument("--budget", metavar="LIMIT", help="the most the whole run may cost, such as $2")
    parser.add_argument("--feature", help="the feature that calls without one belong to")
    parser.add_argument("--config", metavar="FILE", help="the configuration file")
    parser.add_argument("--ledger", metavar="URL", help="where money is counted")
    parser.add_argument("--observe", action="store_true", help="refuse nothing, tell what would have been refused")
    parser.add_argument("words", nargs=argparse.REMAINDER, metavar="-- COMMAND", help="what to run, with its arguments")


def run(options: argparse.Namespace) -> int:
    """Run the program, and say at its end what it spent."""
    words = options.words[1:] if options.words[:1] == ["--"] else options.words
    if not words:
        raise ConfigError("run what? For example: costguard run --budget '$2' -- python app.py")
    with tempfile.TemporaryDirectory(prefix="costguard-run-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        _run.begin(folder)
        env = _environment(options, folder)
        said = Environment.read(env)
        check(interpreter(words), env)
        code = _run_child(words, env)
        with shielded("adding up a run"):
            print(f"costguard: {summary(folder, said)}", file=sys.stderr)
    return code


def summary(folder: Path, said: Environment) -> str:
    """The line about a run: what it spent, what was refused, and what is left of its budget."""
    tally = _run.total(folder)
    parts = [f"spent {spend_of(tally)}"]
    parts += [_refused(tally)] if tally.refused or tally.would_block else []
    if said.cap is not None and said.ledger is not None:
        parts.append(_left(said.cap, said.ledger))
    missed = _run.unguarded(folder)
    if missed:
        count = "1 process" if len(missed) == 1 else f"{len(missed)} processes"
        parts.append(f"{count} ran UNGUARDED ({missed[0]})")
    return ", ".join(parts)


def _refused(tally: Tally) -> str:
    if tally.would_block:
        return f"{tally.would_block:,} would have been refused"
    return f"{tally.refused:,} refused"


def _left(limit: Budget, url: str) -> str:
    ledger = open_ledger(url)
    try:
        [balance] = ledger.balances([limit.leg({}, time.time(), "")])
    finally:
        ledger.close()
    held = f", {format_usd(balance.held)} held by calls that never ended" if balance.held else ""
    share = 100 * balance.spent / limit.limit if limit.limit else 100
    return f"{format_usd(balance.spent)} of the budget of {format_usd(limit.limit)} used ({share:.0f}%){held}"


def _environment(options: argparse.Namespace, folder: Path) -> dict[str, str]:
    """What the program finds in its environment."""
    own = environment()
    if own.disabled:
        raise ConfigError("COSTGUARD_DISABLED is set, so the program would run unguarded; unset it")
    file = settings(own, options.config)
    changes = {
        "COSTGUARD_RUN": str(folder),
        "COSTGUARD_CONFIG": file.file,
        "PYTHONPATH": os.pathsep.join(filter(None, (str(BOOTSTRAP), inherited().get("PYTHONPATH", "")))),
    }
    if options.observe:
        changes["COSTGUARD_MODE"] = "observe"
    if options.feature:
        if "," in options.feature:
            raise ConfigError(f"--feature {options.feature!r}: a comma cannot be part of it here")
        tags = {**own.tags, "feature": options.feature}
        changes["COSTGUARD_TAGS"] = ",".join(f"{tag}={value}" for tag, value in tags.items())
    ledger = options.ledger or own.ledger
    if own.journal:
        changes["COSTGUARD_JOURNAL"] = anchored(own.journal)
    if options.budget:
        changes["COSTGUARD_RUN_BUDGET"] = _checked(options.budget)
        ledger = ledger or file.ledger or "memory://"
        # Books in memory would be each process's own, and so would the budget.
        ledger = f"sqlite://{folder / 'ledger.db'}" if ledger.startswith("memory:") else ledger
    if ledger is not None:
        changes["COSTGUARD_LEDGER"] = anchored(ledger)
    return inherited(**changes)


def _checked(limit: str) -> str:
    try:
        if budget(limit).period.kind == "run":
            raise ConfigError("it is for one run already; leave out the period")
    except ConfigError as error:
        raise ConfigError(f"--budget {limit!r}: {error}") from None
    return limit


def _run_child(words: list[str], env: dict[str, str]) -> int:
    """Start it, hand it every signal that we get, and return its exit code as a shell would."""
    with _signals() as child:
        try:
            # What is open here stays open there: a program may be given sockets and pipes by number.
            child.start(subprocess.Popen(words, env=env, close_fds=False))  # noqa: S603 - it is what the user says
        except OSError as error:
            raise ConfigError(f"{words[0]} cannot be started: {error.strerror or error}") from None
        code = child.wait()
    return code if code >= 0 else 128 - code


class _Child:
    """The program, and the signals that came before there was one."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._early: list[int] = []

    def start(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        for number in self._early:
            process.send_signal(number)

    def forward(self, number: int, frame: Any) -> None:  # noqa: ARG002 - what a handler is called with
        if self._process is None:
            self._early.append(number)
        elif not _came_to_both(number):
            self._process.send_signal(number)

    def wait(self) -> int:
        assert self._process is not None  # it was started
        return self._process.wait()


@contextmanager
def _signals() -> Iterator[_Child]:
    """Hand signals to the child. Those that are ignored here stay ignored, by the child too."""
    child = _Child()
    numbers = [getattr(signal, name) for name in _FORWARDED if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    taken = {number: handler for number, handler in before.items() if handler is not signal.SIG_IGN}
    for number in taken:
        signal.signal(number, child.forward)
    try:
        yield child
    finally:
        for number, handler in taken.items():
            signal.signal(number, handler)


def _came_to_both(number: int) -> bool:
    """Whether it is one of those that a terminal sends to every process in its foreground, and so to the child too."""
    if number not in [getattr(signal, name, None) for name in _OF_THE_TERMINAL]:
        return False
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)
