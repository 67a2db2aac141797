"""Every exporter of ours, through the suite that other packages run over theirs."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider

from costguard.exporters.http import HttpExporter
from costguard.exporters.jsonl import JsonlExporter
from costguard.exporters.otel import OtelExporter
from costguard.exporters.stdout import StdoutExporter
from costguard.exporters.webhook import WebhookExporter
from costguard.ports import Exporter
from costguard.testing import ExporterContract, FakeClock, RecordingExporter

from ..export.receiver import Receiver


class TestStdout(ExporterContract):
    """Readable lines."""

    def make_exporter(self) -> StdoutExporter:
        return StdoutExporter(io.StringIO())


class TestJsonLines(ExporterContract):
    """JSON lines."""

    def make_exporter(self) -> StdoutExporter:
        return StdoutExporter(io.StringIO(), json_lines=True)


class TestOtel(ExporterContract):
    """OpenTelemetry's SDK, in memory."""

    def make_exporter(self) -> OtelExporter:
        return OtelExporter(tracer_provider=TracerProvider(), meter_provider=MeterProvider())


class TestJsonFile(ExporterContract):
    """JSON lines in a file."""

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    def make_exporter(self) -> JsonlExporter:
        return JsonlExporter(self.folder / "new" / "calls.jsonl")


class TestHttp(ExporterContract):
    """Posts to a receiver that takes everything."""

    @pytest.fixture(autouse=True)
    def _receiver(self, tmp_path: Path) -> Iterator[None]:
        self.folder = tmp_path
        with Receiver() as self.receiver:
            yield

    def make_exporter(self) -> Exporter:
        return HttpExporter(self.receiver.url, form="events")


class TestHttpWithSpool(TestHttp):
    """Posts out of files."""

    def make_exporter(self) -> Exporter:
        return HttpExporter(self.receiver.url, spool=self.folder)


class TestHttpToNobody(TestHttp):
    """Nobody takes anything."""

    def make_exporter(self) -> Exporter:
        self.receiver.answer = lambda events: (503, {}, b"")
        return HttpExporter(self.receiver.url)


class TestWebhook(TestHttp):
    """Posts alerts."""

    def make_exporter(self) -> Exporter:
        return WebhookExporter(self.receiver.url)


class TestRecording(ExporterContract):
    """The exporter that tests use."""

    def make_exporter(self) -> RecordingExporter:
        return RecordingExporter()

    def test_it_keeps_calls_and_alerts_apart(self) -> None:
        """`only` is the one call there was, and says so when there was not exactly one."""
        exporter = self.make_exporter()
        with pytest.raises(AssertionError, match="0 calls"):
            _ = exporter.only
        records = self.records()
        for record in records:
            exporter.export(record)
        assert (3, 2) == (len(exporter.calls), len(exporter.alerts))
        exporter.clear()
        exporter.export(records[0])
        assert records[0] == exporter.only


def test_a_fake_clock_stands_still_until_it_is_moved() -> None:
    """It moves by seconds to days, forth and back."""
    clock = FakeClock(datetime(2026, 5, 1, tzinfo=UTC))
    started = clock()
    assert started == clock()
    clock.advance(days=1, hours=1, minutes=1, seconds=1)
    assert 90061 == clock() - started
    clock.advance(hours=-1)
    assert 86461 == clock() - started
