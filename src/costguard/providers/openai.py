"""OpenAI's SDK, majors 1 to 3, with its Azure and Bedrock clients, and every host that speaks its API."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from .._hosts import host_provider
from .._types import Call
from ..ports import Reader, Reading, Request, Retrieval, Seam, Unmetered
from ._bound import TOOLS, Bound, CountedBound, Unbounded
from ._fields import get, integer, items, positive, size, text
from ._openai_media import ImageReader, SpeechReader, TranscriptionReader
from ._openai_usage import ChatReader, ResponseReader, tier
from ._stainless import Stainless, endpoint

_ENDPOINTS: Final = re.compile(
    r"(?:^|/)(chat/completions|completions|responses/compact|responses|decisions|embeddings"
    r"|images/(?:generations|edits|variations)|audio/(?:speech|transcriptions|translations))/?$"
)
_RETRIEVAL: Final = re.compile(r"(?:^|/)responses/([^/]+)(?:/cancel)?/?$")
_FREE: Final = re.compile(
    r"(?:^|/)(?:moderations|responses/input_tokens(?:/count)?|models(?:/.*)?|files(?:/.*)?|uploads(?:/.*)?"
    r"|chat/completions/.+|conversations(?:/.*)?|assistants(?:/.*)?|threads|threads/[^/]+(?:/messages(?:/.*)?)?"
    r"|batches/.*|fine_tuning/jobs/.*|evals/?|vector_stores/[^/]+/search|.*/cancel)/?$"
)

_IMAGE_TOKENS: Final = 6_000
_IMAGE_TOKENS_BY_MODEL: Final = (("gpt-4o-mini", 48_169),)
"""The most tokens one image is billed for. Tile models take 85 + 170 for each of at most 8 tiles, gpt-4o-mini 2,833 +
5,667 a tile, patch models at most 1,536 patches times a factor below 3 (platform.openai.com/docs/guides/images)."""
_SOUND_BYTES_A_SECOND: Final = 2_000
"""Speech is hardly ever coded below 16 kbit/s, so bytes over this is the longest a recording can be."""
_LARGEST_UPLOAD: Final = 25 * 2**20
_AUDIO_TOKENS_A_SECOND: Final = 20
_AUDIO_TOKENS_A_CHARACTER: Final = 2
_TOOL_RUNS: Final = 16
"""Runs of a hosted tool that a response without ``max_tool_calls`` is reserved for."""
_OURS: Final = (None, "openai", "azure")
_HOSTED: Final = ("web_search", "file_search", "code_interpreter", "mcp", "image_generation", "computer")


_SOCKETS: Final = (
    ("beta.realtime.realtime", "Realtime"),
    ("beta.responses.responses", "Responses"),
    ("live.live", "Live"),
    ("realtime.realtime", "Realtime"),
    ("realtime.translations.translations", "Translations"),
    ("responses.responses", "Responses"),
)
"""Resources that open a WebSocket, which no request of the SDK's passes through: counted, not metered."""


class OpenAI(Stainless):
    """See `costguard.ports.Provider`."""

    def __init__(self, name: str, package: str) -> None:
        super().__init__(name, package)
        self.seams = (
            *self.seams,
            *(
                Seam(f"{package}.resources.{module}", f"{colour}{resource}.connect", "function", optional=True)
                for module, resource in _SOCKETS
                for colour in ("", "Async")
            ),
        )

    def request(self, seam: Seam, client: Any, arguments: tuple[Any, ...], keywords: Mapping[str, Any]) -> Request:  # noqa: ARG002
        """See `costguard.ports.Provider.request`: a WebSocket that is about to be opened."""
        return Request(method="CONNECT", path=seam.module.partition(".resources.")[2])

    def read_call(self, request: Request) -> Reading:
        """See `costguard.ports.Provider.read_call`."""
        if request.method == "CONNECT":
            return Unmetered(f"WebSocket {request.path}")
        retrieval = _RETRIEVAL.search(request.path)
        if request.method != "POST":
            return self._retrieval(retrieval[1], request) if retrieval and request.method == "GET" else None
        known = endpoint(request.path, _ENDPOINTS)
        if known is not None:
            return _CALLS[known](self, request)
        if _FREE.search(request.path):
            return None
        if retrieval is not None:
            return self._retrieval(retrieval[1], request)
        return Unmetered(f"POST {request.path}")

    def reader(self, call: Call) -> Reader:
        """See `costguard.ports.Provider.reader`."""
        match call.operation:
            case "chat" | "text_completion" | "embeddings":
                return ChatReader(call, hide=call.asks_for_usage)
            case "image_generation":
                return ImageReader(call)
            case "speech":
                return SpeechReader(call)
            case "transcription":
                return TranscriptionReader(call)
            case _:
                return ResponseReader(call)

    def adjust(self, call: Call, request: Request, max_output: int | None) -> Mapping[str, Any]:
        """See `costguard.ports.Provider.adjust`."""
        body = request.body
        if call.asks_for_usage:
            options = get(body, "stream_options")
            merged = {**options, "include_usage": True} if isinstance(options, Mapping) else {"include_usage": True}
            body = {**body, "stream_options": merged}
        if max_output is not None and call.cap is not None:
            body = {**body, call.cap: max_output}
        return body

    def _retrieval(self, id: str, request: Request) -> Retrieval:
        return Retrieval(id, Call(self.name, "", "responses", host=request.host))

    def _chat(self, request: Request) -> Call:
        body = request.body
        bound = _bound(request, _media(text(body, "model")), _TELLING)
        for field in ("messages", "prediction"):
            bound.add(body.get(field))
        for field in ("tools", "functions", "response_format"):
            bound.add_described(body.get(field))
        if body.get("tools") or body.get("functions"):
            bound.unit("input", TOOLS)
        if body.get("web_search_options") is not None or "-search" in text(body, "model"):
            bound.unit("web_searches", 1)
        audio = "audio" in items(body, "modalities")
        return self._call(
            request,
            bound,
            "chat",
            cap=_chat_cap(request),
            caps=("max_completion_tokens", "max_tokens"),
            output_unit="output_audio" if audio else "output",
        )

    def _completion(self, request: Request) -> Call:
        bound = _bound(request, _no_media, frozenset())
        bound.add(request.body.get("prompt"))
        bound.add(request.body.get("suffix"))
        return self._call(request, bound, "text_completion", cap="max_tokens", caps=("max_tokens",))

    def _response(self, request: Request) -> Call:
        body = request.body
        bound = _bound(request, _media(text(body, "model")), _TELLING)
        for field in ("input", "instructions"):
            bound.add(body.get(field))
        for field in ("tools", "text"):
            bound.add_described(body.get(field))
        if body.get("tools"):
            bound.unit("input", TOOLS)
        hosted = [tool for tool in items(body, "tools") if text(tool, "type").startswith(_HOSTED)]
        if hosted:
            # Each run of a hosted tool bills the input again with the tool's result: as much as the window holds.
            bound.known = False
            runs = integer(body, "max_tool_calls") or _TOOL_RUNS
            searching = [text(tool, "type") for tool in hosted if text(tool, "type").startswith("web_search")]
            if searching:
                preview = any(kind.startswith("web_search_preview") for kind in searching)
                bound.unit("web_searches:preview" if preview else "web_searches", runs)
            if any(text(tool, "type") == "file_search" for tool in hosted):
                bound.unit("file_searches", runs)
        if any(
            isinstance(body.get(field), str | Mapping) for field in ("previous_response_id", "conversation", "prompt")
        ):
            bound.known = False
        return self._call(request, bound, "responses", cap="max_output_tokens", caps=("max_output_tokens",))

    def _embedding(self, request: Request) -> Call:
        bound = _bound(request, _no_media, frozenset())
        value = request.body.get("input")
        if isinstance(value, list | tuple) and value and not isinstance(value[0], str):
            # Already tokens: one list of them, or several.
            bound.unit("input", sum(len(one) if isinstance(one, list | tuple) else 1 for one in value))
        else:
            bound.add(value)
        return self._call(request, bound, "embeddings", output_unit=None)

    def _image(self, request: Request) -> Call:
        body = request.body
        made = integer(body, "n") or 1
        model = text(body, "model") or "dall-e-2"
        bound = Bound(_no_media, frozenset())
        if model.startswith("dall-e"):
            variant = f"{text(body, 'quality') or 'standard'}-{text(body, 'size') or '1024x1024'}"
            bound.units = {f"images:{variant}": made}
            return self._call(request, bound, "image_generation", model=model, output_unit=None)
        if "gpt-image" not in model:
            # Other makers' models behind this API are mostly billed by the picture.
            bound.unit("images", made)
        bound.add(body.get("prompt"))
        uploads = [name for name, _ in _files(request) if name.startswith(("image", "mask"))]
        bound.unit("input_image", _IMAGE_TOKENS * len(uploads))
        # The dearest picture of gpt-image models is 6,240 output tokens (high quality, 1024x1536); partial ones count.
        bound.unit("output_image", 6_240 * made + 100 * (integer(body, "partial_images") or 0))
        return self._call(request, bound, "image_generation", model=model, output_unit=None)

    def _speech(self, request: Request) -> Call:
        body = request.body
        spoken = len(text(body, "input"))
        bound = Bound(_no_media, frozenset())
        if text(body, "model").startswith("tts"):
            bound.units = {"characters": spoken}
        else:
            bound.add(body.get("input"))
            bound.add(body.get("instructions"))
            bound.unit("output_audio", spoken * _AUDIO_TOKENS_A_CHARACTER)
        return self._call(request, bound, "speech", output_unit=None)

    def _transcription(self, request: Request) -> Call:
        sizes = [_file_size(content) for name, content in _files(request) if name.startswith("file")]
        length = sum(_LARGEST_UPLOAD if known is None else known for known in sizes)
        seconds = -(-length // _SOUND_BYTES_A_SECOND)
        bound = Bound(_no_media, frozenset())
        if text(request.body, "model").startswith("whisper"):
            bound.units = {"audio_seconds": seconds}
            return self._call(request, bound, "transcription", output_unit=None)
        bound.add(request.body.get("prompt"))
        bound.unit("input_audio", seconds * _AUDIO_TOKENS_A_SECOND)
        return self._call(request, bound, "transcription")

    def _call(
        self,
        request: Request,
        bound: Bound,
        operation: str,
        *,
        model: str | None = None,
        cap: str | None = None,
        caps: tuple[str, ...] = (),
        output_unit: str | None = "output",
    ) -> Call:
        body = request.body
        given = [value for name in caps if (value := positive(body.get(name))) is not None]
        choices = positive(body.get("n")) or 1
        return Call(
            provider=self.name,
            model=model or text(body, "model"),
            operation=operation,
            host=request.host,
            stream=request.stream,
            bound=bound.units,
            input_known=bound.known,
            max_output=max(given, default=None),
            choices=max(choices, positive(body.get("best_of")) or 1) if output_unit else 1,
            output_unit=output_unit,
            tier=tier(body.get("service_tier")),
            cap=cap,
            asks_for_usage=_must_ask(request, operation),
        )


def _bound(
    request: Request, media: Callable[[Mapping[str, Any]], Mapping[str, int] | None], telling: frozenset[str]
) -> Bound:
    """By tokens where a tokenizer is at hand, and where the model behind the name is OpenAI's: at its own hosts and
    Azure's, or one that is not known, whose models are priced as OpenAI's too."""
    if request.counter is not None and host_provider(request.host) in _OURS:
        count = request.counter(text(request.body, "model"))
        if count is not None:
            return CountedBound(media, telling, count)
    return Bound(media, telling)


def _must_ask(request: Request, operation: str) -> bool:
    """A stream of chat or legacy completions reports its usage only when it is asked to."""
    if not request.stream or operation not in ("chat", "text_completion"):
        return False
    return get(request.body, "stream_options", "include_usage") is not True


def _chat_cap(request: Request) -> str:
    if integer(request.body, "max_tokens") is not None:
        return "max_tokens"
    if integer(request.body, "max_completion_tokens") is not None:
        return "max_completion_tokens"
    # Servers that only imitate the API often know the old name alone.
    ours = request.host.endswith(("openai.com", "azure.com", "localhost", "127.0.0.1"))
    return "max_completion_tokens" if ours else "max_tokens"


def _media(model: str) -> Callable[[Mapping[str, Any]], Mapping[str, int] | None]:
    image = next((tokens for name, tokens in _IMAGE_TOKENS_BY_MODEL if model.startswith(name)), _IMAGE_TOKENS)

    def media(part: Mapping[str, Any]) -> Mapping[str, int] | None:
        match part.get("type"):
            case "image_url" | "input_image" | "computer_screenshot":
                return {"input": image}
            case "input_audio":
                coded = size(get(part, "input_audio", "data")) * 3 // 4
                return {"input_audio": coded * _AUDIO_TOKENS_A_SECOND // _SOUND_BYTES_A_SECOND + 1}
            case "file" | "input_file" | "item_reference":
                raise Unbounded
            case _:
                return None

    return media


_TELLING: Final = frozenset(("type",))


def _no_media(_part: Mapping[str, Any]) -> None:
    return None


def _files(request: Request) -> list[tuple[str, Any]]:
    files = request.files
    if isinstance(files, Mapping):
        return list(files.items())
    return [(str(pair[0]), pair[1]) for pair in files or () if isinstance(pair, tuple) and len(pair) == 2]


def _file_size(content: Any) -> int | None:
    """The size of an upload, or None for an open file, which is not ours to look into."""
    if isinstance(content, tuple) and len(content) > 1:
        content = content[1]
    return len(content) if isinstance(content, bytes | bytearray) else None


_CALLS: Final[Mapping[str, Callable[[OpenAI, Request], Call]]] = {
    "chat/completions": OpenAI._chat,
    "completions": OpenAI._completion,
    "responses": OpenAI._response,
    "responses/compact": OpenAI._response,
    "decisions": OpenAI._response,
    "embeddings": OpenAI._embedding,
    "images/generations": OpenAI._image,
    "images/edits": OpenAI._image,
    "images/variations": OpenAI._image,
    "audio/speech": OpenAI._speech,
    "audio/transcriptions": OpenAI._transcription,
    "audio/translations": OpenAI._transcription,
}

OPENAI: Final = OpenAI("openai", "openai")
