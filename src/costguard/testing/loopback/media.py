"""OpenAI's images and audio, which bill by token, by image, by character or by second."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from typing import Any

from .exchange import Answer, Exchange, Json, paced, sse
from .openai_common import pattern, served
from .reply import Tokens
from .route import Route

_EVENTS = "text/event-stream"
_PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
_SOUND = b"\xff\xfb\x90\x00" + bytes(412)


def _asks_stream(exchange: Exchange) -> bool:
    return exchange.body.get("stream") in (True, "true", "True")


# -- images -----------------------------------------------------------------------------------------------------


def _images(name: str) -> Callable[[Exchange], Answer]:
    def serve(exchange: Exchange) -> Answer:
        model = served(exchange, "dall-e-2")
        count = int(exchange.body.get("n") or 1)
        by_token = not model.startswith("dall-e")
        tokens = exchange.tokens(choices=count) if by_token else Tokens()
        usage = _image_usage(tokens) if by_token else None
        stream = _asks_stream(exchange)
        bill = exchange.bill("images", model, tokens, stream=stream, units={"images": count})
        if stream:
            return Answer(frames=_image_frames(exchange, name, usage, tokens), bill=bill, content_type=_EVENTS)
        wants_url = not by_token and exchange.body.get("response_format") != "b64_json"
        image = {"url": "http://127.0.0.1/image.png"} if wants_url else {"b64_json": _PIXEL}
        body = {"created": int(time.time()), "data": [image for _ in range(count)]}
        return exchange.whole(exchange.put_usage(body, "usage", usage), bill)

    return serve


def _image_frames(exchange: Exchange, name: str, usage: Json | None, tokens: Tokens) -> Any:
    about = {"b64_json": _PIXEL, "size": "1024x1024", "quality": "high", "background": "opaque", "output_format": "png"}
    parts = int(exchange.body.get("partial_images") or 0)
    events: list[Json] = [
        {"type": f"{name}.partial_image", "partial_image_index": index, "created_at": 0, **about}
        for index in range(parts)
    ]
    events.append(exchange.put_usage({"type": f"{name}.completed", "created_at": 0, **about}, "usage", usage))
    return paced([], [sse(event, str(event["type"])) for event in events], [], tokens)


def _image_usage(tokens: Tokens) -> Json:
    text = tokens.input_tokens - tokens.input_image_tokens
    return {
        "input_tokens": tokens.input_tokens,
        "input_tokens_details": {"text_tokens": text, "image_tokens": tokens.input_image_tokens},
        "output_tokens": tokens.output_tokens,
        "total_tokens": tokens.input_tokens + tokens.output_tokens,
    }


# -- speech -----------------------------------------------------------------------------------------------------


def _speech(exchange: Exchange) -> Answer:
    """Bytes without usage: by character for the tts models, by token for the others."""
    model, body = served(exchange), exchange.body
    tokens = Tokens() if model.startswith("tts-") else exchange.tokens()
    units = {"characters": len(str(body.get("input", ""))), "seconds": exchange.reply.seconds}
    stream = body.get("stream_format") == "sse"
    bill = exchange.bill("speech", model, tokens, stream=stream, units=units)
    if not stream:
        return Answer(body=_SOUND, bill=bill, content_type="audio/mpeg")
    chunks = [{"type": "speech.audio.delta", "audio": base64.b64encode(_SOUND).decode()}]
    done = exchange.put_usage({"type": "speech.audio.done"}, "usage", _flat(tokens))
    frames = paced([], [sse(event) for event in chunks], [sse(done)], tokens)
    return Answer(frames=frames, bill=bill, content_type=_EVENTS)


def _flat(tokens: Tokens) -> Json:
    counts = {"input_tokens": tokens.input_tokens, "output_tokens": tokens.output_tokens}
    return {**counts, "total_tokens": sum(counts.values())}


# -- transcription ----------------------------------------------------------------------------------------------


def _transcriptions(exchange: Exchange) -> Answer:
    """By second for whisper, by token for the others; a plain-text answer carries no usage at all."""
    model = served(exchange, "whisper-1")
    by_second = model.startswith("whisper")
    tokens = Tokens() if by_second else exchange.tokens()
    stream = _asks_stream(exchange) and not by_second
    units = {"seconds": exchange.reply.seconds}
    bill = exchange.bill("transcription", model, tokens, stream=stream, units=units)
    text = (exchange.reply.text if by_second else exchange.text(tokens)) or "one two six ten"
    usage = {"type": "duration", **units} if by_second else _heard(tokens)
    if stream:
        return Answer(frames=_transcript_frames(exchange, text, usage, tokens), bill=bill, content_type=_EVENTS)
    return _transcript(exchange, text, usage, bill)


def _transcript(exchange: Exchange, text: str, usage: Json | None, bill: Any) -> Answer:
    form = exchange.body.get("response_format") or "json"
    if form in ("text", "srt", "vtt"):
        return Answer(body=f"{text}\n".encode(), bill=bill, content_type="text/plain")
    body: Json = {"text": text}
    if form == "verbose_json":
        body |= {"duration": exchange.reply.seconds, "language": "english", "segments": [], "task": "transcribe"}
    return exchange.whole(exchange.put_usage(body, "usage", usage), bill)


def _transcript_frames(exchange: Exchange, text: str, usage: Json, tokens: Tokens) -> Any:
    chunks = [{"type": "transcript.text.delta", "delta": piece} for piece in exchange.pieces(text, tokens)]
    done = exchange.put_usage({"type": "transcript.text.done", "text": text}, "usage", usage)
    return paced([], [sse(event) for event in chunks], [sse(done)], tokens)


def _heard(tokens: Tokens) -> Json:
    audio = tokens.input_audio_tokens or tokens.input_tokens
    details = {"audio_tokens": audio, "text_tokens": tokens.input_tokens - audio}
    return {"type": "tokens", **_flat(tokens), "input_token_details": details}


def _translations(exchange: Exchange) -> Answer:
    """By second, and the answer never carries usage."""
    bill = exchange.bill(
        "translation", served(exchange, "whisper-1"), Tokens(), units={"seconds": exchange.reply.seconds}
    )
    return _transcript(exchange, exchange.reply.text or "one two six ten", None, bill)


ROUTES = [
    Route("POST", pattern("/images/generations"), _images("image_generation")),
    Route("POST", pattern("/images/(?:edits|variations)"), _images("image_edit")),
    Route("POST", pattern("/audio/speech"), _speech),
    Route("POST", pattern("/audio/transcriptions"), _transcriptions),
    Route("POST", pattern("/audio/translations"), _translations),
]
