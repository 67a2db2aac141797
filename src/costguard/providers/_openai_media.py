"""OpenAI's usage shapes of pictures and sound.

Source: the openai package's type definitions (3.54) and platform.openai.com/docs/pricing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .._types import Usage
from ._fields import count, counts, get, items, required
from ._openai_usage import split_input
from ._reader import Reading
from ._reported import reported


class ImageReader(Reading):
    """Images: token usage where the model reports it, else the images that the request asked for."""

    def feed(self, part: Any) -> bool:
        """A whole answer or an event of its stream."""
        usage = get(part, "usage")
        cost = reported(self.call.provider, usage)
        if usage is None or (cost is not None and get(usage, "input_tokens") is None):
            if get(part, "data") is not None:
                self._usages, self.complete = (Usage(_images(self.call.bound, part), reported=cost),), True
            return False
        try:
            details, out = get(usage, "input_tokens_details"), get(usage, "output_tokens_details")
            written = count(usage, "output_tokens")
            visible = min(count(out, "text_tokens"), written)
            units = {
                **split_input(required(usage, "input_tokens"), count(details, "cached_tokens"), 0, 0,
                         count(details, "image_tokens")),
                **counts(output_image=written - visible, output=visible),
            }  # fmt: skip
            self._usages, self.complete = (Usage(units, reported=cost),), True
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
                self._finish(counts(audio_seconds=_seconds(get(usage, "seconds"))), usage)
            elif usage is not None:
                details = get(usage, "input_token_details")
                units = split_input(required(usage, "input_tokens"), 0, 0, count(details, "audio_tokens"), 0)
                self._finish({**units, **counts(output=count(usage, "output_tokens"))}, usage)
            elif get(part, "duration") is not None:
                self._finish(counts(audio_seconds=_seconds(get(part, "duration"))), usage)
        except (ValueError, TypeError):
            self.complete = False
        return False

    def _finish(self, units: dict[str, int], usage: Any) -> None:
        self._usages, self.complete = (Usage(units, reported=reported(self.call.provider, usage)),), True


def _seconds(value: Any) -> int:
    """Whole seconds, begun ones counted."""
    seconds = float(value)
    if not 0 <= seconds < 10**9:
        raise ValueError(f"{value!r} is no duration")
    return int(-(-seconds // 1))
