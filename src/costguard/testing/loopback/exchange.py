"""One request and its answer, independent of any provider's wire format."""

from __future__ import annotations

import itertools
import json
import re
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from .reply import Billed, Received, Reply, Tokens
from .schema import example

Json = dict[str, Any]

_WORDS = ("one ", "two ", "six ", "ten ")
_SPOKEN = frozenset(
    (
        "messages",
        "input",
        "prompt",
        "system",
        "instructions",
        "tools",
        "contents",
        "systemInstruction",
        "content",
        "requests",
        "instances",
    )
)


class Refusal(Exception):
    """The request breaks a rule that the real provider enforces: answered with status 400, and not billed."""


class Frame(NamedTuple):
    """One piece of a streamed answer, and the output that has been generated once it is sent."""

    data: bytes
    output_tokens: int
    is_chunk: bool


@dataclass(slots=True)
class Answer:
    """What goes back: a whole body, or the frames of a stream; with what it bills."""

    body: bytes = b""
    frames: Sequence[Frame] | None = None
    bill: Billed | None = None
    status: int = 200
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    error_frame: bytes = b""


@dataclass(slots=True)
class Exchange:
    """What an endpoint works from: the request, the reply to give, and the objects stored on the server."""

    request: Received
    reply: Reply
    match: re.Match[str]
    stored: dict[str, Json]
    put: Callable[[Billed], int]
    amend: Callable[..., None]

    @property
    def body(self) -> Json:
        """The request's JSON object, or form fields."""
        return self.request.body if isinstance(self.request.body, dict) else {}

    def tokens(self, cap: int | None = None, choices: int = 1) -> Tokens:
        """The counts to bill under the request's cap."""
        return self.reply.tokens(measured(self.body), cap, choices)

    def text(self, tokens: Tokens, schema: Any = None, choices: int = 1) -> str:
        """The answer's text: as scripted, or an instance of the schema, or four bytes for each visible token."""
        output = tokens.output_tokens // choices
        text = self.reply.text if self.reply.text is not None or schema is None else json.dumps(example(schema))
        if text is None:
            return "".join(itertools.islice(itertools.cycle(_WORDS), output - tokens.reasoning_tokens // choices))
        wanted = self.reply.output_tokens or 0
        return text if output >= wanted else text[: len(text) * output // wanted]

    def is_cut(self, tokens: Tokens, choices: int = 1) -> bool:
        """Whether the request's cap stopped the answer."""
        return tokens.output_tokens < (self.reply.output_tokens or 0) * choices

    def bill(self, kind: str, model: str, tokens: Tokens, **facts: Any) -> Billed:
        """The entry for the books."""
        return Billed(
            kind=kind,
            path=self.request.path,
            model=model,
            web_searches=self.reply.web_searches,
            request_body=self.request.body,
            headers=self.request.headers,
            **asdict(tokens),
            **facts,
        )

    def put_usage(self, body: Json, key: str, usage: Json | None) -> Json:
        """Set the usage of an answer, malformed if the reply says so."""
        garbage = self.reply.garbage
        if usage is None or garbage == "no usage":
            return body
        value: Json | None = {**usage, **self.reply.usage}
        if garbage == "null usage":
            value = None
        elif garbage == "negative usage":
            value = _numbers(value, lambda count: -count - 1)
        elif garbage == "string usage":
            value = _numbers(value, lambda count: f"{count} tokens")
        return {**body, key: value}

    def whole(self, body: Json, bill: Billed | None, **headers: str) -> Answer:
        """A unary JSON answer."""
        data = json.dumps(body).encode()
        if self.reply.garbage == "json":
            data = data[: len(data) // 2]
        return Answer(body=data, bill=bill, headers=headers)

    def pieces(self, text: str, tokens: Tokens) -> list[str]:
        """The text in as many slices as the stream has chunks."""
        count = max(1, min(self.reply.chunks or 1, len(text), max(1, tokens.output_tokens)))
        edges = [len(text) * index // count for index in range(count + 1)]
        return [text[start:end] for start, end in itertools.pairwise(edges)]


def measured(body: Any) -> int:
    """A token for every four bytes of text that the request says to the model, and at least one."""
    spoken = [body[key] for key in _SPOKEN if key in body] if isinstance(body, dict) else []
    return max(1, -(-_bytes(spoken) // 4))


def _bytes(value: Any) -> int:
    if isinstance(value, str):
        return len(value.encode())
    if isinstance(value, dict):
        return sum(_bytes(item) for item in value.values())
    return sum(_bytes(item) for item in value) if isinstance(value, list) else 0


def _numbers(value: Any, change: Callable[[int], Any]) -> Any:
    if isinstance(value, dict):
        return {key: _numbers(item, change) for key, item in value.items()}
    return change(value) if isinstance(value, int) and not isinstance(value, bool) else value


def sse(event: Json, name: str | None = None) -> bytes:
    """A server-sent event."""
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(event)}\n\n".encode()


def paced(before: Iterable[bytes], chunks: Sequence[bytes], after: Iterable[bytes], tokens: Tokens) -> list[Frame]:
    """Frames of a stream: reasoning is generated before the first chunk, the visible output evenly over the chunks."""
    frames = [Frame(data, 0, is_chunk=False) for data in before]
    hidden, visible = tokens.reasoning_tokens, tokens.output_tokens - tokens.reasoning_tokens
    for index, data in enumerate(chunks, start=1):
        frames.append(Frame(data, hidden + visible * index // len(chunks), is_chunk=True))
    return frames + [Frame(data, tokens.output_tokens, is_chunk=False) for data in after]


def new_id(prefix: str) -> str:
    """An identifier like the provider's own."""
    return f"{prefix}{uuid.uuid4().hex[:24]}"
