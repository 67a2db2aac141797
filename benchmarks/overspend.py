"""How far a limit is passed, and how much of it can be used: `python benchmarks/overspend.py`.

A hundred workers make ten calls of a cent each against a limit of one dollar, in threads or tasks, in one process or
four, with and without an output cap, whole and streamed, over each ledger and policy. The truth is what a provider in
a process of its own has billed, priced here by hand; the guard's figures are only printed beside it.

The exit status is 1 when a hard limit was passed, when callers who may wait could not use 95 % of it, or when an
`expected` budget that has learned nothing yet was passed by more than 5 %; and when a hold was left behind, or the
books say less than the provider.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, Self

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent

INPUT_PRICE, OUTPUT_PRICE = Decimal("2.5e-6"), Decimal("10e-6")
"""Of gpt-4o, dollars a token: 400 tokens in and 900 out are one cent."""
ANSWER, LONG_ANSWER, CAP = 900, 4000, 1000
LEAST_HOLD = Decimal("0.0146")
"""What a call needs to be let through at all, near the end of a small limit: its bytes and 1,024 tokens of answer."""
LATENCY = 0.05
"""Seconds until the provider answers: time for callers to meet."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What the crowd does."""

    name: str
    face: Literal["threads", "asyncio"] = "threads"
    cap: int | None = None
    answer: int = ANSWER
    stream: Literal["whole", "dropped"] | None = None


SHAPES = (
    Shape("threads, capped", cap=CAP),
    Shape("threads, uncapped"),
    Shape("asyncio, capped", "asyncio", cap=CAP),
    Shape("asyncio, uncapped", "asyncio"),
    Shape("threads, uncapped, 4,000 tokens", answer=LONG_ANSWER),
    Shape("asyncio, uncapped, 4,000 tokens", "asyncio", answer=LONG_ANSWER),
    Shape("streams, uncapped", stream="whole"),
    Shape("streams, asyncio, uncapped", "asyncio", stream="whole"),
    Shape("streams dropped, capped", cap=CAP, stream="dropped"),
    Shape("streams dropped, uncapped", stream="dropped"),
    Shape("streams dropped, asyncio, capped", "asyncio", cap=CAP, stream="dropped"),
)


@dataclass(frozen=True, slots=True)
class Policy:
    """What the budget does at the limit."""

    name: str
    enforcement: str
    wait: float = 0.0


HARD, WAITING, EXPECTED = Policy("hard", "hard"), Policy("hard, wait=30", "hard", 30.0), Policy("expected", "expected")
POLICIES = (HARD, WAITING, EXPECTED)


@dataclass(frozen=True, slots=True)
class Size:
    """How large the crowd is, in all processes together, and what it may spend."""

    workers: int = 100
    calls: int = 10
    limit: str = "1.00"


@dataclass(frozen=True, slots=True)
class Cell:
    """One crowd under one guard."""

    shape: Shape
    policy: Policy
    ledger: str = "memory"
    processes: int = 1
    size: Size = field(default_factory=Size)
    library: str = "costguard"
    python: str = sys.executable
    timeout: float = 100.0

    def __str__(self) -> str:
        return f"{self.shape.name} | {self.policy.name} | {self.ledger} | {self.processes}"

    def orders(self, base_url: str, ledger: str) -> dict[str, Any]:
        """What one process of the crowd is told."""
        return {
            "library": self.library,
            "base_url": base_url,
            "ledger": ledger,
            "enforcement": self.policy.enforcement,
            "wait": self.policy.wait,
            "limit": self.size.limit,
            "workers": self.size.workers // self.processes,
            "calls": self.size.calls,
            "timeout": self.timeout,
            **{key: value for key, value in asdict(self.shape).items() if key != "name"},
        }


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a cell, in parts of the limit.

    Attributes:
        truth: what the provider billed, a dropped stream as its whole answer.
        sent: the same, a dropped stream as far as it was sent.
        spent, held: what the guard's books say at the end, if they say it.
        outcomes: how the calls ended.
        seconds: how long the slowest process took.
    """

    cell: Cell
    truth: Decimal
    sent: Decimal
    spent: Decimal | None
    held: Decimal | None
    outcomes: dict[str, int]
    seconds: float

    def faults(self) -> list[str]:
        """Which promises were not kept."""
        policy, dropped = self.cell.policy, self.cell.shape.stream == "dropped"
        found = [f"{count} x {name}" for name, count in self.strange.items()]
        expected = policy.enforcement == "expected"
        # An `expected` budget counts of a stream that nobody reads on what was sent, not what might have been.
        billed = self.sent if expected and dropped else self.truth
        if billed > (Decimal("1.05") if expected else Decimal(1)):
            found.append(f"the limit was passed: {billed:.4f}")
        if self.spent is None:
            return found
        # A stream that is dropped is charged as it was held: that much of the limit is used, whatever was billed.
        used = self.spent if dropped else self.truth
        if policy.wait and used < min(Decimal("0.95"), 1 - LEAST_HOLD / Decimal(self.cell.size.limit)):
            found.append(f"only {used:.4f} could be used")
        if self.held:
            found.append(f"{self.held:.4f} is held for nobody")
        if self.spent < billed or (not dropped and self.spent != billed):
            found.append(f"the books say {self.spent:.6f} of {billed:.6f}")
        return found

    @property
    def strange(self) -> dict[str, int]:
        """How many calls ended neither with an answer nor with a refusal, by the kind of error."""
        found: dict[str, int] = {}
        for name, count in self.outcomes.items():
            if name not in ("answered", "refused"):
                kind = name.partition(":")[0]
                found[kind] = found.get(kind, 0) + count
        return found


# -- the provider, in a process of its own ------------------------------------------------------------------------


class Provider:
    """A loopback provider in another process, so that the crowd does not share an interpreter with it."""

    def __init__(self) -> None:
        self._process = _started([sys.executable, __file__, "--serve"])
        self.base_url = str(_hear(self._process))

    def expect(self, shape: Shape) -> None:
        """Answer as this shape wants from here on, and count from zero."""
        delay = 0.05 if shape.stream == "dropped" else 0.0
        _tell(self._process, {"output_tokens": shape.answer, "chunk_delay": delay})
        _hear(self._process)

    def count(self) -> tuple[Decimal, Decimal]:
        """Dollars billed since then: with every answer whole, and only what was sent."""
        _tell(self._process, "count")
        whole, sent = _hear(self._process)
        return Decimal(whole), Decimal(sent)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        _end(self._process)


def _serve() -> None:
    """Be the provider."""
    from costguard.testing.loopback import LoopbackProvider, Reply

    answer = 0
    with LoopbackProvider(input_tokens="measured", latency=LATENCY) as provider:
        _say(provider.openai_url)
        for line in sys.stdin:
            told = json.loads(line)
            provider.wait_idle(20)
            if told == "count":
                whole, sent = (sum(_bill(one, most) for one in provider.billed) for most in (answer, 0))
                _say([str(whole), str(sent)])
            else:
                provider.clear()
                provider.reply, answer = Reply(**told), told["output_tokens"]
                _say("done")


def _bill(billed: Any, answer: int) -> Decimal:
    """What one answer costs; one that was broken off as if it had become this long."""
    output = billed.output_tokens
    if not billed.completed:
        asked = billed.request_body or {}
        output = max(output, min(answer, asked.get("max_completion_tokens") or asked.get("max_tokens") or answer))
    return billed.input_tokens * INPUT_PRICE + output * OUTPUT_PRICE


# -- processes that are talked to by lines of JSON ----------------------------------------------------------------


def _say(said: Any) -> None:
    print(json.dumps(said), flush=True)


def _started(command: Sequence[str], **environment: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "NO_PROXY": "127.0.0.1,localhost", "PYTHONDONTWRITEBYTECODE": "1", **environment}
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=tempfile.gettempdir()
    )


def _tell(process: subprocess.Popen[str], said: Any) -> None:
    assert process.stdin is not None
    process.stdin.write(json.dumps(said) + "\n")
    process.stdin.flush()


def _hear(process: subprocess.Popen[str]) -> Any:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"{process.args} ended with {process.wait()}")
    return json.loads(line)


def _end(process: subprocess.Popen[str]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


# -- a cell -------------------------------------------------------------------------------------------------------


def run(cell: Cell, provider: Provider, ledger: str) -> Result:
    """Let the crowd of a cell loose on the provider; `ledger` is the URL of fresh books."""
    provider.expect(cell.shape)
    command = [cell.python, str(HERE / "peers" / "crowd.py")]
    crowd = [_started(command) for _ in range(cell.processes)]
    try:
        _all(crowd, cell.orders(provider.base_url, ledger))
        done = _all(crowd, "go")
        books = _all(crowd, "books")
    finally:
        for process in crowd:
            _end(process)
    outcomes: dict[str, int] = {}
    for name, count in itertools.chain(*[one["outcomes"].items() for one in done]):
        outcomes[name] = outcomes.get(name, 0) + count
    limit = Decimal(cell.size.limit)
    whole, sent = provider.count()
    told = {name: Decimal(value) / limit for name, value in books[-1].items()}
    return Result(
        cell, whole / limit, sent / limit, told.get("spent"), told.get("held"), outcomes,
        max(one["seconds"] for one in done),
    )  # fmt: skip


def _all(crowd: Sequence[subprocess.Popen[str]], said: Any) -> list[Any]:
    for process in crowd:
        _tell(process, said)
    return [_hear(process) for process in crowd]


class Ledgers:
    """Fresh books of each kind that costguard has here, and the servers under them, started when first needed."""

    def __init__(self) -> None:
        from costguard.ledgers import SCHEMES

        self._stack = ExitStack()
        self._folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="overspend-")))
        self._servers: dict[str, Any] = {}
        self._count = itertools.count()
        self.kinds = [kind for kind in ("memory", "sqlite", "redis", "postgres") if kind in SCHEMES]

    def fresh(self, kind: str) -> str:
        """The URL of empty books."""
        match kind:
            case "sqlite":
                return f"sqlite://{self._folder}/{next(self._count)}.db"
            case "redis":
                return f"{self._server(kind).url}?namespace=crowd{next(self._count)}"
            case "postgres":
                return str(self._server(kind).url())
        return f"{kind}://"

    def _server(self, kind: str) -> Any:
        if kind not in self._servers:
            # Those of the contract tests: no other part of the benchmarks needs a server.
            sys.path.insert(0, str(ROOT))
            folder = self._folder / kind
            folder.mkdir()
            if kind == "redis":
                from tests.contract.servers import RedisServer

                server: Any = RedisServer(folder).start()
            else:
                from tests.contract.postgres_server import PostgresServer

                # It does not run as root, and its own user has to get there.
                self._folder.chmod(0o755)
                server = PostgresServer(folder)
            self._stack.callback(server.stop)
            self._servers[kind] = server
        return self._servers[kind]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.close()


# -- which cells, and what is printed -----------------------------------------------------------------------------


def own_cells(kinds: Sequence[str], shapes: Sequence[Shape] = SHAPES) -> Iterator[Cell]:
    """Every shape under every policy: in one process in memory, in four on each ledger that processes share."""
    for kind in kinds:
        processes = 1 if kind == "memory" else 4
        for policy, shape in itertools.product(POLICIES, shapes):
            yield Cell(shape, policy, kind, processes)
    for kind in kinds:
        if kind != "memory":
            yield from (Cell(shape, policy, kind, 1) for policy in (HARD, WAITING) for shape in shapes[:4])


QUICK = ("asyncio, uncapped", "threads, uncapped, 4,000 tokens", "streams, uncapped")


def quick_cells(kinds: Sequence[str]) -> Iterator[Cell]:
    """A few that fail first, and need no server."""
    shapes = {shape.name: shape for shape in SHAPES}
    yield from (Cell(shapes[name], HARD) for name in QUICK)
    yield Cell(shapes["asyncio, uncapped"], EXPECTED)
    if "sqlite" in kinds:
        yield Cell(shapes["threads, uncapped"], WAITING, "sqlite", 4)


HEAD = """\
| crowd | policy | ledger | processes | spent / limit | as sent | books | answered | refused | seconds | |
|---|---|---|---|---|---|---|---|---|---|---|"""


def row(result: Result) -> str:
    """A line of the table."""
    cell, outcomes = result.cell, result.outcomes
    columns = [
        cell.shape.name,
        cell.policy.name,
        cell.ledger,
        cell.processes,
        f"**{result.truth:.3f}**",
        f"{result.sent:.3f}" if cell.shape.stream == "dropped" else "",
        "" if result.spent is None else f"{result.spent:.3f}",
        outcomes.get("answered", 0),
        outcomes.get("refused", 0),
        f"{result.seconds:.1f}",
        "; ".join(result.faults()) or "ok",
    ]
    return "| " + " | ".join(map(str, columns)) + " |"


@contextmanager
def _stage() -> Iterator[tuple[Provider, Ledgers]]:
    with Ledgers() as ledgers, Provider() as provider:
        yield provider, ledgers


def own(chosen: argparse.Namespace) -> bool:
    """Print costguard's own table; whether every promise was kept."""
    kept = True
    with _stage() as (provider, ledgers):
        cells = quick_cells(ledgers.kinds) if chosen.quick else own_cells(ledgers.kinds)
        print(HEAD)
        for cell in cells:
            if any(part in str(cell) for part in chosen.only):
                result = run(cell, provider, ledgers.fresh(cell.ledger))
                kept = kept and not result.faults()
                print(row(result), flush=True)
    return kept


SDK = "openai==3.54.0"
LITELLM = "litellm==1.106.2"
PEERS: dict[str, tuple[tuple[str, ...], ...]] = {
    "shekel": ((SDK, "shekel==1.2.0"),),
    "agentbudget": ((SDK, "agentbudget==0.4.0"),),
    # The second is not imported: its wheel carries the tokenizer's data, which would be fetched from the network.
    "agent-budget-guard": ((SDK, "agent-budget-guard==0.2.0"), ("--no-deps", LITELLM)),
    "budget-guard-llm": ((SDK, "budget-guard-llm==0.1.2"),),
    "floe-guard": ((SDK, "floe-guard==0.25.2"),),
    # It wants an older SDK, so it has one.
    "litellm BudgetManager": ((LITELLM,),),
    "litellm max_budget": ((LITELLM,),),
}
"""What pip installs, one command after the other; the last word of the first is the library itself."""
CACHE = Path.home() / ".cache" / "costguard-benchmarks"
PEER_CELLS = (*[(shape, 1) for shape in SHAPES], (SHAPES[0], 4), (SHAPES[1], 4))


def installed(library: str) -> str:
    """The interpreter of an environment that has a library, made from PyPI the first time; empty if that fails."""
    if library not in PEERS:
        return sys.executable
    home = CACHE / PEERS[library][0][-1]
    python = home / "bin" / "python"
    ready = home / "ready"
    if not ready.exists():
        pip = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        steps = [[sys.executable, "-m", "venv", str(home)], *[[*pip, *words] for words in PEERS[library]]]
        if any(subprocess.run(step, check=False, stdout=sys.stderr).returncode for step in steps):
            return ""
        ready.touch()
    return str(python)


def peers(chosen: argparse.Namespace) -> bool:
    """Print true spend / limit, hard limits only, of each library as its README says to use it."""
    libraries = [name for name in ("costguard", "no guard", *PEERS) if any(part in name for part in chosen.only)]
    pythons = {library: installed(library) for library in libraries}
    print(f"| crowd | {' | '.join(map(_titled, libraries))} |\n|{'---|' * (len(libraries) + 1)}")
    with Provider() as provider, tempfile.TemporaryDirectory(prefix="overspend-") as folder:
        for shape, processes in PEER_CELLS:
            cells = [
                Cell(shape, HARD, processes=processes, library=library, python=pythons[library])
                for library in libraries
            ]
            found = [_peer_column(cell, provider, folder) for cell in cells]
            print(f"| {shape.name}{', 4 processes' if processes > 1 else ''} | {' | '.join(found)} |", flush=True)
    return True


def _titled(library: str) -> str:
    version = PEERS[library][0][-1].partition("==")[2] if library in PEERS else ""
    return f"{library} {version}".strip()


def _peer_column(cell: Cell, provider: Provider, folder: str) -> str:
    if not cell.python:
        return "not installable"
    result = run(cell, provider, _books_of(cell, folder))
    print(cell.library, cell, result.outcomes, file=sys.stderr)
    failed = sum(result.strange.values())
    if failed == cell.size.workers * cell.size.calls:
        return "cannot"
    billed = f"{result.truth:.2f}"
    if cell.shape.stream == "dropped":
        billed += f" ({result.sent:.2f})"
    return billed + (f", {failed} failed" if failed else "")


def _books_of(cell: Cell, folder: str) -> str:
    """Where the books are that several processes may share, for a library that can share some."""
    if cell.library == "costguard":
        return f"sqlite:///{folder}/{next(_fresh)}.db" if cell.processes > 1 else "memory://"
    return f"{folder}/{next(_fresh)}.db" if cell.processes > 1 else ""


_fresh = itertools.count()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--peers", action="store_true", help="other libraries, installed from PyPI")
    parser.add_argument("--quick", action="store_true", help="a few cells, for CI")
    parser.add_argument(
        "--only", nargs="+", default=[""], help="cells with one of these in their name: 'hard | sqlite'"
    )
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.serve:
        _serve()
        return
    print(f"Python {platform.python_version()}, {platform.platform()}, {os.cpu_count()} CPUs, {' '.join(sys.argv)}\n")
    sys.exit(0 if (peers if chosen.peers else own)(chosen) else 1)


if __name__ == "__main__":
    main()
