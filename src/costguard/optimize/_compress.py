"""Shorter prompts by named, deterministic steps, each of which leaves alone whatever could mean something.

Code, quotes, tables, indented lines and JSON values come out as they went in. Nothing here knows a price or a clock.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any, Final, Literal

from ..errors import ConfigError
from ._blocks import prose

StepName = Literal["trailing_space", "blank_lines", "spaces", "json", "phrases", "repeats", "history"]

SAFE: Final = ("trailing_space", "blank_lines", "spaces", "json")
"""The steps that are on by default: they change whitespace only, where it means nothing."""
STEPS: Final = (*SAFE, "phrases", "repeats", "history")

BLOCK: Final = 400
"""Characters from which on a paragraph that stood before is replaced by a reference to it."""

_TRAILING: Final = re.compile(r"(?<![ \t])[ \t](?=\n)|(?<=\n)[ \t]+(?=\n)|\t+[ \t]*(?=\n)")
"""Whitespace before the end of a line, but not two or more spaces: those break a line in Markdown."""
_BLANKS: Final = re.compile(r"\n{3,}")
_SPACES: Final = re.compile(r"(?<=[^\s]) {2,}(?=[^\s])")

_DEEP: Final = re.compile(r"[ \t\r\n]{9,}")

Counter = Callable[[str], int]


@dataclass(frozen=True, slots=True)
class Shortened:
    """What came out of it.

    Attributes:
        prompt: a text or messages, as they were given; a copy where anything differs.
        before, after: tokens of the texts in it.
        by_step: the tokens that each step saved, those that saved any.
        left_alone: messages at the beginning that were not touched, because they are cached.
        notes: what a step would have done, had it been allowed to.
    """

    prompt: Any
    before: int
    after: int
    by_step: Mapping[str, int] = field(default_factory=dict)
    left_alone: int = 0
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class Work:
    """One compression under way."""

    steps: frozenset[str]
    count: Counter
    phrases: Sequence[tuple[re.Pattern[str], str]] = ()
    by_step: dict[str, int] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)

    def know(self, message: Any) -> None:
        """Take note of a message that is not touched: a passage in it stood before what follows."""
        if "repeats" in self.steps:
            self.seen.update(_blocks_of(message))

    def done(self, step: str, before: str, after: str) -> str:
        """Note what a step saved; returns `after`."""
        if after != before:
            self.by_step[step] = self.by_step.get(step, 0) + self.count(before) - self.count(after)
        return after


def estimate(text: str) -> int:
    """Tokens by the usual rule of thumb, four bytes each, and two for an indentation however deep."""
    return -(-len(_DEEP.sub(" " * 8, text).encode("utf-8", "surrogatepass")) // 4)


def shorten(
    prompt: Any,
    *,
    steps: Iterable[str] | None = None,
    phrases: Iterable[str] | Mapping[str, str] = (),
    keep_tokens: int | None = None,
    cached_tokens: int = 0,
    count: Counter = estimate,
) -> Shortened:
    """See `costguard.compress`."""
    listed = phrases_of(phrases)
    chosen = steps_of(steps, phrases=bool(listed), history=keep_tokens is not None)
    work = Work(chosen, count, listed)
    if isinstance(prompt, str):
        text = prompt if cached_tokens else _text(prompt, work, tool=False)
        return Shortened(text, count(prompt), count(text), dict(work.by_step))
    if not isinstance(prompt, list | tuple) or not all(isinstance(one, Mapping) for one in prompt):
        raise ConfigError("give a text, or a list of messages")
    messages = list(prompt)
    cached = cached_messages(messages, cached_tokens, count)
    for message in messages[:cached]:
        work.know(message)
    out = messages[:cached] + [edited(message, work) for message in messages[cached:]]
    notes: tuple[str, ...] = ()
    if keep_tokens is not None and "history" in chosen:
        out, notes = _trimmed(out, keep_tokens, cached, work)
    return Shortened(out, tokens(messages, count), tokens(out, count), dict(work.by_step), cached, notes)


def tokens(messages: Iterable[Any], count: Counter) -> int:
    """The tokens of the texts in messages."""
    return sum(count(text) for message in messages for text in _texts(message))


def cached_messages(messages: Sequence[Any], cached_tokens: int, count: Counter) -> int:
    """How many messages at the beginning are, or may be, in the provider's cache: all up to the last mark that asks for
    it, and all that could hold the tokens which were billed as cached."""
    marked = max((index + 1 for index, message in enumerate(messages) if _marked(message)), default=0)
    held, index = 0, 0
    while held < cached_tokens and index < len(messages):
        # An estimate may say too much, and a message too few that is left alone changes the prefix.
        said = sum(count(text) for text in _texts(messages[index]))
        held += said if count is not estimate else said // 2
        index += 1
    return max(marked, index)


def steps_of(steps: Iterable[str] | None, *, phrases: bool, history: bool) -> frozenset[str]:
    """The steps that are wanted; left out, those that are safe and those that have an argument.

    Raises:
        ConfigError: one is unknown.
    """
    if steps is None:
        return frozenset((*SAFE, *(["phrases"] if phrases else []), *(["history"] if history else [])))
    chosen = frozenset([steps] if isinstance(steps, str) else steps)
    unknown = chosen - set(STEPS)
    if unknown:
        raise ConfigError(f"steps: {sorted(map(str, unknown))} are unknown; known are {', '.join(STEPS)}")
    return chosen


def phrases_of(given: Iterable[str] | Mapping[str, str]) -> list[tuple[re.Pattern[str], str]]:
    """Phrases with what stands for them, the longest first.

    Raises:
        ConfigError: they are malformed.
    """
    pairs = list(given.items()) if isinstance(given, Mapping) else [(phrase, "") for phrase in given]
    texts = all(isinstance(one, str) and one.strip() and isinstance(instead, str) for one, instead in pairs)
    if isinstance(given, str) or not texts:
        raise ConfigError(f"phrases={given!r}: give a list of phrases, or a mapping of phrases to what stands for them")
    made = []
    for phrase, instead in sorted(pairs, key=lambda pair: -len(pair[0])):
        words = r"\s+".join(re.escape(word) for word in phrase.split())
        tail = r"(?!\w)" if instead else r"(?!\w),?[ ]?"
        made.append((re.compile(rf"(?<!\w){words}{tail}", re.IGNORECASE), instead))
    return made


# -- one text --------------------------------------------------------------------------------------------------------


def _text(text: str, work: Work, *, tool: bool) -> str:
    if tool and "json" in work.steps:
        text = work.done("json", text, minified(text))
    if is_json(text):
        return text
    for step, edit in _EDITS:
        if step in work.steps:
            text = work.done(step, text, prose(text, edit))
    for pattern, instead in work.phrases if "phrases" in work.steps else ():
        text = work.done("phrases", text, prose(text, partial(_without, pattern, instead)))
    if "repeats" in work.steps:
        text = work.done("repeats", text, _unrepeated(text, work.seen))
    return text


_EDITS: Final[tuple[tuple[str, Callable[[str], str]], ...]] = (
    ("trailing_space", lambda part: _TRAILING.sub("", part)),
    ("blank_lines", lambda part: _BLANKS.sub("\n\n", part)),
    ("spaces", lambda part: "\n".join(_one_space(line) for line in part.split("\n"))),
)


def _one_space(line: str) -> str:
    """A line of prose with single spaces; what may be a table, columns or art keeps its own."""
    runs = len(_SPACES.findall(line))
    if not runs or runs > 2 or len(line) < 40 or "|" in line or "\t" in line:
        return line
    return _SPACES.sub(" ", line)


def _without(pattern: re.Pattern[str], instead: str, part: str) -> str:
    def put(found: re.Match[str]) -> str:
        return instead[:1].upper() + instead[1:] if found[0][:1].isupper() else instead

    return pattern.sub(put, part)


def _unrepeated(text: str, seen: set[str]) -> str:
    """Long paragraphs that stood before, replaced by a word on that."""
    parts = re.split(r"(\n{2,})", text)
    if any(part.count("```") % 2 for part in parts):
        return text
    for index, part in enumerate(parts):
        if len(part) < BLOCK:
            continue
        if part in seen:
            parts[index] = f"[the same passage as before, beginning: {part[:60].strip()}...]"
        seen.add(part)
    return "".join(parts)


def is_json(text: str) -> bool:
    """Whether a text is a JSON object or array."""
    if text.lstrip()[:1] not in ("{", "["):
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


_OUTSIDE: Final = re.compile(r'("(?:[^"\\]|\\.)*")|[ \t\r\n]+')


def minified(text: str) -> str:
    """JSON without the whitespace between its parts; every string and number stays as it is written."""
    if not is_json(text):
        return text
    return _OUTSIDE.sub(lambda found: found[1] or "", text)


# -- messages --------------------------------------------------------------------------------------------------------

_TOOL_ROLES: Final = ("tool", "function")
_TOOL_PARTS: Final = ("tool_result", "function_call_output")
_TEXT_KEYS: Final = ("content", "text", "output", "parts")


def edited(message: Mapping[str, Any], work: Work) -> Mapping[str, Any]:
    """A message with its texts edited: a copy where anything differs, else itself."""
    return _part(message, work, tool=message.get("role") in _TOOL_ROLES)


def _part(part: Mapping[str, Any], work: Work, *, tool: bool) -> Mapping[str, Any]:
    tool = tool or part.get("type") in _TOOL_PARTS
    changed = dict(part)
    for key in _TEXT_KEYS:
        value = part.get(key)
        if isinstance(value, str):
            changed[key] = _text(value, work, tool=tool)
        elif isinstance(value, list | tuple):
            changed[key] = [_part(one, work, tool=tool) if isinstance(one, Mapping) else one for one in value]
    return part if changed == part else changed


def _texts(part: Any) -> Iterator[str]:
    if isinstance(part, Mapping):
        for key in _TEXT_KEYS:
            value = part.get(key)
            if isinstance(value, str):
                yield value
            elif isinstance(value, list | tuple):
                for one in value:
                    yield from _texts(one)


def _blocks_of(message: Any) -> Iterator[str]:
    for text in _texts(message):
        yield from (block for block in re.split(r"\n{2,}", text) if len(block) >= BLOCK)


def _marked(part: Any) -> bool:
    if isinstance(part, Mapping):
        return bool(part.get("cache_control")) or any(_marked(value) for value in part.values())
    return isinstance(part, list | tuple) and any(_marked(one) for one in part)


def _trimmed(messages: list[Any], keep: int, cached: int, work: Work) -> tuple[list[Any], tuple[str, ...]]:
    """Without the oldest turns, so that `keep` tokens are not passed: a turn goes whole, from a user's message to the
    next one, so that no answer of a tool loses its call. The system's messages and the last turn stay."""
    total = tokens(messages, work.count)
    starts = [index for index, message in enumerate(messages) if _begins_turn(message)]
    turns = list(pairwise(starts))
    gone: set[int] = set()
    kept_for_cache = 0
    for begin, end in turns:
        if total <= keep:
            break
        mine = [index for index in range(begin, end) if messages[index].get("role") not in ("system", "developer")]
        size = tokens([messages[index] for index in mine], work.count)
        if begin < cached:
            kept_for_cache += size
            continue
        gone.update(mine)
        total -= size
    if gone:
        work.by_step["history"] = tokens([messages[index] for index in sorted(gone)], work.count)
    notes: tuple[str, ...] = ()
    if kept_for_cache:
        why = "they are part of a cached prefix, and without them what follows would be billed in full again"
        notes = (f"{kept_for_cache:,} tokens of old turns were kept: {why}",)
    return [message for index, message in enumerate(messages) if index not in gone], notes


def _begins_turn(message: Mapping[str, Any]) -> bool:
    """Whether a message is a user's own: not one that only carries a tool's results."""
    if message.get("role") != "user":
        return False
    content = message.get("content")
    if isinstance(content, list | tuple):
        return not any(isinstance(one, Mapping) and one.get("type") in _TOOL_PARTS for one in content)
    parts = message.get("parts")
    return not isinstance(parts, list) or not any(
        isinstance(one, Mapping) and ("functionResponse" in one or "function_response" in one) for one in parts
    )
