"""Who may ask the server what: bearer tokens, of which only hashes are kept."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..errors import ConfigError

SCOPES: Final = {
    "read": "budgets, reports, the dashboard and metrics",
    "track": "telling of calls, reserving and settling them",
    "ledger": "serving as the ledger of Python programs",
    "admin": "everything, setting budgets included",
}
"""What a token may be for. Tokens are random and long, so a plain hash of one cannot be turned back."""

_PREFIX: Final = "cg_"


@dataclass(frozen=True, slots=True)
class Token:
    """One token as it is kept: a name for people, the hash, and its scopes."""

    name: str
    digest: str
    scopes: tuple[str, ...]


class Tokens:
    """The tokens in a file, which only its owner may read.

    Args:
        path: the file; it need not be there.

    Raises:
        ConfigError: it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int] | None = None
        self._tokens: tuple[Token, ...] = ()
        self._refresh()

    def __bool__(self) -> bool:
        self._refresh()
        return bool(self._tokens)

    def create(self, name: str, scopes: Iterable[str]) -> str:
        """Make a token and return it; it is shown this once and never again.

        Raises:
            ConfigError: a scope is unknown, or the name is taken.
        """
        wanted = tuple(dict.fromkeys(scopes))
        if unknown := [scope for scope in wanted if scope not in SCOPES]:
            raise ConfigError(f"scope {unknown[0]!r}: known are {', '.join(SCOPES)}")
        self._refresh()
        if not wanted or not name.isprintable() or not name.strip():
            raise ConfigError("a token has a name and at least one scope")
        if any(token.name == name for token in self._tokens):
            raise ConfigError(f"there is a token called {name!r}: revoke it first, or take another name")
        secret = _PREFIX + secrets.token_urlsafe(32)
        self._write((*self._tokens, Token(name, _digest(secret), wanted)))
        return secret

    def revoke(self, name: str) -> None:
        """Take a token away.

        Raises:
            ConfigError: there is none of that name.
        """
        self._refresh()
        kept = tuple(token for token in self._tokens if token.name != name)
        if len(kept) == len(self._tokens):
            raise ConfigError(f"there is no token called {name!r}; there are {', '.join(self.names()) or 'none'}")
        self._write(kept)

    def names(self) -> list[str]:
        """The tokens' names with their scopes."""
        self._refresh()
        return [f"{token.name} ({', '.join(token.scopes)})" for token in self._tokens]

    def allow(self, secret: str, scope: str) -> bool | None:
        """Whether a token is good for a scope; None when there is no such token."""
        self._refresh()
        digest, found = _digest(secret), None
        for token in self._tokens:
            # All of them are compared, each in constant time: how long it takes tells nothing.
            if hmac.compare_digest(token.digest, digest):
                found = scope in token.scopes or "admin" in token.scopes
        return found

    def _refresh(self) -> None:
        """Read the file again where it has changed: tokens are made and revoked while the server runs."""
        try:
            stat = self._path.stat()
        except OSError:
            self._seen, self._tokens = None, ()
            return
        if self._seen == (stat.st_mtime_ns, stat.st_ino):
            return
        try:
            raw = json.loads(self._path.read_text(encoding="utf-8"))
            tokens = tuple(Token(str(one["name"]), str(one["sha256"]), tuple(one["scopes"])) for one in raw["tokens"])
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise ConfigError(f"{self._path}: no file of tokens ({type(error).__name__}: {error})") from None
        self._seen, self._tokens = (stat.st_mtime_ns, stat.st_ino), tokens

    def _write(self, tokens: tuple[Token, ...]) -> None:
        listed = [{"name": one.name, "sha256": one.digest, "scopes": list(one.scopes)} for one in tokens]
        write_private(self._path, json.dumps({"tokens": listed}, indent=1))
        self._refresh()


def write_private(path: Path, text: str) -> None:
    """Write a file whole or not at all, for its owner's eyes only."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
