"""What waits to be sent: nothing is lost, given out twice or out of order, whatever happens in between."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costguard.exporters import _spool
from costguard.exporters._outbox import MemoryOutbox
from costguard.exporters._post import reply_of
from costguard.exporters._spool import SpoolOutbox

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(0, 300)),
        st.tuples(st.just("send"), st.integers(1, 5)),
        st.tuples(st.just("reject"), st.integers(1, 3)),
        st.tuples(st.just("end"), st.just(0)),
        st.tuples(st.just("kill"), st.just(0)),
    ),
    max_size=30,
)


def _killed(outbox: SpoolOutbox) -> None:
    """What the operating system does to a process that is gone: its files are closed, and nothing else."""
    for segment in outbox._waiting():
        os.close(segment.file)


@given(STEPS)
def test_a_spool_gives_out_each_line_once_and_in_order(steps: Sequence[tuple[str, int]]) -> None:
    """Over ends and kills of the process, sizes of batches, and files that are finished."""
    put: list[bytes] = []
    out: list[bytes] = []
    sealed, _spool._SEALED_AT = _spool._SEALED_AT, 700
    try:
        with tempfile.TemporaryDirectory() as folder:
            outbox = SpoolOutbox(folder, 1 << 20)
            for step, size in [*steps, ("kill", 0)]:
                if step == "put":
                    put.append(b"%d:" % len(put) + b"x" * size)
                    outbox.put(put[-1])
                elif step in ("send", "reject"):
                    batch = outbox.next(size, 400)
                    if batch is not None:
                        assert 1 <= len(batch.lines) <= size
                        out += batch.lines
                        (outbox.sent if step == "send" else outbox.rejected)(batch)
                else:
                    outbox.close() if step == "end" else _killed(outbox)
                    outbox = SpoolOutbox(folder, 1 << 20)
            while (batch := outbox.next(7, 10_000)) is not None:
                out += batch.lines
                outbox.sent(batch)
            outbox.look()
            assert outbox.is_empty()
            outbox.close()
            assert {"rejected.jsonl"} >= set(os.listdir(folder))
    finally:
        _spool._SEALED_AT = sealed
    assert put == out


@given(st.lists(st.one_of(st.just(-1), st.integers(1, 5)), max_size=60), st.integers(1, 8))
def test_memory_gives_up_the_oldest_and_counts_them(steps: Sequence[int], kept: int) -> None:
    """Also while a batch of them is under way."""
    outbox, put, out = MemoryOutbox(kept), 0, 0
    batch = None
    for step in steps:
        if step < 0:
            outbox.put(b"%d" % put)
            put += 1
        elif batch is None:
            batch = outbox.next(step, 100)
        else:
            before = len(outbox._lines)
            outbox.sent(batch)
            out += before - len(outbox._lines)
            batch = None
    assert put == out + len(outbox._lines) + outbox.dropped
    assert len(outbox._lines) <= kept
    assert list(outbox._lines) == [b"%d" % number for number in range(put - len(outbox._lines), put)]


@pytest.mark.parametrize(
    ("status", "headers", "content", "expected"),
    [
        (200, {}, b"", ("taken", 0, ())),
        (201, {}, b"not json", ("taken", 0, ())),
        (207, {}, b'{"rejected": [{"index": 2}, {"index": 0}]}', ("taken", 0, (2, 0))),
        (207, {}, b'{"rejected": "all"}', ("taken", 0, ())),
        (302, {}, b"", ("later", 0, ())),
        (400, {}, b"", ("never", 0, ())),
        (401, {}, b"", ("stop", 0, ())),
        (409, {}, b"", ("later", 0, ())),
        (413, {}, b"", ("smaller", 0, ())),
        (429, {"retry-after": "7"}, b"", ("later", 7, ())),
        (503, {"retry-after": "999999"}, b"", ("later", 60, ())),
        (503, {"retry-after": "-5"}, b"", ("later", 0, ())),
        (503, {"retry-after": "soon"}, b"", ("later", 0, ())),
        (503, {"retry-after": "Fri, 31 Dec 1999 23:59:59 GMT"}, b"", ("later", 0, ())),
        (503, {"retry-after": "Fri, 31 Dec 2100 23:59:59 GMT"}, b"", ("later", 60, ())),
    ],
)
def test_what_an_answer_means(status: int, headers: dict[str, str], content: bytes, expected: object) -> None:
    """Every status, hostile bodies and headers included."""
    reply = reply_of(status, headers, content)
    assert expected == (reply.verdict, reply.pause, tuple(reply.rejected))
