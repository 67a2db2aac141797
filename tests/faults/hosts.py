"""The servers, queues and pools that the program is run in."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import chdir
from pathlib import Path
from typing import Any

from costguard.testing.loopback import Reply

from ..contract.servers import free_port
from .crowd import PATIENCE, Program, Seen, asked, children, environment, judge, provided, rush, until, until_up

GREEN_SERVER = """
import sys
{before}
import app
{after}
"""


def _gunicorn(*more: str) -> Callable[[int], list[str]]:
    return lambda port: [
        sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{port}", "--no-control-socket", *more, "app:application",
    ]  # fmt: skip


def _uwsgi(*more: str) -> Callable[[int], list[str]]:
    program = str(Path(sys.executable).parent / "uwsgi")
    return lambda port: [
        program, "--http-socket", f"127.0.0.1:{port}", "--virtualenv", sys.prefix, "--module", "app",
        "--master", "--die-on-term", "--listen", "100", "--need-app", *more,
    ]  # fmt: skip


def _script(text: str) -> Callable[[int], list[str]]:
    return lambda port: [sys.executable, "-c", text, str(port)]


_GEVENT_SERVER = """
from gevent.pywsgi import WSGIServer
import gevent, signal
server = WSGIServer(("127.0.0.1", int(sys.argv[1])), app.application, log=None)
gevent.signal_handler(signal.SIGTERM, server.stop)
server.serve_forever()
"""
_GEVENT_PATCH = "from gevent import monkey; monkey.patch_all()"
_EVENTLET_PATCH = "import eventlet; eventlet.monkey_patch()"
_LATE_EVENTLET = """
import os; os.environ["FAULTS_SET_UP"] = "later"
import costguard; costguard.configure(ledger=os.environ["FAULTS_LEDGER"], budgets=[costguard.budget("$1")])
costguard.instrument()
costguard.track("gpt-4o", input_tokens=0, output_tokens=0)
"""
_EVENTLET_SERVER = """
import eventlet.wsgi, signal
def leave(*_): sys.exit(0)
signal.signal(signal.SIGTERM, leave)
eventlet.wsgi.server(eventlet.listen(("127.0.0.1", int(sys.argv[1]))), app.application, log_output=False)
"""


def _multiprocessing(way: str) -> Callable[[int], list[str]]:
    return lambda port: [sys.executable, str(Path(__file__).parent / "spawned.py"), str(port), way]


SERVERS: dict[str, Callable[[int], list[str]]] = {
    "multiprocessing spawn": _multiprocessing("spawn"),
    "multiprocessing forkserver": _multiprocessing("forkserver"),
    "gunicorn sync, preload": _gunicorn("--preload", "--workers", "3"),
    "gunicorn gthread, preload": _gunicorn(
        "--preload", "--workers", "2", "--worker-class", "gthread", "--threads", "8"
    ),
    "gunicorn gevent": _gunicorn("--workers", "2", "--worker-class", "gevent"),
    "gunicorn gevent, preload": _gunicorn("--preload", "--workers", "2", "--worker-class", "gevent"),
    "gevent, patched first": _script(GREEN_SERVER.format(before=_GEVENT_PATCH, after=_GEVENT_SERVER)),
    "gevent, patched late": _script(GREEN_SERVER.format(before="", after=_GEVENT_PATCH + _GEVENT_SERVER)),
    "eventlet, patched first": _script(GREEN_SERVER.format(before=_EVENTLET_PATCH, after=_EVENTLET_SERVER)),
    # After `import openai` the patch itself fails: it looks at every object there is, and some do not like it.
    "eventlet, patched late": _script(
        GREEN_SERVER.format(before=_LATE_EVENTLET + _EVENTLET_PATCH, after="app.set_up()" + _EVENTLET_SERVER)
    ),
    "uwsgi prefork": _uwsgi("--processes", "3"),
    "uwsgi prefork, threads": _uwsgi("--processes", "2", "--threads", "8"),
    "uwsgi prefork, enable-threads": _uwsgi("--processes", "3", "--enable-threads"),
    "uwsgi lazy-apps": _uwsgi("--processes", "3", "--lazy-apps"),
    "uwsgi prefork, fork hooks": _uwsgi("--processes", "3", "--py-call-uwsgi-fork-hooks", "--enable-threads"),
}


def serve(name: str, folder: Path, ledger: str) -> Seen:
    """Run the program in a server, under a crowd, and end it."""
    port = free_port()
    with provided() as provider:
        program = Program(SERVERS[name](port), folder, environment(provider, ledger))
        try:
            until_up(program, port)
            seen = rush(asked(port))
            seen.stopped = program.end()
        finally:
            program.kill()
        seen.log = program.log
        return judge(seen, provider, ledger)


def work_off(folder: Path, ledger: str, *, graceful: bool = True) -> Seen:
    """Run the program in Celery's forked workers, which it was loaded before, and end it."""
    import celery

    command = [
        sys.executable, "-m", "celery", "-A", "queued", "worker", "-P", "prefork", "-c", "3", "-l", "info", "--without-mingle",
        "--without-gossip",
    ]  # fmt: skip
    with provided() as provider, chdir(folder):
        program = Program(command, folder, environment(provider, ledger))
        try:
            sender = celery.Celery("tasks", broker="filesystem://", backend=f"file://{folder}/results")
            sender.conf.broker_transport_options = {
                "data_folder_in": "queue", "data_folder_out": "queue", "control_folder": "control",
            }  # fmt: skip
            until(lambda: " ready." in program.log, program)

            def ask(number: int) -> Mapping[str, Any]:
                told: Mapping[str, Any] = sender.send_task("ask", args=[number]).get(timeout=PATIENCE)
                return told

            seen = rush(ask)
            seen.stopped = program.end()
        finally:
            program.kill()
        seen.log = program.log
        return judge(seen, provider, ledger)


def kill(name: str, folder: Path, ledger: str) -> Seen:
    """Kill every worker of a server in the middle of a call with `kill -9`, and go on."""
    port = free_port()
    with provided(latency=0.0) as provider:
        program = Program(SERVERS[name](port), folder, environment(provider, ledger))
        try:
            until_up(program, port)
            with ThreadPoolExecutor(3) as pool:
                provider.reply = Reply(input_tokens="measured", output_tokens=50, latency=PATIENCE)
                waiting = [pool.submit(asked(port), 1000 + number) for number in range(3)]
                assert provider.wait_for_requests(3, PATIENCE), program.log
                provider.reply = Reply(input_tokens="measured", output_tokens=50, latency=0.05)
                for worker in children(program.process.pid):
                    os.kill(worker, signal.SIGKILL)
                lost = [one.result() for one in waiting]
            until_up(program, port)
            seen = rush(asked(port))
            seen.said["killed"] = sum(one["said"] != "answered" for one in lost)
            seen.stopped = program.end()
        finally:
            program.kill()
        seen.log = program.log
        return judge(seen, provider, ledger, left_to_leases=True, may_say=("answered", "BudgetExceededError", "killed"))


def time_out(folder: Path, ledger: str) -> Seen:
    """Let gunicorn take a worker for hung in the middle of a call: it is ended by `SIGABRT`, and another one begins."""
    port = free_port()
    with provided(latency=0.0) as provider:
        program = Program(
            [*SERVERS["gunicorn sync, preload"](port), "--timeout", "10"], folder, environment(provider, ledger)
        )
        try:
            until_up(program, port)
            provider.reply = Reply(input_tokens="measured", output_tokens=50, latency=PATIENCE)
            lost = asked(port)(1000)
            provider.reply = Reply(input_tokens="measured", output_tokens=50, latency=0.05)
            seen = rush(asked(port))
            seen.said["timed out"] = lost["said"] != "answered"
            seen.stopped = program.end()
        finally:
            program.kill()
        seen.log = program.log
        return judge(
            seen, provider, ledger, left_to_leases=True, may_say=("answered", "BudgetExceededError", "timed out"), loud=True
        )  # fmt: skip
