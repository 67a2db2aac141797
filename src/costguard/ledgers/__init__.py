"""Where holds and charges are counted. A ledger is one file here and one line in `SCHEMES`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from .._registry import opened
from ..errors import ConfigError
from ..ports import Ledger
from .chunked import ChunkedLedger

SCHEMES: Final[Mapping[str, str]] = {
    "memory": "costguard.ledgers.memory:open_memory",
    "postgres": "costguard.ledgers.postgres:open_postgres",
    "postgresql": "costguard.ledgers.postgres:open_postgres",
    "sqlite": "costguard.ledgers.sqlite:open_sqlite",
    "redis": "costguard.ledgers.redis:open_redis",
    "rediss": "costguard.ledgers.redis:open_redis",
    "unix": "costguard.ledgers.redis:open_redis",
    "http": "costguard.ledgers.http:open_http",
    "https": "costguard.ledgers.http:open_http",
}
"""URL scheme to ``module:function``, where the function takes the URL. Another package adds its own with an entry
point in the group ``costguard.ledgers``."""


def open_ledger(url: str) -> Ledger:
    """Open the ledger that a URL such as ``memory://`` names; with ``chunk=20`` in its query, in chunks of 20 calls.

    Raises:
        ConfigError: no ledger is registered for its scheme, or it cannot be had in such chunks.
        MissingExtraError: its driver is not installed.
    """
    url, calls = _chunk(url)
    ledger: Ledger = opened("ledger", "costguard.ledgers", SCHEMES, url)
    return ledger if calls is None else ChunkedLedger(ledger, calls)


def _chunk(url: str) -> tuple[str, int | None]:
    """A URL without its ``chunk=``, and that."""
    server, mark, query = url.partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    if "chunk" not in options:
        return url, None
    said = options.pop("chunk")
    if not said.isascii() or not said.isdigit():
        raise ConfigError(f"ledger: chunk={said!r}: give a number of calls, such as chunk=20")
    if urlsplit(url).scheme == "memory":
        raise ConfigError("ledger memory://: it needs no chunks; leave chunk= out")
    return server + (mark + urlencode(options) if options else ""), int(said)


def anchored(url: str, folder: Path | None = None) -> str:
    """The same URL for processes in other directories: a file's path that is relative to `folder`, or to the working
    directory, becomes an absolute one."""
    parts = urlsplit(url)
    if parts.scheme != "sqlite" or not parts.path or parts.netloc:
        return url
    path = (Path.cwd() if folder is None else folder) / unquote(parts.path.replace("//", "/", 1))
    return f"sqlite://{quote(str(path))}" + (f"?{parts.query}" if parts.query else "")
