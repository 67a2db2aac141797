"""Shorter prompts for the calls that a program makes: `compress` as a setting, for the features that ask for it.

The caller's request is left alone; what is sent is a copy. Here are also kept the beginnings that were billed as cached
while they were sent as they were, so that none of them is changed in the middle of a conversation.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any, Final

from .._shield import shielded
from .._types import Call, Usage
from ..errors import ConfigError
from ..ports import Reading, Request
from ._compress import SAFE, Counter, Work, cached_messages, edited, estimate, phrases_of, steps_of, tokens
from ._requests import STATE, given

STEPS: Final = (*SAFE, "phrases", "repeats")
"""Those of `compress` that lose nothing a program did not list: what a call may forget is for the program to say."""

_OPERATIONS: Final = frozenset(("chat", "responses"))
_SYSTEM: Final = ("system", "instructions", "systemInstruction")
_TURNS: Final = ("messages", "input", "contents")
_OTHERS: Final = ("assistant", "model")
"""Roles of what the model said itself, which may be signed, cited by its places, or reasoning."""
_SEALS: Final = ("signature", "thoughtSignature", "thought_signature", "encrypted_content", "annotations", "citations")
_BEGINNINGS: Final = 10_000
_CACHED: Final = ("cache_read", "cache_write", "cache_write_1h", "cache_write_12h")


class Compression:
    """Makes the prompts of calls shorter before they are sent, where a feature asks for it.

    It is off for every call but those of `features` and of blocks with ``budgeted(compress=True)``. Only the system's,
    the user's and the tools' texts are touched, by the steps that `costguard.compress` documents.

    Args:
        features: features whose calls are all compressed.
        steps: which of ``trailing_space``, ``blank_lines``, ``spaces``, ``json``, ``phrases`` and ``repeats``; left
            out, the first four, and ``phrases`` with `phrases`.
        phrases: filler to leave out of prose, or a mapping of phrases to what stands for them.
        count: a tokenizer, such as ``lambda text: len(encoding.encode(text))``, by which savings are measured; left
            out, the model's own where ``configure(tokenizer=True)`` asks for it and it is public, else a rule of thumb.

    Raises:
        ConfigError: an argument is malformed.
    """

    def __init__(
        self,
        *,
        features: Iterable[str] = (),
        steps: Iterable[str] | None = None,
        phrases: Iterable[str] | Mapping[str, str] = (),
        count: Counter | None = None,
    ) -> None:
        names = [features] if isinstance(features, str) else list(features)
        if any(not isinstance(name, str) or not name for name in names):
            raise ConfigError(f"features={features!r}: give names, such as ('search', 'faq')")
        self.features = frozenset(names)
        self._phrases = phrases_of(phrases)
        self._steps = steps_of(steps, phrases=bool(self._phrases), history=False)
        if "history" in self._steps:
            raise ConfigError(
                "steps: 'history' loses content, so it is left to the program: call costguard.compress(messages,"
                f" keep_tokens=...); for calls there are {', '.join(STEPS)}"
            )
        if count is not None and not callable(count):
            raise ConfigError(f"count={count!r} cannot be called")
        self._count = count

    def __repr__(self) -> str:
        return f"Compression(features={sorted(self.features)}, steps={[step for step in STEPS if step in self._steps]})"

    def work(self, call: Call, request: Request) -> Work:
        """The steps of one compression, with nothing done yet; tokens are counted exactly where that is switched on."""
        exact = None if request.counter is None else request.counter(call.model)
        return Work(self._steps, self._count or exact or estimate, self._phrases)


@dataclass(frozen=True, slots=True)
class Shortening:
    """A call that is about to be sent with a shorter prompt; told to ``on_compress``, which may return False.

    Attributes:
        call: the call as it would be sent.
        tags: the call's attribution.
        prompt: the fields of the request that differ, as they would be sent.
        before, after: tokens of the texts that differ.
        by_step: the tokens that each step saved.
    """

    call: Call
    tags: Mapping[str, str]
    prompt: Mapping[str, Any]
    before: int
    after: int
    by_step: Mapping[str, int]


OnCompress = Callable[[Shortening], object]


@dataclass(frozen=True, slots=True)
class Shorter:
    """A call with a shorter prompt.

    Attributes:
        request: as it is sent, a copy.
        call: what it asks for, with the smaller bound.
        removed: tokens that are not sent.
    """

    request: Request
    call: Call
    removed: int


class Compressor:
    """Compresses the calls of one guard.

    Args:
        settings: what is done, and for which features.
        on_compress: asked before each; False forbids it.
    """

    def __init__(self, settings: Compression | None = None, on_compress: OnCompress | None = None) -> None:
        self._settings = Compression() if settings is None else settings
        self._on_compress = on_compress
        self._cached: OrderedDict[bytes, int] = OrderedDict()
        self._lock = threading.Lock()

    def covers(self, wish: bool | None, feature: str | None) -> bool:
        """Whether calls of a feature are compressed, in a block that wishes so or not."""
        return feature in self._settings.features if wish is None else wish

    def shorter(
        self, call: Call, request: Request, tags: Mapping[str, str], read: Callable[[Request], Reading]
    ) -> Shorter | None:
        """The call with a shorter prompt; None where there is nothing to leave out, or nothing that may be.

        Args:
            call: what is asked for.
            request: as the seam knows it.
            tags: its attribution.
            read: what another request would ask for; None where it cannot be sent so.
        """
        if not compressible(call, request.body):
            return None
        work = self._settings.work(call, request)
        pieces = list(_pieces(request.body))
        alone = self._left_alone(pieces, work.count)
        for _, message in pieces[:alone]:
            work.know(message)
        changed = [(place, message, _edited(message, work)) for place, message in pieces[alone:]]
        changed = [one for one in changed if one[2] is not one[1]]
        before, after = (tokens([one[side] for one in changed], work.count) for side in (1, 2))
        if after >= before:
            return None
        prompt = _put(request.body, [(place, message) for place, _, message in changed])
        sent = replace(request, body={**request.body, **prompt})
        reading = read(sent)
        if not isinstance(reading, Call):
            return None
        if self._vetoed(Shortening(reading, tags, prompt, before, after, dict(work.by_step))):
            return None
        return Shorter(sent, reading, before - after)

    def sent_plain(self, request: Request, usages: Sequence[Usage]) -> None:
        """Note a call that was sent as it was: where its beginning was billed as cached, that is not to change."""
        cached = sum(usage.counts.get(unit, 0) for usage in usages for unit in _CACHED)
        if not cached:
            return
        *_, key = [b"", *_beginnings(_pieces(request.body))]
        if key:
            with self._lock:
                self._cached[key] = max(cached, self._cached.pop(key, 0))
                if len(self._cached) > _BEGINNINGS:
                    self._cached.popitem(last=False)

    def _left_alone(self, pieces: Sequence[tuple[Any, Mapping[str, Any]]], count: Counter) -> int:
        """How many messages are in the provider's cache as they are, or may be."""
        messages = [message for _, message in pieces]
        alone = cached_messages(messages, 0, count)
        if self._cached:
            with self._lock:
                billed = [self._cached.get(key, 0) for key in _beginnings(pieces)]
            for end, tokens_cached in enumerate(billed, 1):
                if tokens_cached:
                    alone = max(alone, cached_messages(messages[:end], tokens_cached, count))
        return alone

    def _vetoed(self, shortening: Shortening) -> bool:
        if self._on_compress is None:
            return False
        with shielded("calling on_compress"):
            return self._on_compress(shortening) is False
        return True


def compressible(call: Call, body: Mapping[str, Any]) -> bool:
    """Whether a request is all there is to it: not one that goes on from, or leaves, what the provider keeps."""
    if call.operation not in _OPERATIONS or any(given(body.get(field)) for field in (*STATE, "cache_control")):
        return False
    return not isinstance(body.get("prompt"), Mapping) and not any(
        message.get("type") == "item_reference" for _, message in _pieces(body)
    )


_Place = tuple[str, int | None]


def _pieces(body: Mapping[str, Any]) -> Iterator[tuple[_Place, Mapping[str, Any]]]:
    """A request's messages in the order in which providers cache them, each with its place: the system's first."""
    for field in (*_SYSTEM, *_TURNS):
        value = body.get(field)
        role = "user" if field in _TURNS else "system"
        if isinstance(value, str):
            yield (field, None), {"role": role, "content": value}
        elif isinstance(value, Mapping):
            yield (field, None), value
        elif isinstance(value, list | tuple) and role == "system":
            yield (field, None), {"role": role, "content": value}
        elif isinstance(value, list | tuple):
            yield from (((field, index), one) for index, one in enumerate(value) if isinstance(one, Mapping))


def _edited(message: Mapping[str, Any], work: Work) -> Mapping[str, Any]:
    kind = str(message.get("type", "message"))
    mine = message.get("role") in _OTHERS or ("role" not in message and kind != "message" and not _told(kind))
    if mine or _sealed(message):
        work.know(message)
        return message
    return edited(message, work)


def _told(kind: str) -> bool:
    """Whether an item is what a tool of the program's said."""
    return kind.endswith("_output")


def _sealed(part: Any) -> bool:
    """Whether something in it vouches for its text, or points into it."""
    if isinstance(part, Mapping):
        return any(part.get(seal) for seal in _SEALS) or any(_sealed(value) for value in part.values())
    return isinstance(part, list | tuple) and any(_sealed(one) for one in part)


def _put(body: Mapping[str, Any], changed: Iterable[tuple[_Place, Mapping[str, Any]]]) -> dict[str, Any]:
    """The fields of a request with these messages in their places."""
    fields: dict[str, Any] = {}
    for (field, index), message in changed:
        if index is None:
            fields[field] = message if isinstance(body[field], Mapping) else message["content"]
        else:
            fields.setdefault(field, list(body[field]))[index] = message
    return fields


def _beginnings(pieces: Iterable[tuple[_Place, Mapping[str, Any]]]) -> Iterator[bytes]:
    """A hash of each beginning of a prompt, one message longer each."""
    chain = blake2b(digest_size=16)
    for place, message in pieces:
        chain.update(json.dumps([place[0], message], sort_keys=True, default=repr).encode("utf-8", "surrogatepass"))
        yield chain.digest()
