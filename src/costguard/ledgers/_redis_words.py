"""Commands as Redis reads them. redis-py's own packing takes a step longer than the server does."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Words(NamedTuple):
    """Some words of a command, ready to be sent.

    Attributes:
        number: how many they are.
        sent: their bytes.
    """

    number: int
    sent: bytes


def pack(*words: object) -> Words:
    """Words out of texts and numbers."""
    texts = [str(word) for word in words]
    sent = "".join([f"${len(text)}\r\n{text}\r\n" for text in texts])
    if sent.isascii():
        return Words(len(texts), sent.encode())
    return Words(len(texts), b"".join([b"$%d\r\n%b\r\n" % (len(raw), raw) for raw in map(as_bytes, texts)]))


def as_bytes(text: str) -> bytes:
    """A text as the server keeps it. A tag may hold half of a surrogate pair, as file names do."""
    return text.encode("utf-8", "surrogatepass")


def joined(*each: Words) -> Words:
    """Words behind each other."""
    return Words(sum([one.number for one in each]), b"".join([one.sent for one in each]))


def command(words: Iterable[Words]) -> bytes:
    """One command of all these words."""
    every = list(words)
    return b"*%d\r\n%b" % (sum([one.number for one in every]), b"".join([one.sent for one in every]))
