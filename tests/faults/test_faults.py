"""The cheapest of what `python -m tests.faults` runs, and the two things that it found, by themselves."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from pathlib import Path

from costguard.ledgers.sqlite import SQLiteLedger

from .crowd import LEG
from .hosts import serve


def test_a_crowd_is_held_to_the_limit_in_a_forking_server_of_greenlets(tmp_path: Path) -> None:
    """The program is loaded before its workers are forked, and before threads become greenlets in them: no limit is
    passed, all of it can be spent, nothing but refusals comes out, and the books agree with the bill."""
    seen = serve("gunicorn gevent, preload", tmp_path, f"sqlite://{tmp_path}/book.db")
    assert seen.wrong == [], seen.log


UNTOLD = """
import ctypes, os, sys
import costguard

costguard.configure(ledger=f"sqlite://{sys.argv[1]}/book.db", budgets=[costguard.budget("$0.01", name="all")])
costguard.track("gpt-4o", input_tokens=0, output_tokens=1)
costguard.flush()
children = []
for number in (10, 100):
    # As a C program forks that has Python in it: none of Python's hooks is run.
    pid = ctypes.PyDLL(None).fork()
    if pid == 0:
        costguard.track("gpt-4o", input_tokens=0, output_tokens=number)
        costguard.flush()
        os._exit(0)
    children.append(pid)
codes = [os.waitpid(pid, 0)[1] for pid in children]
assert codes == [0, 0], codes
"""


def test_a_child_that_nobody_told_of_its_fork_counts_its_own_calls(tmp_path: Path) -> None:
    """uWSGI forks so: its workers gave the same ids to different calls, which were then taken for one."""
    done = subprocess.run([sys.executable, "-c", UNTOLD, str(tmp_path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    with closing(SQLiteLedger(tmp_path / "book.db")) as ledger:
        assert [111 * 10_000] == [one.spent for one in ledger.balances([LEG])]
