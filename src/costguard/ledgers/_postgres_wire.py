"""One connection to PostgreSQL that never waits beyond its deadline.

psycopg's own connections wait for an answer as long as it takes, and their time-out for connecting starts at two
seconds. So this speaks through psycopg's wrapper of libpq (`psycopg.pq`), which need not block, and watches the clock.

Statements go out in the simple protocol, several in one message: fewer round trips while a budget is locked, and a
pooler such as PgBouncer may stand between, since nothing outlives a transaction.
"""

from __future__ import annotations

import select
import time
from typing import Any, Final, TypeAlias

from ._pool import LostError, Turn

Rows: TypeAlias = list[tuple[str | None, ...]]

STALE: Final = 2.5
"""Seconds that one connection may be silent while others are answered: then it is dead, behind a firewall say."""


class FailedError(Exception):
    """The server answered with an error."""

    def __init__(self, state: str, message: str) -> None:
        super().__init__(message)
        self.state = state


class Wire:
    """One connection, opened when it is first asked something. For one thread at a time.

    Attributes:
        turn: the clock of the step that uses it.
    """

    def __init__(self, psycopg: Any, conninfo: bytes) -> None:
        self._pq = psycopg.pq
        self._error = psycopg.Error
        self._conninfo = conninfo
        self._raw: Any = None
        self.turn: Turn

    @property
    def idle(self) -> bool:
        """Whether the next step may use it: connected, and in no transaction."""
        return self._raw is not None and self._raw.transaction_status == self._pq.TransactionStatus.IDLE

    def ask(self, *statements: str) -> list[Rows]:
        """Send statements in one message and return the rows of each.

        Raises:
            LostError: no answer, or not in time.
            FailedError: the server's answer is an error.
        """
        try:
            raw = self._raw or self._connect()
            raw.send_query(";".join(statements).encode())
            while raw.flush():
                self._wait(raw.socket, write=True)
            return self._answers(raw)
        except self._error as error:
            raise LostError(sentence(error)) from error

    def literal(self, text: str) -> str:
        """A text as it stands in a statement."""
        return str(self._pq.Escaping(self._raw or self._connect()).escape_literal(text.encode()), "utf-8")

    def close(self) -> None:
        """Let go of it; the server rolls back what was not committed."""
        raw, self._raw = self._raw, None
        if raw is not None:
            raw.finish()

    def _connect(self) -> Any:
        polling = self._pq.PollingStatus
        raw = self._pq.PGconn.connect_start(self._conninfo)
        # libpq wants this to be taken as the answer before the first.
        status = polling.WRITING
        while status != polling.OK:
            if status == polling.FAILED or raw.status == self._pq.ConnStatus.BAD:
                raise LostError(sentence(raw.error_message.decode("utf-8", "replace")))
            self._wait(raw.socket, write=status == polling.WRITING)
            status = raw.connect_poll()
        raw.nonblocking = 1
        self._raw = raw
        return raw

    def _answers(self, raw: Any) -> list[Rows]:
        status, answers, failed = self._pq.ExecStatus, [], None
        while True:
            while raw.is_busy():
                self._wait(raw.socket, write=False)
                raw.consume_input()
            result = raw.get_result()
            if result is None:
                break
            if result.status == status.FATAL_ERROR:
                failed = failed or result
            elif result.status == status.TUPLES_OK:
                answers.append(_rows(result))
            else:
                answers.append([])
        if raw.status == self._pq.ConnStatus.BAD:
            raise LostError(sentence(raw.error_message.decode("utf-8", "replace")))
        if failed is not None:
            state = failed.error_field(self._pq.DiagnosticField.SQLSTATE) or b""
            message = failed.error_field(self._pq.DiagnosticField.MESSAGE_PRIMARY) or b""
            raise FailedError(str(state, "utf-8"), str(message, "utf-8", "replace"))
        return answers

    def _wait(self, socket: int, *, write: bool) -> None:
        began = time.monotonic()
        while True:
            left = self.turn.left()
            # Looked at even when it is late: a thread that had no processor for a while is no fault of the server.
            if _ready(socket, write, max(0.0, left)):
                break
            if left <= 0:
                raise self.turn.late()
            if time.monotonic() - began > STALE:
                raise LostError("this connection was silent while others were answered")
        if not write:
            self.turn.heard()


def _ready(socket: int, write: bool, seconds: float) -> bool:
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(socket, select.POLLOUT if write else select.POLLIN)
        return bool(poll.poll(seconds * 1000))
    reads, writes = ([], [socket]) if write else ([socket], [])  # pragma: no cover - Windows has no poll
    return any(select.select(reads, writes, [], seconds))  # pragma: no cover


def _rows(result: Any) -> Rows:
    columns = range(result.nfields)
    values = [[result.get_value(row, column) for column in columns] for row in range(result.ntuples)]
    return [tuple([None if one is None else str(one, "utf-8") for one in row]) for row in values]


def sentence(error: object) -> str:
    """A driver's error in one line."""
    return " ".join(str(error).split()) or "the connection was closed"
