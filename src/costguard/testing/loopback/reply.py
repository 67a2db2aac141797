"""What the loopback provider is told to answer (`Reply`), and what it billed (`Billed`)."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

Garbage = Literal["json", "no usage", "null usage", "negative usage", "string usage"]
"""Ways in which an answer can be malformed."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A function that the model asks the program to run."""

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """Token counts of one answer. `input_tokens` and `output_tokens` are totals; the others are parts of them.

    The two compaction counts are the exception: they come on top, as Anthropic bills them.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    input_audio_tokens: int = 0
    input_image_tokens: int = 0
    tool_use_tokens: int = 0
    reasoning_tokens: int = 0
    output_audio_tokens: int = 0
    compaction_input_tokens: int = 0
    compaction_output_tokens: int = 0

    @property
    def fresh_input_tokens(self) -> int:
        """Input that was neither read from a cache nor written to one."""
        return self.input_tokens - self.cached_tokens - self.cache_write_tokens - self.cache_write_1h_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Billed(Tokens):
    """One answer as the provider billed it: the truth that costguard's books are compared with.

    `completed` is false when the answer did not reach its end: the client left (`disconnected`), or the script broke
    the connection. Of a broken stream only the output sent so far is billed; of a broken unary answer, all of it.
    """

    kind: str
    path: str
    model: str
    service_tier: str | None = None
    stream: bool = False
    completed: bool = False
    disconnected: bool = False
    chunks_sent: int = 0
    web_searches: int = 0
    units: Mapping[str, float] = field(default_factory=dict)
    request_body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One request as it arrived, with the status that it was answered with. Keys are blanked out of `headers`."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any
    status: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One answer to give. A field left at `None` takes the provider's default.

    Tokens: `input_tokens` counts all input, cached or not, and `output_tokens` all output, reasoning included; each
    wire format then shows them its own way (Anthropic leaves the cache out, Gemini leaves the thoughts out).
    `input_tokens="measured"` counts a token per four bytes of text in the request. Output counts per choice, and
    never exceeds the cap that the request sets.

    Misbehaviour: `status` of 400 and above answers an error; `latency` waits first; `gate` waits for an event; `hang`
    never answers; `break_after=3` drops the connection after three chunks; `error_after=3` sends an error event
    instead of the fourth; `garbage` malforms the answer; `usage` overrides raw fields of the usage object.
    `billed` overrides the rule that answers are billed and errors are not.
    """

    text: str | None = None
    input_tokens: int | Literal["measured"] | None = None
    output_tokens: int | None = None
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    input_audio_tokens: int = 0
    input_image_tokens: int = 0
    tool_use_tokens: int = 0
    reasoning_tokens: int = 0
    output_audio_tokens: int = 0
    compaction: tuple[int, int] | None = None
    iterations: Sequence[Mapping[str, Any]] = ()
    web_searches: int = 0
    seconds: float = 1.0
    tool_calls: Sequence[ToolCall] = ()
    model: str | None = None
    service_tier: str | None = None
    finish: str | None = None
    usage: Mapping[str, Any] = field(default_factory=dict)
    garbage: Garbage | None = None
    status: int = 200
    error: Mapping[str, Any] | str | None = None
    retry_after: float | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    latency: float | None = None
    gate: threading.Event | None = None
    hang: bool = False
    chunks: int | None = None
    chunk_delay: float | None = None
    break_after: int | None = None
    error_after: int | None = None
    billed: bool | None = None

    def filled(self, default: Reply) -> Reply:
        """This reply with the default's tokens, chunks and pace where it names none."""
        names = ("input_tokens", "output_tokens", "latency", "chunks", "chunk_delay")
        missing = {name: getattr(default, name) for name in names if getattr(self, name) is None}
        return replace(self, **missing) if missing else self

    def tokens(self, measured: int, cap: int | None = None, choices: int = 1) -> Tokens:
        """The counts to bill, with the output of each choice cut at the cap."""
        wanted = self.output_tokens or 0
        output = wanted if cap is None else min(wanted, cap)
        compaction = self.compaction or (0, 0)
        tokens = Tokens(
            input_tokens=measured if self.input_tokens == "measured" else self.input_tokens or 0,
            output_tokens=output * choices,
            cached_tokens=self.cached_tokens,
            cache_write_tokens=self.cache_write_tokens,
            cache_write_1h_tokens=self.cache_write_1h_tokens,
            input_audio_tokens=self.input_audio_tokens,
            input_image_tokens=self.input_image_tokens,
            tool_use_tokens=self.tool_use_tokens,
            reasoning_tokens=min(self.reasoning_tokens, output) * choices,
            output_audio_tokens=min(self.output_audio_tokens, output) * choices,
            compaction_input_tokens=compaction[0],
            compaction_output_tokens=compaction[1],
        )
        if tokens.fresh_input_tokens < 0:
            raise ValueError(f"the cached and written tokens of {self!r} exceed its {tokens.input_tokens} input tokens")
        return tokens
