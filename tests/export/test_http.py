"""The HTTP exporter and webhooks, over real HTTP to a receiver that fails in every way."""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import costguard
from costguard._types import Alert, Balance, Call, Cost, CostEvent, Leg, Usage
from costguard.errors import ConfigError
from costguard.exporters import _courier, open_exporter
from costguard.exporters.http import HttpExporter
from costguard.exporters.webhook import WebhookExporter

from .receiver import OK, Receiver, script

CALL = Call("openai", "gpt-4o")
ALERT = Alert(
    "daily/w/80", 1.78e9, 80.0, Balance(Leg("<daily>", "w", 10**9, scope=(("feature", "search"),)), 85 * 10**7, 0)
)


def event(number: int, **changes: Any) -> CostEvent:
    """A call that is over."""
    usage = Usage({"input": 600, "cache_read": 400, "output": 30, "reasoning": 20})
    one = CostEvent(f"id-{number}", 1.78e9, 0.5, CALL, (usage,), Cost(2_500_000), tags={"feature": "search"})
    return replace(one, **changes)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_courier, "PAUSES", (0.01, 0.05))


def test_calls_go_out_as_an_ai_spend_api_takes_them(receiver: Receiver) -> None:
    """Together, with model, tokens, metadata and what we know besides; refused ones and alerts are told apart."""
    exporter = HttpExporter(receiver.url, token="t0k3n", headers={"x-team": "web"})
    exporter.export(event(1))
    exporter.export(ALERT)
    exporter.flush(30)
    exporter.close()
    assert {
        "events": [
            {
                "id": "id-1",
                "timestamp": "2026-05-28T20:26:40.000Z",
                "provider": "openai",
                "model": "gpt-4o",
                "input_tokens": 1000,
                "output_tokens": 50,
                "cached_input_tokens": 400,
                "reasoning_tokens": 20,
                "cost_usd": "0.002500000",
                "outcome": "ok",
                "decision": "allowed",
                "estimated": False,
                "unpriced": [],
                "saved_usd": "0.000000000",
                "metadata": {"feature": "search"},
            }
        ]
    } == receiver.bodies[0]
    (headers,) = receiver.headers
    assert ["Bearer t0k3n", "web", "1"] == [headers[one] for one in ("authorization", "x-team", "x-costguard-attempt")]
    assert headers["idempotency-key"]


def test_one_at_a_time_for_those_who_take_no_more(receiver: Receiver) -> None:
    """With ``batch=1`` a body is one call."""
    exporter = HttpExporter(receiver.url, batch=1)
    for number in range(3):
        exporter.export(event(number))
    exporter.flush(30)
    exporter.close()
    assert ["id-0", "id-1", "id-2"] == [body["id"] for body in receiver.bodies]


def test_events_are_calls_and_alerts_as_in_the_json_lines(receiver: Receiver) -> None:
    """Our own schema."""
    exporter = HttpExporter(receiver.url, form="events")
    exporter.export(event(1))
    exporter.export(ALERT)
    exporter.flush(30)
    exporter.close()
    assert ["call", "alert"] == [one["type"] for one in receiver.bodies[0]["events"]]


def test_large_bodies_are_compressed_unless_the_receiver_cannot(receiver: Receiver) -> None:
    """A receiver that answers 415 gets them plain."""
    receiver.answer = script((415, {}, b""))
    exporter = HttpExporter(receiver.url)
    for number in range(50):
        exporter.export(event(number))
    exporter.flush(30)
    exporter.close()
    assert ["gzip", None] == [headers.get("content-encoding") for headers in receiver.headers]
    assert 50 == len(receiver.taken)


@pytest.mark.parametrize(
    "answer", [(500, {}, b""), (503, {"retry-after": "0"}, b""), (429, {}, b""), (404, {}, b""), None]
)
def test_what_is_not_taken_is_sent_again_with_the_same_key(receiver: Receiver, answer: Any) -> None:
    """Errors of the server, and connections that break; each try says which it is."""
    left = [answer] * 3

    def fail(events: list[Any]) -> Any:
        if not left:
            return OK
        if left.pop() is None:
            raise ConnectionError
        return answer

    receiver.answer = fail
    exporter = HttpExporter(receiver.url)
    exporter.export(event(1))
    exporter.flush(30)
    assert "" == exporter.trouble()
    exporter.close()
    assert {"id-1": 1} == receiver.taken
    assert 1 == len({headers["idempotency-key"] for headers in receiver.headers})
    assert ["1", "2", "3", "4"] == [headers["x-costguard-attempt"] for headers in receiver.headers]


def test_a_receiver_that_asks_for_a_pause_gets_it(receiver: Receiver) -> None:
    """Retry-After is the least that is waited, also by a flush."""
    receiver.answer = script((429, {"retry-after": "1"}, b""))
    exporter = HttpExporter(receiver.url)
    exporter.export(event(1))
    exporter.flush(0.2)
    assert 1 == len(receiver.bodies)
    assert "HTTP status 429" in exporter.trouble()
    began = time.monotonic()
    exporter.flush(30)
    exporter.close()
    assert time.monotonic() - began > 0.5
    assert {"id-1": 1} == receiver.taken


def test_a_batch_that_is_too_large_is_split(receiver: Receiver) -> None:
    """On 413, until it fits."""
    receiver.answer = lambda events: OK if len(events) <= 3 else (413, {}, b"")
    exporter = HttpExporter(receiver.url, batch=16, every=60)
    for number in range(16):
        exporter.export(event(number))
    exporter.flush(30)
    exporter.close()
    assert {f"id-{number}": 1 for number in range(16)} == receiver.taken


@pytest.mark.parametrize("spooled", [False, True])
def test_a_poisoned_event_is_put_aside_and_the_others_arrive(
    receiver: Receiver, tmp_path: Path, spooled: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """On 400 it is looked for, counted, told of once, and with a spool kept in a file."""
    receiver.answer = lambda events: (400, {}, b"") if any(one["id"] == "id-5" for one in events) else OK
    exporter = HttpExporter(receiver.url, batch=10, every=60, spool=tmp_path if spooled else None)
    for number in range(10):
        exporter.export(event(number))
    exporter.flush(30)
    assert "1 events rejected" in exporter.trouble()
    exporter.close()
    assert {f"id-{number}": 1 for number in range(10) if number != 5} == receiver.taken
    assert 1 == sum("rejects events" in record.getMessage() for record in caplog.records)
    aside = [
        json.loads(line)["id"] for file in tmp_path.rglob("rejected.jsonl") for line in file.read_text().splitlines()
    ]
    assert (["id-5"] if spooled else []) == aside


def test_a_receiver_may_name_the_events_that_it_rejects(receiver: Receiver) -> None:
    """It took the others, so they are not sent again."""
    receiver.answer = script((207, {}, json.dumps({"accepted": 2, "rejected": [{"index": 1, "error": "no"}]}).encode()))
    exporter = HttpExporter(receiver.url)
    for number in range(3):
        exporter.export(event(number))
    exporter.flush(30)
    assert "1 events rejected" in exporter.trouble()
    exporter.close()
    assert 1 == len(receiver.bodies)


@pytest.mark.parametrize("status", [401, 403])
def test_a_receiver_that_does_not_know_us_is_left_alone(
    receiver: Receiver, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """One error in the log, and no further request."""
    receiver.answer = lambda events: (status, {}, b"")
    exporter = HttpExporter(receiver.url)
    exporter.export(event(1))
    exporter.flush(30)
    exporter.export(event(2))
    exporter.flush(30)
    exporter.close()
    assert 1 == len(receiver.bodies)
    assert 1 == sum("sends nothing more" in record.getMessage() for record in caplog.records)
    assert f"HTTP status {status}" in exporter.trouble()


def test_memory_is_bounded_and_what_is_given_up_is_counted(receiver: Receiver) -> None:
    """The oldest events, while the receiver does not answer."""
    answered = threading.Event()
    receiver.answer = lambda events: (answered.wait(60), OK)[1]
    exporter = HttpExporter(receiver.url, kept=10, batch=5)
    for number in range(30):
        exporter.export(event(number))
    assert "20 events dropped" in exporter.trouble()
    answered.set()
    exporter.flush(30)
    exporter.close()
    assert {f"id-{number}" for number in range(20, 30)} <= set(receiver.taken)


def test_a_program_ends_in_time_though_nobody_answers(receiver: Receiver) -> None:
    """Closing waits two seconds at most, and not twice."""
    hang = threading.Event()
    receiver.answer = lambda events: (hang.wait(60), OK)[1]
    exporter = HttpExporter(receiver.url)
    exporter.export(event(1))
    began = time.monotonic()
    exporter.flush(0.2)
    exporter.close()
    assert time.monotonic() - began < 2
    hang.set()


def test_requests_are_in_nobodys_traces(receiver: Receiver) -> None:
    """Not even where every HTTP client of the program is instrumented."""
    memory, tracing = InMemorySpanExporter(), TracerProvider()
    tracing.add_span_processor(SimpleSpanProcessor(memory))
    HTTPXClientInstrumentor().instrument(tracer_provider=tracing)
    try:
        exporter = HttpExporter(receiver.url)
        exporter.export(event(1))
        exporter.flush(30)
        exporter.close()
    finally:
        HTTPXClientInstrumentor().uninstrument()
    assert {"id-1": 1} == receiver.taken
    assert () == memory.get_finished_spans()
    assert "traceparent" not in receiver.headers[0]


# -- the spool -------------------------------------------------------------------------------------------------

PROGRAM = """
import os, sys, costguard
from costguard.exporters.http import HttpExporter
url, spool, first, count, end = sys.argv[1:]
costguard.configure(exporters=[HttpExporter(url, spool=spool, every=0.05, batch=7)])
for number in range(int(first), int(first) + int(count)):
    costguard.track("gpt-4o", input_tokens=number, feature="f")
print("written", flush=True)
if end == "wait":
    sys.stdin.read()
elif end == "fork":
    pid = os.fork()
    if not pid:
        costguard.track("gpt-4o", input_tokens=int(first) + int(count))
        costguard.flush(60)
        os._exit(0)
    assert (pid, 0) == os.waitpid(pid, 0)
costguard.flush(float(os.environ.get("PATIENCE", "60")))
"""


def program(receiver: Receiver, spool: Path, first: int, count: int, end: str = "flush") -> subprocess.Popen[str]:
    """Another process that makes calls."""
    words = [sys.executable, "-c", PROGRAM, receiver.url, str(spool), str(first), str(count), end]
    return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def numbers(receiver: Receiver) -> list[int]:
    """Which calls arrived, each once for its id."""
    found = {one["id"]: one["input_tokens"] for body in receiver.bodies for one in body["events"]}
    return sorted(found[id] for id in receiver.taken)


def test_every_event_arrives_once_after_an_outage_and_a_kill(tmp_path: Path) -> None:
    """A process is killed while the receiver is away; the next one delivers what it left, and its own."""
    receiver = Receiver()
    with receiver:
        receiver.answer = lambda events: (503, {}, b"")
        first = program(receiver, tmp_path, 0, 40, "wait")
        assert first.stdout is not None
        assert "written\n" == first.stdout.readline()
        receiver.wait(lambda: receiver.bodies)
        first.send_signal(signal.SIGKILL)
        first.communicate()
        assert not receiver.taken
    # Nobody listens at all now.
    receiver.answer = lambda events: OK
    port = receiver._port
    second = program(receiver, tmp_path, 40, 10, "wait")
    assert second.stdout is not None
    assert "written\n" == second.stdout.readline()
    receiver._port = port
    with receiver:
        _, errors = second.communicate("", timeout=120)
        receiver.wait(lambda: len(receiver.taken) >= 50)
    assert second.returncode == 0, errors
    assert list(range(50)) == numbers(receiver)
    assert {1} == set(receiver.taken.values())
    assert [] == [file for file in tmp_path.rglob("*") if file.is_file()]


def test_a_kill_in_the_middle_of_sending_loses_nothing(receiver: Receiver, tmp_path: Path) -> None:
    """The receiver had taken a batch and the sender was killed before it knew: by id it is there once."""
    taken = threading.Event()

    def slow(events: list[Any]) -> Any:
        if len(receiver.taken) >= 7:
            taken.set()
            threading.Event().wait(0.2)
        return OK

    receiver.answer = slow
    first = program(receiver, tmp_path, 0, 60, "wait")
    assert taken.wait(60)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    receiver.answer = lambda events: OK
    second = program(receiver, tmp_path, 60, 1)
    _, errors = second.communicate("", timeout=120)
    assert second.returncode == 0, errors
    done = numbers(receiver)
    assert done == sorted(set(done))
    # Killed while it wrote: what it said that it wrote is all there.
    assert set(range(len(done) - 1)) <= set(done)
    assert 60 in done


def test_processes_share_a_spool_and_a_fork_keeps_its_own(receiver: Receiver, tmp_path: Path) -> None:
    """Nobody's events are sent by two of them."""
    programs = [program(receiver, tmp_path, 100 * one, 20, "fork") for one in range(2)]
    for one in programs:
        _, errors = one.communicate("", timeout=120)
        assert one.returncode == 0, errors
    assert [*range(21), *range(100, 121)] == numbers(receiver)
    assert {1} == set(receiver.taken.values())


def test_a_spool_has_an_end(tmp_path: Path, receiver: Receiver) -> None:
    """New events are given up and counted, the old ones stay."""
    exporter = HttpExporter(receiver.url, spool=tmp_path, spool_limit=1000, every=60)
    for number in range(10):
        exporter.export(event(number))
    assert "events dropped" in exporter.trouble()
    exporter.flush(30)
    exporter.close()
    assert "id-0" in receiver.taken
    assert len(receiver.taken) < 10


# -- webhooks and names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["json", "slack"])
def test_alerts_go_to_a_webhook(receiver: Receiver, form: Any) -> None:
    """As JSON or as a message, tried again like anything else; calls do not."""
    receiver.answer = script((500, {}, b""))
    exporter = WebhookExporter(receiver.url, form=form)
    exporter.export(event(1))
    exporter.export(ALERT)
    exporter.flush(30)
    exporter.close()
    assert 2 == len(receiver.bodies)
    if form == "json":
        assert ["alert", "<daily>", 80.0] == [receiver.bodies[1][key] for key in ("type", "budget", "percent")]
    else:
        said = "Budget &lt;daily&gt; (feature search) has reached 80%: $0.85 of $1.00 spent"
        assert {"text": said} == receiver.bodies[1]


def test_a_real_alert_reaches_a_webhook(receiver: Receiver) -> None:
    """From a budget that reaches its mark to the receiver."""
    budget = costguard.budget("$1/day", name="daily", alert_at=50)
    costguard.configure(exporters=[f"webhook:{receiver.url}"], budgets=[budget], ledger="memory://")
    costguard.track("gpt-4o", cost="0.60")
    costguard.flush(30)
    costguard.configure(ledger="memory://")
    assert ["0.6", "daily"] == [receiver.bodies[0][key].rstrip("0") for key in ("spent_usd", "budget")]


def test_an_address_is_an_exporter(receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    """A URL, or a name with one; the secret part of it is never in a message."""
    receiver.answer = lambda events: (401, {}, b"")
    for name in (receiver.url + "?key=s3cret", f"http:{receiver.url}?key=s3cret"):
        exporter = open_exporter(name, {"form": "events"})
        assert isinstance(exporter, HttpExporter)
        with caplog.at_level(logging.INFO, "costguard"):
            exporter.export(event(1))
            exporter.flush(30)
            exporter.close()
        assert "s3cret" not in exporter.trouble()
    assert 2 == len(receiver.bodies)
    assert [] == [record for record in caplog.records if record.name == "costguard" and "s3cret" in record.getMessage()]


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: HttpExporter("ftp://x"), "give an address such as"),
        (lambda: HttpExporter("http://x", form="xml"), "form='xml': allowed are 'spend' and 'events'"),
        (lambda: WebhookExporter("http://x", form="xml"), "form='xml': allowed are 'json' and 'slack'"),
        (lambda: HttpExporter("http://x", spool="/proc/nowhere"), "spool='/proc/nowhere"),
        (lambda: open_exporter("http"), "missing a required argument: 'url'"),
    ],
)
def test_mistakes_are_told(make: Any, told: str) -> None:
    """At once, with what is allowed."""
    with pytest.raises(ConfigError, match=told):
        make()


def test_without_a_client_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Old SDKs bring httpx, new ones httpx2; without any it has to be installed."""
    from costguard import _web

    monkeypatch.setattr(_web, "find_spec", lambda name: None)
    with pytest.raises(costguard.MissingExtraError, match=r"costguard-ai\[http\]"):
        HttpExporter("http://x")
