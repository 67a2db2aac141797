"""OpenAI's usage shapes, which many other providers speak too.

Prompt tokens include cached ones and cache writes, completion tokens include reasoning; the parts are taken out of
the whole here, so that no token is counted twice. A tool's fee comes on top.
Source: the openai package's type definitions (3.54) and platform.openai.com/docs/pricing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from .._types import STANDARD, Usage
from ..ports import Deferred
from ._fields import count, counts, fields, get, items, number, required, text
from ._reader import Reading
from ._reported import reported

_TIERS = {"default": STANDARD, "auto": STANDARD, "scale": STANDARD, "on_demand": STANDARD, "": STANDARD}
_PREVIEW: Final = re.compile(r"gpt-4|gpt-3|chatgpt")
"""Models without reasoning, for which the first version of the search tool has a fee of its own."""
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
            if choices and type(choices) is list:
                # A stream passes here once a chunk: the plain case reads three fields and no more.
                told = _shown(choices[0])
                delta = told.get("delta")
                told = told if delta is None else _shown(delta)
                content = told.get("content")
                if content is not None:
                    self.saw(content)
                else:
                    self._other_text(told)
            usage = get(part, "x_groq", "usage") if self._foreign else None
        if usage is None:
            return False
        try:
            self._usages = (chat_usage(usage, part, self.call.provider),)
            # Some report running figures with every chunk: only the last one's are final.
            self.complete = not (choices and self.call.stream) or _finished(choices)
        except ValueError:
            self.complete = False
        return self._hide and not choices

    def _other_text(self, delta: Mapping[str, Any]) -> None:
        self.saw(delta.get("text"))
        for call in items(delta, "tool_calls"):
            self.saw(get(call, "function", "arguments"))


def _finished(choices: Any) -> bool:
    return isinstance(choices, list) and any(get(choice, "finish_reason") is not None for choice in choices)


def _shown(part: Any) -> Mapping[str, Any]:
    """A part's own fields, without looking for more; none for what is no part at all."""
    shown: Mapping[str, Any] = part if type(part) is dict else getattr(part, "__dict__", _NOTHING)
    return shown


def chat_usage(usage: Any, answer: Any, provider: str) -> Usage:
    """Chat completions' usage in disjoint units, with the cost where `provider` returned one.

    Raises:
        ValueError: it holds no usable counts.
    """
    whole = fields(usage)
    prompt, written, every = (whole.get(name) for name in ("prompt_tokens", "completion_tokens", "total_tokens"))
    if prompt is None and written is None:
        # Embeddings at Voyage and its like: a total is all there is.
        prompt = every
    if prompt is None:
        raise ValueError("prompt_tokens is missing")
    sent, made = number(prompt), number(written)
    counts = _prompt(sent, whole)
    if made or every is not None:
        counts.update(_completion(made, max(0, number(every) - sent - made), whole, provider))
    size = whole.get("search_context_size")
    if size is not None and type(size) is str:
        counts[f"requests:{size}"] = 1
    about = fields(answer)
    model = about.get("model")
    return Usage(
        counts,
        model if type(model) is str and model else None,
        tier(about.get("service_tier")),
        reported=reported(provider, usage),
        estimated=counts.get("cache_read", 0) > sent,
    )


def _prompt(total: int, usage: Mapping[str, Any]) -> dict[str, int]:
    details = usage.get("prompt_tokens_details")
    if details is None:
        return split_input(total, number(usage.get("prompt_cache_hit_tokens")))
    parts = fields(details)
    cached = number(parts.get("cached_tokens"))
    if cached > total:
        # Grok on Azure counts cached tokens beside the prompt, xAI in it: more than the whole can only be beside.
        return {**split_input(total, 0, number(parts.get("cache_write_tokens"))), "cache_read": cached}
    return split_input(
        total,
        cached,
        number(parts.get("cache_write_tokens")),
        number(parts.get("audio_tokens")),
        number(parts.get("image_tokens")),
        video=number(parts.get("video_tokens")),
    )


def _completion(total: int, beyond: int, usage: Mapping[str, Any], provider: str) -> dict[str, int]:
    """The answer's tokens; `beyond` is what the grand total has above request and answer. Google's endpoint that
    speaks OpenAI's language shows thoughts nowhere but there."""
    details = usage.get("completion_tokens_details")
    if details is None:
        thoughts = beyond if provider in ("google", "google-vertex") else 0
        return counts(output=total, reasoning=thoughts)
    parts = fields(details)
    reasoning, audio, image = (number(parts.get(f"{name}_tokens")) for name in ("reasoning", "audio", "image"))
    return _output(total, reasoning, beyond, audio, image)


def split_input(
    total: int, cached: int, written: int = 0, audio: int = 0, image: int = 0, written_12h: int = 0, video: int = 0
) -> dict[str, int]:
    """Split `total` into disjoint units. Parts that add up to more than the whole are cut to it, dearest first in."""
    if not (cached or written or audio or image or video):
        return {"input": total} if total else {}
    if cached and not (written or audio or image or video):
        cached = min(cached, total)
        return {"input": total - cached, "cache_read": cached} if total > cached else counts(cache_read=cached)
    left = total
    units = {}
    for unit, part in (
        ("cache_write", written - min(written, written_12h)),
        ("cache_write_12h", min(written, written_12h)),
        ("cache_read", cached),
        ("input_audio", audio),
        ("input_image", image),
        ("input_video", video),
    ):
        part = min(part, left)
        units[unit] = part
        left -= part
    return counts(input=left, **units)


def _output(total: int, reasoning: int, beyond: int, audio: int = 0, image: int = 0) -> dict[str, int]:
    """Split `total` into disjoint units.

    OpenAI counts reasoning in the whole. xAI and resellers of Gemini count it beside the whole, which shows in the
    grand total (`beyond`), or in there being more of it than of the whole.
    """
    if not (reasoning or audio or image):
        return {"output": total} if total else {}
    audio = min(audio, total)
    image = min(image, total - audio)
    beside = beyond >= reasoning or reasoning > total
    inside = 0 if beside else min(reasoning, total - audio - image)
    return counts(
        output=total - inside - audio - image,
        reasoning=reasoning if beside else inside,
        output_audio=audio,
        output_image=image,
    )


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
            self._usages = (response_usage(usage, response, self.call.provider),)
            self.complete = True
        except ValueError:
            self.complete = False


def response_usage(usage: Any, response: Any, provider: str) -> Usage:
    """A response's usage in disjoint units, with the fees of the tools it ran, and the cost where one was returned.

    Raises:
        ValueError: it holds no usable counts.
    """
    total, output = required(usage, "input_tokens"), count(usage, "output_tokens")
    beyond = max(0, count(usage, "total_tokens") - total - output)
    details = get(usage, "input_tokens_details")
    units = {
        **split_input(
            total,
            count(details, "cached_tokens"),
            count(details, "cache_write_tokens"),
            count(details, "audio_tokens"),
            count(details, "image_tokens"),
            count(details, "cache_write_tokens_details", "ttl_12h_tokens"),
        ),
        **_output(output, count(usage, "output_tokens_details", "reasoning_tokens"), beyond),
        **_fees(response),
    }
    return Usage(
        counts=units,
        model=text(response, "model") or None,
        tier=tier(get(response, "service_tier")),
        reported=reported(provider, usage),
    )


def _fees(response: Any) -> dict[str, int]:
    kinds = [get(item, "type") for item in items(response, "output")]
    searches = count(response, "tool_usage", "web_search", "num_requests")
    searches = searches or kinds.count("web_search_call")
    preview = _PREVIEW.match(text(response, "model")) and any(
        text(tool, "type").startswith("web_search_preview") for tool in items(response, "tools")
    )
    return counts(
        **{"web_searches:preview" if preview else "web_searches": searches},
        file_searches=kinds.count("file_search_call"),
        code_sessions=min(1, kinds.count("code_interpreter_call")),
    )
