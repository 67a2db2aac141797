"""Celery: tasks carry their attribution along, with a real worker, its forked children and a broker of files."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import costguard
from costguard import ConfigError, _scope
from costguard._config import state
from costguard.integrations import celery as ours
from costguard.testing.loopback import LoopbackProvider

pytestmark = [
    # Celery's and kombu's own, about pickles, forks and what they will do in their next version.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::PendingDeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

TASKS = """
import celery
import openai

import costguard
from costguard import _scope
from costguard.integrations.celery import install

costguard.instrument()
install()
app = celery.Celery("tasks", broker="filesystem://", backend="file://{folder}/results")
app.conf.broker_transport_options = {{
    "data_folder_in": "{folder}/queue", "data_folder_out": "{folder}/queue", "control_folder": "{folder}/control"
}}


@app.task
def ask(then=False):
    client = openai.OpenAI(api_key="x", base_url="{url}")
    client.chat.completions.create(model="gpt-4o", max_tokens=9, messages=[{{"role": "user", "content": "hi"}}])
    next_one = ask.delay().id if then else None
    return dict(_scope.current().tags), costguard.spend(task="tasks.ask").calls, next_one


@app.task
def fail():
    raise KeyError("theirs")
"""


@pytest.fixture
def tasks(tmp_path: Path, provider: LoopbackProvider, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The module above, in this process and in a worker of its own."""
    for name in ("queue", "control", "results"):
        (tmp_path / name).mkdir()
    text = TASKS.format(folder=tmp_path, url=provider.openai_url)
    (tmp_path / "tasks.py").write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    command = [sys.executable, "-m", "celery", "-A", "tasks", "worker", "-P", "prefork", "-c", "1", "--without-mingle"]
    with (tmp_path / "log").open("w") as log:
        worker = subprocess.Popen([*command, "--without-gossip"], cwd=tmp_path, stdout=log, stderr=log)
    try:
        yield importlib.import_module("tasks")
    finally:
        worker.terminate()
        worker.wait(60)
        ours.uninstall()
        costguard.uninstrument()
        del sys.modules["tasks"]
        print((tmp_path / "log").read_text())


def test_a_tasks_calls_belong_to_where_it_was_sent_from(tasks: Any, provider: LoopbackProvider) -> None:
    """Also those of a task that it sends itself, and of none when it was sent from outside any block."""
    with costguard.budgeted(feature="mail", tenant="acme"):
        sent = tasks.ask.delay(then=True)
        failing = tasks.fail.delay()
    outside = tasks.ask.delay()
    here = {"feature": "mail", "tenant": "acme", "task": "tasks.ask"}
    tags, calls, then = sent.get(timeout=120)
    assert (tags, calls) == (here, 1)
    with pytest.raises(KeyError, match="theirs"):
        failing.get(timeout=120)
    assert outside.get(timeout=120)[0] == {"task": "tasks.ask"}
    assert tasks.app.AsyncResult(then).get(timeout=120)[0] == here
    assert len(provider.billed) == 3


class _Task:
    """What Celery hands to its receivers, with a message that somebody else wrote."""

    name = "tasks.ask"

    def __init__(self, headers: Any) -> None:
        self.request: Any = type("Request", (), {"get": {ours.HEADER: headers}.get})()


@pytest.mark.parametrize("headers", [{"feature": "a\nb"}, {"9": "x"}, "feature", 3, {"feature": ["x"]}, [("a",)]])
def test_a_message_that_we_did_not_write_is_no_ground_to_fail(headers: Any) -> None:
    """Its tags are left out."""
    task = _Task(headers)
    tasks = ours.Tasks("task")
    tasks.beginning(task=task)
    assert dict(_scope.current().tags) == {"task": "tasks.ask"}
    tasks.ended(task=task)
    tasks.ended(task=task)
    assert dict(_scope.current().tags) == {}


def test_it_is_installed_once_and_can_be_taken_back() -> None:
    """Installing it again changes the options."""
    from celery import signals

    before = len(signals.task_prerun.receivers)
    ours.install()
    ours.install(task_tag=None)
    assert len(signals.task_prerun.receivers) == before + 1
    ours.uninstall()
    ours.uninstall()
    assert len(signals.task_prerun.receivers) == before
    with pytest.raises(ConfigError, match="no tag name"):
        ours.install(task_tag="a b")


def test_the_end_of_a_worker_writes_what_is_under_way() -> None:
    """A worker's process does not run what is registered for an interpreter's exit."""
    flushed = []

    class Flushed:
        def export(self, record: Any) -> None: ...

        def flush(self, timeout: float) -> None:
            flushed.append(os.getpid())

        def close(self) -> None: ...

    costguard.configure(exporters=[Flushed()], ledger="memory://")
    ours.Tasks(None).stopping()
    state.guard.exporters.clear()
    assert flushed == [os.getpid()]
