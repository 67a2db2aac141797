"""Fingerprints of requests: equal requests have equal ones, and nobody can tell a request from its own.

A keyed hash. The key is made once on a machine and stays there, so that a journal which is copied elsewhere does not
let anybody try likely prompts against it. The request itself is kept nowhere.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping, Set
from dataclasses import asdict, is_dataclass
from datetime import date
from enum import Enum
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

from .ports import Request

KEY_BYTES: Final = 32
_LENGTH: Final = 16

NOT_THE_ANSWERS: Final = frozenset(
    ("metadata", "prompt_cache_key", "prompt_cache_retention", "safety_identifier", "store", "stream", "stream_options",
     "user")
)  # fmt: skip
"""Fields of a request that say who asks or how the answer travels, and not what it will be."""


class Fingerprints:
    """Makes fingerprints with one key.

    Args:
        key: up to 64 secret bytes; see `machine_key`.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    def of(self, provider: str, request: Request, *, whole: bool = False) -> str:
        """A request's fingerprint; empty when the request holds what cannot be read without using it up.

        Args:
            provider: whose SDK sends it.
            request: nothing in it is changed or consumed.
            whole: also tell requests apart that differ only in who asks and how the answer travels.
        """
        if request.files is not None:
            return ""
        body = request.body if whole else {key: it for key, it in request.body.items() if key not in NOT_THE_ANSWERS}
        return self.of_parts(provider, request.host, request.method, request.path, body or request.arguments)

    def of_parts(self, *parts: Any) -> str:
        """The fingerprint of anything made of plain data; empty when something in it is not."""
        try:
            text = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=_plain)
        except (TypeError, ValueError, RecursionError):
            return ""
        return blake2b(text.encode("ascii"), digest_size=_LENGTH, key=self._key).hexdigest()


def machine_key(folder: Path) -> bytes:
    """The key of this machine and user, made when there is none yet.

    Where it cannot be kept, on a read-only disk say, the key is this process's own: its fingerprints agree among
    themselves and with no others.
    """
    path = folder / "fingerprint.key"
    for _ in range(2):
        try:
            key = path.read_bytes()
            if len(key) == KEY_BYTES:
                return key
            path.unlink()
        except OSError:
            pass
        try:
            _keep(path, secrets.token_bytes(KEY_BYTES))
        except OSError:
            break
    return secrets.token_bytes(KEY_BYTES)


def _keep(path: Path, key: bytes) -> None:
    """Write the key whole or not at all: of processes that make it at once, one wins, and the others read its."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(key)
        try:
            os.link(draft, path)
        except FileExistsError:
            return
    finally:
        draft.unlink(missing_ok=True)


def _plain(thing: Any) -> Any:
    """What is not JSON by itself, as something that is.

    Raises:
        TypeError: it may be an iterator or a file, which only the SDK may read.
    """
    if isinstance(thing, bytes | bytearray | memoryview):
        return {"bytes": blake2b(bytes(thing), digest_size=_LENGTH).hexdigest()}
    if isinstance(thing, Mapping):
        return dict(thing)
    if isinstance(thing, Set):
        return sorted(thing, key=repr)
    if isinstance(thing, Enum | date):
        return thing.value if isinstance(thing, Enum) else thing.isoformat()
    if is_dataclass(thing) and not isinstance(thing, type):
        return asdict(thing)
    dump = getattr(thing, "model_dump", None)
    if callable(dump):
        return dump(exclude_none=True)
    raise TypeError(f"{type(thing).__name__} is no plain data")
