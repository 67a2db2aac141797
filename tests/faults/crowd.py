"""Sends a crowd of requests to a program under a limit that only some of them fit, and compares bill, books and answers."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from costguard._config import inherited
from costguard._guard import LEASE
from costguard._types import Leg
from costguard.ledgers import open_ledger
from costguard.ledgers.redis import RedisLedger
from costguard.ports import Ledger
from costguard.testing.loopback import LoopbackProvider, Reply

ROOT = Path(__file__).parent.parent.parent
LIMIT = 10_000_000
"""Nano-dollars: a cent, of which a call takes 0.05 and holds twice that."""
LEG = Leg("all", "lifetime", LIMIT)
PATIENCE = 60.0
"""Seconds after which something is taken to hang."""

HOLD = 1_300_000
"""Nano-dollars: more than a call holds."""
REFUSED = 10
"""Refusals in a row, a tenth of a second apart, after which it is taken that there is no room."""

Ask = Callable[[int], Mapping[str, Any]]


@dataclass
class Seen:
    """What came of a run.

    Attributes:
        said: what the calls ended with, each with its number.
        billed: by the provider, in nano-dollars.
        spent, held: in the books, once the program has ended.
        charged: in the books, once the leases of those it left are over.
        stopped: seconds that it took to end.
        log: what it wrote.
        wrong: what did not hold.
    """

    said: Counter[str] = field(default_factory=Counter)
    pids: set[int] = field(default_factory=set)
    billed: int = 0
    spent: int = 0
    held: int = 0
    charged: int = 0
    stopped: float = 0.0
    log: str = ""
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        answers = ", ".join(f"{count} {what}" for what, count in self.said.most_common())
        return (
            f"{answers}; {len(self.pids)} processes; billed {self.billed / LIMIT:.0%} of the limit, "
            f"booked {self.spent / LIMIT:.0%}, held {self.held / LIMIT:.0%}; ended in {self.stopped:.1f} s"
        )


class Program:
    """A program of ours in a process of its own, and what it wrote.

    Args:
        command: how it is started.
        folder: where it works, and its log is.
        environment: more of its environment.
    """

    def __init__(self, command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> None:
        self._log = folder / "log"
        path = os.pathsep.join([str(Path(__file__).parent), str(folder)])
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                command, cwd=folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                env=inherited(**environment, PYTHONPATH=path, PYTHONUNBUFFERED="1"),
            )  # fmt: skip

    @property
    def log(self) -> str:
        """What it wrote so far."""
        return self._log.read_text(errors="replace")

    def end(self, number: int = signal.SIGTERM) -> float:
        """Ask it to end, and say how many seconds it took."""
        began = time.monotonic()
        self.process.send_signal(number)
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.kill()
            return PATIENCE
        return time.monotonic() - began

    def kill(self) -> None:
        """``kill -9``, if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def get(port: int, path: str, timeout: float = PATIENCE) -> Mapping[str, Any]:
    """The answer of a server on this host."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    with closing(connection):
        connection.request("GET", path)
        answer = connection.getresponse()
        told = answer.read()
        if answer.status != 200:
            return {"said": f"status {answer.status}"}
        result: Mapping[str, Any] = json.loads(told)
        return result


def asked(port: int) -> Ask:
    """Asks a server."""

    def ask(number: int) -> Mapping[str, Any]:
        try:
            return get(port, f"/?n={number}")
        except TimeoutError:
            return {"said": "hung"}
        except (OSError, http.client.HTTPException) as error:
            return {"said": type(error).__name__}

    return ask


def until_up(program: Program, port: int) -> None:
    """Wait until a server answers."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            get(port, "/up", timeout=5)
        except (OSError, http.client.HTTPException):
            assert program.process.poll() is None, program.log
            assert time.monotonic() < deadline, program.log
            time.sleep(0.05)
        else:
            return


def until(condition: Callable[[], bool], program: Program) -> None:
    """Wait for something that a program does."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert program.process.poll() is None, program.log
        assert time.monotonic() < deadline, program.log
        time.sleep(0.05)


def children(pid: int) -> list[int]:
    """The processes that a process has begun."""
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@contextmanager
def provided(latency: float = 0.05) -> Iterator[LoopbackProvider]:
    """A provider whose answers cost what they do here."""
    with LoopbackProvider(latency=latency) as provider:
        provider.reply = Reply(input_tokens="measured", output_tokens=50)
        yield provider


def environment(provider: LoopbackProvider, ledger: str) -> dict[str, str]:
    """What the program is told."""
    return {
        **provider.env(),
        "FAULTS_LEDGER": ledger,
        "FAULTS_LIMIT": f"${LIMIT / 10**9}",
        "COSTGUARD_CONFIG": "",
    }


def rush(ask: Ask, *, callers: int = 16, calls: int = 24) -> Seen:
    """A crowd at once, and then one call after the other until the limit is reached."""
    seen = Seen()
    with ThreadPoolExecutor(callers) as pool:
        for told in pool.map(ask, range(calls)):
            _note(seen, told)
    refused = 0
    for number in range(calls, calls + 200):
        told = ask(number)
        _note(seen, told)
        # The settlements of other processes land a moment after their calls were answered.
        refused = 0 if told["said"] == "answered" else refused + 1
        if refused == REFUSED:
            break
        if refused:
            time.sleep(0.1)
    return seen


def _note(seen: Seen, told: Mapping[str, Any]) -> None:
    seen.said[told["said"]] += 1
    if "pid" in told:
        seen.pids.add(told["pid"])
    if told.get("own", 0) != (told["said"] == "answered") and told["said"] in ("answered", "BudgetExceededError"):
        seen.wrong.append(f"a block counted {told['own']} calls, of one that was {told['said']}")


def bill(provider: LoopbackProvider) -> int:
    """What the provider billed, in nano-dollars, by its own count."""
    return sum(2_500 * one.input_tokens + 10_000 * one.output_tokens for one in provider.billed)


def judge(
    seen: Seen, provider: LoopbackProvider, ledger: str, *, left_to_leases: bool = False,
    may_say: Iterable[str] = ("answered", "BudgetExceededError"), loud: bool = False,
) -> Seen:  # fmt: skip
    """Compare bill, books and answers; what does not hold goes into `wrong`.

    Args:
        left_to_leases: whether processes were killed in the middle of calls.
        may_say: what calls may have ended with.
        loud: whether a traceback in the log is the host's own.
    """
    seen.billed = bill(provider)
    with closing(_opened(ledger)) as books:
        (now,) = books.balances([LEG])
        books.reap(time.time() + LEASE + 60)
        (later,) = books.balances([LEG])
    seen.spent, seen.held, seen.charged = now.spent, now.held, later.spent
    others = sorted(seen.said.keys() - set(may_say))
    claims = {
        f"calls ended with {', '.join(others)}": not others,
        "no call was answered": bool(seen.said["answered"]),
        f"the provider billed {seen.billed}, the limit is {LIMIT}": seen.billed <= LIMIT,
        f"refused with {LIMIT - seen.billed} to spare": left_to_leases or LIMIT - seen.billed < HOLD,
        f"{later.held} are still held when every lease is over": later.held == 0,
        f"the books say {later.spent} in the end, the limit is {LIMIT}": later.spent <= LIMIT,
        f"it took {seen.stopped:.0f} s to end": seen.stopped < 20,
        "its log has a traceback": loud or "Traceback" not in seen.log,
    }
    if not left_to_leases:
        claims |= {
            f"{now.held} are held though it ended in good order": now.held == 0,
            f"{now.spent} were booked and {seen.billed} billed": now.spent == seen.billed,
        }
    seen.wrong += [words for words, holds in claims.items() if not holds]
    return seen


def _opened(ledger: str) -> Ledger:
    """The ledger, leases by our own clock, which says that all of them are over."""
    if not ledger.startswith("redis"):
        return open_ledger(ledger)
    url, _, namespace = ledger.partition("?namespace=")
    return RedisLedger(url, namespace=namespace, clock="client")
