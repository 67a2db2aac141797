"""Answers in Redis or Valkey, for all hosts. They end with the server's own time to live."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Final
from urllib.parse import urlsplit

from ...errors import ConfigError, MissingExtraError
from ._away import Away
from .memory import VECTORS

ANSWER: Final = 0.25
"""Seconds for a connection, and for an answer."""
NAMESPACE: Final = "costguard:answers"
_GIVE_UP: Final = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""


class RedisStore:
    """Keeps answers on a server. Its ``maxmemory`` with a policy such as ``allkeys-lru`` bounds them.

    Args:
        url: ``redis://`` or ``rediss://``, with redis-py's options.
        namespace: what its keys begin with.
    """

    inline = False

    def __init__(self, url: str, namespace: str = NAMESPACE) -> None:
        try:
            driver: Any = import_module("redis")
        except ImportError as error:
            raise MissingExtraError("redis") from error
        parts = urlsplit(url)
        where = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
        try:
            self._client: Any = driver.Redis.from_url(url, socket_timeout=ANSWER, socket_connect_timeout=ANSWER)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"store {where}: {error}") from error
        self._errors: tuple[type[Exception], ...] = (driver.exceptions.RedisError, OSError)
        self._namespace = namespace
        self._away = Away(where)

    def get(self, key: str, now: float) -> str | None:  # noqa: ARG002 - the server ends what has expired
        """See `costguard.ports.AnswerStore.get`."""
        if self._away:
            return None
        try:
            found = self._client.get(f"{self._namespace}:{key}")
        except self._errors as error:
            self._away.note(error)
            return None
        return None if found is None else bytes(found).decode("utf-8", "replace")

    def put(self, key: str, text: str, expires: float) -> None:
        """See `costguard.ports.AnswerStore.put`."""
        left = round((expires - time.time()) * 1000)
        if self._away or left <= 0:
            return
        try:
            self._client.set(f"{self._namespace}:{key}", text.encode(), px=left)
        except self._errors as error:
            self._away.note(error)

    def note(self, scope: str, key: str, vector: str, expires: float) -> None:
        """See `costguard.ports.Vectors.note`."""
        left = round((expires - time.time()) * 1000)
        if self._away or left <= 0:
            return
        name = f"{self._namespace}:near:{scope}"
        try:
            with self._client.pipeline(transaction=False) as pipe:
                pipe.xadd(name, {"key": key, "vector": vector}, maxlen=VECTORS, approximate=True)
                pipe.pexpire(name, left)
                pipe.execute()
        except self._errors as error:
            self._away.note(error)

    def notes(self, scope: str, after: str) -> Sequence[tuple[str, str, str]]:
        """See `costguard.ports.Vectors.notes`."""
        if self._away:
            return ()
        try:
            found = self._client.xrange(f"{self._namespace}:near:{scope}", min=f"({after}" if after else "-")
        except self._errors as error:
            self._away.note(error)
            return ()
        return [(place.decode(), row[b"key"].decode(), row[b"vector"].decode()) for place, row in found]

    def lease(self, key: str, owner: str, now: float, seconds: float) -> bool:  # noqa: ARG002 - the server's clock
        """See `costguard.ports.Leases.lease`."""
        if self._away:
            return True
        name = f"{self._namespace}:lease:{key}"
        try:
            if self._client.set(name, owner.encode(), nx=True, px=max(1, round(seconds * 1000))):
                return True
            # Where only the answer to an earlier try was lost.
            return bool(self._client.get(name) == owner.encode())
        except self._errors as error:
            self._away.note(error)
            return True

    def give_up(self, key: str, owner: str) -> None:
        """See `costguard.ports.Leases.give_up`."""
        if self._away:
            return
        try:
            self._client.eval(_GIVE_UP, 1, f"{self._namespace}:lease:{key}", owner.encode())
        except self._errors as error:
            self._away.note(error)

    def clear(self) -> None:
        """See `costguard.ports.AnswerStore.clear`."""
        for kept in ("[0-9a-f]*", "near:*"):
            for key in self._client.scan_iter(match=f"{self._namespace}:{kept}", count=1000):
                self._client.unlink(key)

    def secret(self) -> bytes | None:
        """See `costguard.ports.AnswerStore.secret`."""
        if self._away:
            return None
        name = f"{self._namespace}:secret"
        try:
            self._client.set(name, secrets.token_bytes(32), nx=True)
            found = self._client.get(name)
        except self._errors as error:
            self._away.note(error)
            return None
        return None if found is None else bytes(found)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def open_redis(url: str) -> RedisStore:
    """``redis://host/0``."""
    return RedisStore(url)
