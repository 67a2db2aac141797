"""One HTTP/1.1 connection: read a request, pace the answer, notice when the client leaves."""

from __future__ import annotations

import gzip
import json
import socket
import time
from dataclasses import replace
from email import message_from_bytes
from http.client import responses
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qsl, unquote, urlsplit

from .exchange import Answer, Frame
from .reply import Billed, Received, Reply

if TYPE_CHECKING:
    from .server import _Server

_KEYS = frozenset({"authorization", "x-api-key", "api-key", "x-goog-api-key", "cookie"})
_BROKEN = Answer(body=b'{"error": {"message": "the loopback provider failed"}}', status=500)
_END = b"0\r\n\r\n"


class ClientLeft(Exception):
    """The client closed the connection, or the script did."""


class Handler(BaseHTTPRequestHandler):
    """Reads requests off one connection and hands each to the provider."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def handle_one_request(self) -> None:
        """Serve one request; whatever goes wrong is recorded, never printed."""
        try:
            super().handle_one_request()
        except (ClientLeft, ConnectionError):
            self.close_connection = True
        except Exception as error:
            self.close_connection = True
            self._house.books.fail(error)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Serve any method."""
        request = self._received()
        with self._house.books.serving():
            key = self._house.books.receive(request)
            try:
                answer, reply = self._house.answer(request)
            except Exception as error:
                self._house.books.fail(error)
                answer, reply = _BROKEN, Reply()
            self._house.books.answer(key, answer.status)
            self._deliver(answer, reply)

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

    @property
    def _house(self) -> _Server:
        return cast("_Server", self.server)

    # -- reading ------------------------------------------------------------------------------------------------

    def _received(self) -> Received:
        headers = {name.lower(): value for name, value in self.headers.items()}
        parts = urlsplit(self.path)
        data = self._chunked() if "chunked" in headers.get("transfer-encoding", "") else self._sized(headers)
        if headers.get("content-encoding") == "gzip":
            data = gzip.decompress(data)
        return Received(
            method=self.command,
            path=unquote(parts.path),
            query=dict(parse_qsl(parts.query, keep_blank_values=True)),
            headers={name: "***" if name in _KEYS else value for name, value in headers.items()},
            body=_parsed(data, headers.get("content-type", "")),
        )

    def _sized(self, headers: dict[str, str]) -> bytes:
        return self.rfile.read(int(headers.get("content-length") or 0))

    def _chunked(self) -> bytes:
        data = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            data += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return data

    # -- answering ----------------------------------------------------------------------------------------------

    def _deliver(self, answer: Answer, reply: Reply) -> None:
        key = None
        if answer.bill is not None:
            key = self._house.books.put(_begun(answer.bill) if answer.frames is not None else answer.bill)
        try:
            self._wait_before(reply)
            if answer.frames is None:
                self._whole(answer, reply, key)
            else:
                self._stream(answer, reply, key)
        except (ClientLeft, ConnectionError):
            self._amend(key, completed=False, disconnected=True)
            raise

    def _wait_before(self, reply: Reply) -> None:
        self._pause(reply.latency or 0.0)
        while reply.hang or (reply.gate is not None and not reply.gate.is_set()):
            self._pause(0.02)

    def _whole(self, answer: Answer, reply: Reply, key: int | None) -> None:
        head = self._head(answer, reply, {"Content-Length": str(len(answer.body))})
        if reply.break_after is not None:
            self._drop(head + answer.body[: len(answer.body) // 2])
            return
        self._amend(key, completed=answer.status < 400)
        self.wfile.write(head + answer.body)

    def _stream(self, answer: Answer, reply: Reply, key: int | None) -> None:
        self.wfile.write(self._head(answer, reply, {"Transfer-Encoding": "chunked"}))
        frames, whole = _planned(answer, reply)
        chunks = 0
        for index, frame in enumerate(frames, start=1):
            self._pause(reply.chunk_delay or 0.0 if frame.is_chunk and chunks else 0.0)
            if frame.is_chunk:
                chunks += 1
                self._amend(key, chunks_sent=chunks, **_output(answer, frame.output_tokens))
            if index == len(frames) and whole:
                self._amend(key, completed=True)
            self.wfile.write(_chunk(frame.data) + (_END if index == len(frames) and reply.break_after is None else b""))
        if reply.break_after is not None:
            self._drop(b"")

    def _drop(self, last: bytes) -> None:
        """Break the connection off, after a last piece."""
        self.wfile.write(last)
        self.close_connection = True

    def _amend(self, key: int | None, **changes: Any) -> None:
        if key is not None:
            self._house.books.amend(key, **changes)

    def _head(self, answer: Answer, reply: Reply, framing: dict[str, str]) -> bytes:
        headers = {"Content-Type": answer.content_type, **framing, **answer.headers, **reply.headers}
        if reply.retry_after is not None:
            headers["Retry-After"] = f"{reply.retry_after:g}"
        lines = [f"HTTP/1.1 {answer.status} {responses.get(answer.status, 'Overloaded')}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    def _pause(self, seconds: float) -> None:
        """Wait, and raise as soon as the client has left."""
        until = time.monotonic() + seconds
        left = seconds
        while True:
            self.connection.settimeout(max(left, 0.0))
            try:
                gone = self.connection.recv(1, socket.MSG_PEEK) == b""
            except (TimeoutError, BlockingIOError):
                gone = False
            finally:
                self.connection.settimeout(None)
            if gone:
                raise ClientLeft
            left = until - time.monotonic()
            if left <= 0:
                return


def _planned(answer: Answer, reply: Reply) -> tuple[list[Frame], bool]:
    """The frames to send, and whether they are the whole answer."""
    frames = list(answer.frames or ())
    chunks = [index for index, frame in enumerate(frames) if frame.is_chunk]
    if reply.garbage == "json" and chunks:
        middle = chunks[len(chunks) // 2]
        frames[middle] = frames[middle]._replace(data=b'data: {"broken\n\n')
    stop = reply.break_after if reply.break_after is not None else reply.error_after
    if stop is None:
        return frames, True
    kept = frames[: chunks[stop] if stop < len(chunks) else chunks[-1] + 1]
    if reply.break_after is None:
        kept.append(Frame(answer.error_frame, 0, is_chunk=False))
    return kept, False


def _begun(bill: Billed) -> Billed:
    """The bill of a stream of which nothing is generated yet."""
    return replace(bill, output_tokens=0, reasoning_tokens=0, output_audio_tokens=0)


def _output(answer: Answer, generated: int) -> dict[str, int]:
    """The output counts of a bill once so much is generated."""
    bill = answer.bill or Billed(kind="", path="", model="")
    parts = {name: min(getattr(bill, name), generated) for name in ("reasoning_tokens", "output_audio_tokens")}
    return {"output_tokens": generated, **parts}


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _parsed(data: bytes, content_type: str) -> Any:
    if content_type.startswith("multipart/"):
        return _form(data, content_type)
    if not data:
        return None
    try:
        return json.loads(data)
    except ValueError:
        return data


def _form(data: bytes, content_type: str) -> dict[str, Any]:
    """The fields of a multipart form; of a file, its name and size."""
    message = message_from_bytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + data)
    fields: dict[str, Any] = {}
    for part in message.walk():
        name = part.get_param("name", header="content-disposition")
        if part.is_multipart() or not isinstance(name, str):
            continue
        content = cast("bytes", part.get_payload(decode=True) or b"")
        filename = part.get_filename()
        fields[name] = content.decode() if filename is None else {"filename": filename, "bytes": len(content)}
    return fields
