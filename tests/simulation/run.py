"""Play stories on a ledger, and say what came of it."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from costguard._clock import SteadyClock
from costguard.ledgers.memory import KEEP, MemoryLedger
from costguard.ports import Ledger

from .plan import Story, story
from .reference import Violation
from .shrink import shortest
from .world import MakeClock, World

Fresh = Callable[[], Callable[[], Ledger]]
"""Makes a fresh book, and returns what opens a handle on it."""


@dataclass(frozen=True)
class Stage:
    """What stories are played on.

    Attributes:
        fresh: makes books.
        shared: whether callers are processes of several hosts.
        make_clock: the clock they go by.
        keep: seconds that a window's books must be kept after its end.
    """

    fresh: Fresh
    shared: bool = True
    make_clock: MakeClock = SteadyClock
    keep: float = 86_400.0


@dataclass(frozen=True)
class Failure:
    """What went wrong, and the shortest story found in which it does."""

    error: Violation
    story: Story
    said: tuple[str, ...]


def memory(kind: Callable[[], Ledger] = MemoryLedger, make_clock: MakeClock = SteadyClock) -> Stage:
    """Threads of one process, over a ledger in memory."""

    def fresh() -> Callable[[], Ledger]:
        ledger = kind()
        return lambda: ledger

    return Stage(fresh, shared=False, make_clock=make_clock, keep=KEEP)


@contextmanager
def shared(kind: str) -> Iterator[Stage]:
    """Processes of several hosts, over a real ``sqlite`` file, ``redis`` or ``postgresql`` server."""
    with tempfile.TemporaryDirectory(prefix="simulation-") as name:
        folder = Path(name)
        if kind == "sqlite":
            from costguard.ledgers.sqlite import SQLiteLedger

            numbers = itertools.count()

            def fresh_file() -> Callable[[], Ledger]:
                path = folder / f"{next(numbers)}.db"
                return lambda: SQLiteLedger(path)

            yield Stage(fresh_file)
        elif kind == "redis":
            from costguard.ledgers.redis import RedisLedger

            from ..contract.servers import fresh, running

            with running(folder) as url:

                def fresh_namespace() -> Callable[[], Ledger]:
                    namespace = fresh()
                    return lambda: RedisLedger(url, namespace=namespace, clock="client")

                yield Stage(fresh_namespace)
        else:
            from costguard.ledgers.postgres import open_postgres

            from ..contract.postgres_server import PostgresServer

            folder.chmod(0o755)
            home = folder / "postgres"
            home.mkdir()
            server = PostgresServer(home)
            try:

                def fresh_schema() -> Callable[[], Ledger]:
                    # A busy machine is no fault of the story's.
                    url = server.url(timeout=30)
                    return lambda: open_postgres(url)

                yield Stage(fresh_schema)
            finally:
                server.stop()


def play(stage: Stage, what: Story) -> World:
    """Let a story happen on fresh books. Returns what is left of the world.

    Raises:
        Violation: with the world's words as its second argument.
    """
    world = World(stage.fresh(), what.start, shared=stage.shared, keep=stage.keep, make_clock=stage.make_clock)
    try:
        world.play(what)
    except Violation as error:
        error.args = (*error.args[:1], tuple(world.said))
        raise
    finally:
        world.close()
    return world


def failure(stage: Stage, seed: int, steps: int, *, shrink: bool = True) -> Failure | None:
    """What goes wrong in the story of a seed, made as short as it gets; None when nothing does."""
    found: dict[Story, Violation] = {}

    def fails(what: Story) -> bool:
        try:
            play(stage, what)
        except Violation as error:
            found[what] = error
            return True
        return False

    told = story(seed, steps)
    if not fails(told):
        return None
    short = shortest(told, fails) if shrink else told
    error = found[short]
    return Failure(error, short, error.args[1])
