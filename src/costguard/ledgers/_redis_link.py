"""How the Redis ledger talks to its server: within a bounded time, or not at all.

redis-py's own client waits 5 s and tries ten times, which no call to a model can afford. Here a step waits 250 ms to
connect, 250 ms for its answer, is tried once more on a new connection, and waits for a silent server 600 ms in all;
after three failures in a row the next steps fail at once, until a probe succeeds. While the server answers others, a
step waits for its turn instead. (The system's name resolution has a time-out of its own.)
"""

from __future__ import annotations

import inspect
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha1
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from .._shield import log
from ..errors import ConfigError, LedgerUnavailableError, MissingExtraError
from ._breaker import Breaker
from ._pool import CrowdedError, Pool, Turn
from ._redis_words import Words, command, pack

CONNECT: Final = 0.25
ANSWER: Final = 0.25
TOTAL: Final = 0.6
"""Seconds of silence for a connection, for an answer, and for one step with its second try."""
PATIENCE: Final = 10.0
"""Seconds that a step may take while the server answers others."""
STALE: Final = 1.0
"""Seconds that one connection may be silent while others are answered: then it is dead, behind a firewall say."""
CONNECTIONS: Final = 32
"""The most that a process opens."""

_HINTS: Final = {
    "Authentication": "check the user and password in its URL",
    "NOAUTH": "check the user and password in its URL",
    "NoPermission": "its user needs the commands EVAL, EVALSHA, MULTI, TIME and those on hashes and sorted sets",
    "NOPERM": "its user needs the commands EVAL, EVALSHA, MULTI, TIME and those on hashes and sorted sets",
    "ReadOnly": "it is a replica: name the primary in the URL",
    "READONLY": "it is a replica: name the primary in the URL",
    "OutOfMemory": "it is full: raise its maxmemory",
    "OOM": "it is full: raise its maxmemory",
    "BusyLoading": "it is still loading its data: wait for it",
    "Moved": "it is a node of a cluster that does not keep this namespace: name the node that does",
    "WRONGTYPE": "somebody else writes to its keys: use another namespace",
    "Timeout": "check its load (redis-cli --latency) and the network on the way",
}
"""What to check, by a word in the error's class or text: inside a script Redis 6 wraps one error in another."""


class Script:
    """A Lua script of this package, with what it shares with others in front."""

    def __init__(self, *names: str) -> None:
        here = Path(__file__).parent
        self.text = "\n".join([(here / f"{name}.lua").read_text(encoding="utf-8") for name in ("_book", *names)])
        self.sha = sha1(self.text.encode()).hexdigest()  # noqa: S324 - it is Redis's name for it, not a protection


class Ask(NamedTuple):
    """One call of a script.

    Attributes:
        script: it.
        keys: how many of the words are keys; they come first.
        words: its keys and arguments.
    """

    script: Script
    keys: int
    words: tuple[Words, ...]

    def command(self, *, whole: bool = False) -> bytes:
        """Its command: by its digest, or `whole` for a server that does not know it yet."""
        name = pack("EVAL", self.script.text, self.keys) if whole else _named(self.script.sha, self.keys)
        return command((name, *self.words))


@lru_cache(maxsize=64)
def _named(sha: str, keys: int) -> Words:
    return pack("EVALSHA", sha, keys)


class _Line:
    """One of redis-py's connections, for one thread at a time."""

    def __init__(self, made: Callable[[], Any], errors: Any) -> None:
        self._raw = made()
        self._errors = errors
        self._busy = True

    @property
    def idle(self) -> bool:
        """Whether the next step may use it: connected, and in the middle of nothing."""
        return not self._busy

    def close(self) -> None:
        """Let go of it; an answer that still comes is nobody's."""
        self._raw.disconnect()

    def exchange(self, commands: Sequence[bytes], share: float, turn: Turn) -> list[Any]:
        """Send commands together and return their answers, waiting at most `share` seconds for each move of a server
        that answers nobody else."""
        raw, self._busy = self._raw, True
        if raw._sock is None:
            raw.socket_timeout = min(ANSWER, share)
            raw.socket_connect_timeout = share
            raw.connect()
        raw.send_packed_command([b"".join(commands)])
        answers = [self._answer(turn) for _ in commands]
        # One that is in a hurry keeps nobody else to it.
        self._busy = raw.socket_timeout != ANSWER
        return answers

    def _answer(self, turn: Turn) -> Any:
        began = time.monotonic()
        while True:
            try:
                answer = self._raw.read_response(disconnect_on_error=False)
            except self._errors.ResponseError as error:
                # Its traceback would tie this call, and the run it is made in, to itself.
                answer = error.with_traceback(None)
            except self._errors.TimeoutError:
                silent = time.monotonic() - began > STALE or not turn.others_heard(began)
                if silent or not turn.allows_another():
                    raise
                continue
            turn.heard()
            return answer


@dataclass
class _Here:
    """What belongs to one process: a forked child has sockets of its own."""

    pool: Pool[_Line]
    pid: int = field(default_factory=os.getpid)
    checked: bool = False


class Link:
    """Connections to one server. Safe for threads, forks, and interrupts in the middle of an exchange.

    Args:
        url: as redis-py reads it.

    Raises:
        MissingExtraError: redis-py is not installed.
        ConfigError: the URL or one of its options is not understood.
    """

    def __init__(self, url: str) -> None:
        try:
            self._redis: Any = import_module("redis")
        except ImportError as error:
            raise MissingExtraError("redis") from error
        parts = urlsplit(url)
        # Without the password, for messages.
        self.where = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
        self.breaker = Breaker(self.where, TOTAL)
        self._inherited: list[_Here] = []
        self._here = self._new()
        try:
            self._options = self._read(url)
            self._connection()
        except (TypeError, ValueError) as error:
            raise ConfigError(f"ledger {self.where}: {error}") from error

    def ask(self, *commands: Sequence[object]) -> list[Any]:
        """Send commands together and return their answers.

        Raises:
            LedgerUnavailableError: no answer in time, or an error for an answer.
        """
        answers = self._exchange([command([pack(*one)]) for one in commands])
        for answer in answers:
            if isinstance(answer, Exception):
                raise self._unavailable(answer)
        return answers

    def run(self, *asks: Ask) -> list[Any]:
        """Run scripts, sent together. Raises as `ask`."""
        answers = self._exchange([ask.command() for ask in asks])
        if not any([isinstance(answer, Exception) for answer in answers]):
            return answers
        unheard = self._redis.exceptions.NoScriptError
        unknown = [place for place, answer in enumerate(answers) if isinstance(answer, unheard)]
        if unknown:
            # The server was restarted, or its scripts were flushed: EVAL tells it once more.
            for place, answer in zip(
                unknown, self._exchange([asks[place].command(whole=True) for place in unknown]), strict=True
            ):
                answers[place] = answer
        for answer in answers:
            if isinstance(answer, Exception):
                raise self._unavailable(answer)
        return answers

    def close(self) -> None:
        """Close what is open; the next step connects again."""
        self._mine().pool.close()

    # -- one exchange

    def _exchange(self, commands: Sequence[bytes]) -> list[Any]:
        here = self._mine()
        self.breaker.enter()
        turn = Turn(here.pool, TOTAL, PATIENCE)
        try:
            answers = self._in_turn(here, commands, turn)
        except CrowdedError as error:
            raise self._unavailable(error) from error
        except self._transport as error:
            # A crowd says nothing about the server.
            if not turn.others_heard() or not isinstance(error, self._redis.exceptions.TimeoutError):
                self.breaker.failed()
            raise self._unavailable(error) from error
        self.breaker.succeeded()
        if not here.checked:
            here.checked = True
            self._check_server()
        return answers

    def _in_turn(self, here: _Here, commands: Sequence[bytes], turn: Turn) -> list[Any]:
        errors, again, share = self._redis.exceptions, True, CONNECT
        while True:
            line, began = here.pool.take(turn), time.monotonic()
            try:
                return line.exchange(commands, share, turn)
            except self._transport as error:
                if isinstance(error, errors.TimeoutError) and turn.others_heard(began) and turn.allows_another():
                    continue
                left = turn.left()
                if not again or left < TOTAL / 20 or isinstance(error, errors.AuthenticationError):
                    raise
                # The other idle connections are probably as dead as this one.
                here.pool.drop()
                again, share = False, min(CONNECT, left / 2)
            finally:
                here.pool.give(line)

    # -- connections

    def _read(self, url: str) -> dict[str, Any]:
        options: dict[str, Any] = self._redis.connection.parse_url(url)
        self._kind = options.pop("connection_class", self._redis.connection.Connection)
        exceptions = self._redis.exceptions
        self._transport = (exceptions.ConnectionError, exceptions.TimeoutError, OSError)
        # A tag may hold half of a surrogate pair, as file names do.
        options |= {"protocol": 2, "decode_responses": True, "encoding": "utf-8", "encoding_errors": "surrogatepass"}
        # Telling the server the driver's name and version would take two more round trips.
        takes = inspect.signature(self._redis.connection.AbstractConnection.__init__).parameters
        options |= {"driver_info": None} if "driver_info" in takes else {"lib_name": None, "lib_version": None}
        return options

    def _connection(self) -> Any:
        """A new connection, not yet open."""
        never = self._redis.retry.Retry(self._redis.backoff.NoBackoff(), 0)
        timeouts: dict[str, Any] = {"socket_timeout": ANSWER}
        if "path" not in self._options:
            timeouts["socket_connect_timeout"] = CONNECT
        return self._kind(**{**self._options, **timeouts, "retry": never, "retry_on_timeout": False})

    def _new(self) -> _Here:
        return _Here(Pool(lambda: _Line(self._connection, self._redis.exceptions), CONNECTIONS))

    def _mine(self) -> _Here:
        here = self._here
        if here.pid != os.getpid():
            # The parent's connections are neither used nor closed in a child.
            self._inherited.append(here)
            here = self._here = self._new()
        return here

    # -- what went wrong, and what might

    def _check_server(self) -> None:
        """Warn, once a process, of a server that is set up to lose what it counts."""
        try:
            told = "\n".join(self.ask(("INFO", "memory"), ("INFO", "persistence")))
        except LedgerUnavailableError as error:
            log.debug("the settings of %s cannot be read: %s", self.where, error)
            return
        pairs = [line.partition(":") for line in told.split()]
        settings = {name: value for name, _, value in pairs}
        if (policy := settings.get("maxmemory_policy", "noeviction")) != "noeviction":
            log.warning(
                "the ledger %s may throw budgets away when its memory is full: set maxmemory-policy to noeviction"
                " (it is %s)", self.where, policy,
            )  # fmt: skip
        # Until a server that was started anew has read its log, it says that it writes none.
        if settings.get("aof_enabled") == "0" and settings.get("loading") != "1":
            log.warning("the ledger %s forgets at a restart what was spent: set appendonly to yes", self.where)

    def _unavailable(self, error: Exception) -> LedgerUnavailableError:
        text = f"{type(error).__name__} {error}"
        hint = next((hint for word, hint in _HINTS.items() if word in text), None)
        if isinstance(error, CrowdedError):
            hint = _HINTS["Timeout"]
        lost = isinstance(error, self._transport)
        if lost:
            hint = hint or "check that the server runs and can be reached from here"
        hint = hint or "check that it is Redis or Valkey 6.2 or newer"
        unavailable = LedgerUnavailableError(f"the ledger {self.where} cannot be used: {error}; {hint}")
        unavailable.unsure = lost
        return unavailable
