"""OpenAI's usage shapes, which many other providers speak too.

Prompt tokens include cached ones and cache writes, completion tokens include reasoning; the parts are taken out of
the whole here, so that no token is counted twice. A tool's fee comes on top.
Source: the openai package's type definitions (3.54) and platform.openai.com/docs/pricing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from .._types import STANDARD, Usage
from ..ports import Deferred
from ._fields import count, counts, fields, get, items, number, required, text
from ._reader import Reading

_TIERS = {"default": STANDARD, "auto": STANDARD, "scale": STANDARD, "on_demand": STANDARD, "": STANDARD}
_NOTHING: Final[Mapping[str, Any]] = {}


def tier(value: Any) -> str:
    """The catalog's name of a service tier."""
    return _TIERS.get(value, value) if isinstance(value, str) else STANDARD


class ChatReader(Reading):
    """Chat completions, legacy completions and embeddings: usage in the answer, or in a stream's last chunk."""

    def __init__(self, call: Any, hide: bool = False) -> None:
        super().__init__(call)
        self._hide = hide
        # Groq's streams carry their usage in a field of its own.
        self._foreign = call.provider != "openai"

    def feed(self, part: Any) -> bool:
        """A whole answer or a chunk of one."""
        shown = _shown(part)
        usage = shown.get("usage")
        choices = shown.get("choices")
        if usage is None:
            if choices and isinstance(choices, list):
                # A stream passes here once a chunk: the plain case reads three fields and no more.
                choice = choices[0]
                delta = _shown(choice).get("delta")
                self._text(choice if delta is None else delta)
            usage = get(part, "x_groq", "usage") if self._foreign else None
        if usage is None:
            return False
        try:
            self._usages = (chat_usage(usage, part),)
            self.complete = True
        except ValueError:
            self.complete = False
        return self._hide and not choices

    def _text(self, delta: Any) -> None:
        shown = _shown(delta)
        content = shown.get("content")
        if content is not None:
            self.saw(content)
            return
        self.saw(shown.get("text"))
        for call in items(delta, "tool_calls"):
            self.saw(get(call, "function", "arguments"))


def _shown(part: Any) -> Mapping[str, Any]:
    """A part's own fields, without looking for more; none for what is no part at all."""
    if isinstance(part, dict):
        return part
    shown: Mapping[str, Any] = getattr(part, "__dict__", _NOTHING)
    return shown


def chat_usage(usage: Any, answer: Any) -> Usage:
    """Chat completions' usage in disjoint units.

    Raises:
        ValueError: it holds no usable counts.
    """
    whole = fields(usage)
    prompt = whole.get("prompt_tokens")
    if prompt is None:
        raise ValueError("prompt_tokens is missing")
    counts = _prompt(number(prompt), whole)
    counts.update(_completion(whole))
    about = fields(answer)
    model = about.get("model")
    return Usage(counts, model if type(model) is str and model else None, tier(about.get("service_tier")))


def _prompt(total: int, usage: Mapping[str, Any]) -> dict[str, int]:
    details = usage.get("prompt_tokens_details")
    if details is None:
        return _input(total, number(usage.get("prompt_cache_hit_tokens")))
    parts = fields(details)
    return _input(
        total,
        number(parts.get("cached_tokens")),
        number(parts.get("cache_write_tokens")),
        number(parts.get("audio_tokens")),
        number(parts.get("image_tokens")),
    )


def _completion(usage: Mapping[str, Any]) -> dict[str, int]:
    details = usage.get("completion_tokens_details")
    total = number(usage.get("completion_tokens"))
    if details is None:
        return {"output": total} if total else {}
    parts = fields(details)
    return _output(total, number(parts.get("reasoning_tokens")), number(parts.get("audio_tokens")))


def _input(
    total: int, cached: int, written: int = 0, audio: int = 0, image: int = 0, written_12h: int = 0
) -> dict[str, int]:
    """Split `total` into disjoint units. Parts that add up to more than the whole are cut to it, dearest first in."""
    if not (cached or written or audio or image):
        return {"input": total} if total else {}
    left = total
    units = {}
    for unit, part in (
        ("cache_write", written - min(written, written_12h)),
        ("cache_write_12h", min(written, written_12h)),
        ("cache_read", cached),
        ("input_audio", audio),
        ("input_image", image),
    ):
        part = min(part, left)
        units[unit] = part
        left -= part
    return counts(input=left, **units)


def _output(total: int, reasoning: int, audio: int = 0) -> dict[str, int]:
    if not (reasoning or audio):
        return {"output": total} if total else {}
    reasoning = min(reasoning, total)
    audio = min(audio, total - reasoning)
    return counts(output=total - reasoning - audio, reasoning=reasoning, output_audio=audio)


class ResponseReader(Reading):
    """The Responses API and its like: a response object, or events that carry one at their end."""

    _ENDS = frozenset(("response.completed", "response.incomplete", "response.failed"))

    def feed(self, part: Any) -> bool:
        """A whole response or an event of its stream."""
        kind = get(part, "type")
        if isinstance(kind, str) and kind.startswith("response."):
            if kind.endswith(".delta"):
                self.saw(get(part, "delta"))
            elif kind in self._ENDS:
                self._read(get(part, "response"))
            return False
        self._read(part)
        return False

    def _read(self, response: Any) -> None:
        usage = get(response, "usage")
        self.was_deferred = get(response, "background") is True
        if usage is None and get(response, "status") in ("queued", "in_progress"):
            self.deferred = Deferred(text(response, "id"))
            return
        if usage is None and get(response, "status") in ("failed", "cancelled"):
            # A response that failed before it ran is not billed and carries no usage.
            self._usages, self.complete = (Usage(model=text(response, "model") or None),), True
            return
        try:
            self._usages = (response_usage(usage, response),)
            self.complete = True
        except ValueError:
            self.complete = False


def response_usage(usage: Any, response: Any) -> Usage:
    """A response's usage in disjoint units, with the fees of the tools it ran.

    Raises:
        ValueError: it holds no usable counts.
    """
    total, output = required(usage, "input_tokens"), count(usage, "output_tokens")
    details = get(usage, "input_tokens_details")
    units = {
        **_input(
            total,
            count(details, "cached_tokens"),
            count(details, "cache_write_tokens"),
            count(details, "audio_tokens"),
            count(details, "image_tokens"),
            count(details, "cache_write_tokens_details", "ttl_12h_tokens"),
        ),
        **_output(output, count(usage, "output_tokens_details", "reasoning_tokens")),
        **_fees(response),
    }
    return Usage(counts=units, model=text(response, "model") or None, tier=tier(get(response, "service_tier")))


def _fees(response: Any) -> dict[str, int]:
    kinds = [get(item, "type") for item in items(response, "output")]
    searches = count(response, "tool_usage", "web_search", "num_requests")
    return counts(
        web_searches=searches or kinds.count("web_search_call"),
        file_searches=kinds.count("file_search_call"),
        code_sessions=min(1, kinds.count("code_interpreter_call")),
    )


class ImageReader(Reading):
    """Images: token usage where the model reports it, else the images that the request asked for."""

    def feed(self, part: Any) -> bool:
        """A whole answer or an event of its stream."""
        usage = get(part, "usage")
        if usage is None:
            if get(part, "data") is not None:
                self._usages, self.complete = (Usage(_images(self.call.bound, part)),), True
            return False
        try:
            details, out = get(usage, "input_tokens_details"), get(usage, "output_tokens_details")
            written = count(usage, "output_tokens")
            visible = min(count(out, "text_tokens"), written)
            units = {
                **_input(required(usage, "input_tokens"), count(details, "cached_tokens"), 0, 0,
                         count(details, "image_tokens")),
                **counts(output_image=written - visible, output=visible),
            }  # fmt: skip
            self._usages, self.complete = (Usage(units),), True
        except ValueError:
            self.complete = False
        return False


def _images(bound: Mapping[str, int], answer: Any) -> dict[str, int]:
    made = len(list(items(answer, "data")))
    return {unit: made for unit in bound if unit.startswith("images")}


class SpeechReader(Reading):
    """Speech: the answer is sound, so what was billed is read off the request."""

    def __init__(self, call: Any) -> None:
        super().__init__(call)
        billed_by_tokens = "output_audio" in call.bound
        self._usages = (Usage(call.bound, estimated=billed_by_tokens),)
        self.complete = True

    def feed(self, part: Any) -> bool:
        """An event of a speech stream; its last one carries the usage."""
        usage = get(part, "usage")
        if usage is not None:
            units = counts(input=count(usage, "input_tokens"), output_audio=count(usage, "output_tokens"))
            self._usages = (Usage(units),)
        return False


class TranscriptionReader(Reading):
    """Transcriptions: tokens, or the length of the recording; a plain-text answer carries neither."""

    def feed(self, part: Any) -> bool:
        """A whole answer or an event of its stream."""
        usage = get(part, "usage")
        self.saw(get(part, "delta"))
        try:
            if get(usage, "type") == "duration":
                self._finish(counts(audio_seconds=_seconds(get(usage, "seconds"))))
            elif usage is not None:
                details = get(usage, "input_token_details")
                units = _input(required(usage, "input_tokens"), 0, 0, count(details, "audio_tokens"), 0)
                self._finish({**units, **counts(output=count(usage, "output_tokens"))})
            elif get(part, "duration") is not None:
                self._finish(counts(audio_seconds=_seconds(get(part, "duration"))))
        except (ValueError, TypeError):
            self.complete = False
        return False

    def _finish(self, units: dict[str, int]) -> None:
        self._usages, self.complete = (Usage(units),), True


def _seconds(value: Any) -> int:
    """Whole seconds, begun ones counted."""
    seconds = float(value)
    if not 0 <= seconds < 10**9:
        raise ValueError(f"{value!r} is no duration")
    return int(-(-seconds // 1))
