"""What a request can cost at most, read off its fields."""

from __future__ import annotations

from typing import Any

import pytest

from costguard._types import INPUT_UNITS, Call
from costguard.ports import Request
from costguard.providers.anthropic import ANTHROPIC
from costguard.providers.google_genai import GOOGLE_GENAI
from costguard.providers.openai import OPENAI

PIXELS = "iVBORw0KGgo="
WITH_PICTURE: dict[str, tuple[Any, Request]] = {
    "chat": (
        OPENAI,
        Request(
            path="/chat/completions",
            body={
                "model": "gpt-4o-mini",
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXELS}"}}],
                    }
                ],
            },
        ),
    ),
    "responses": (
        OPENAI,
        Request(
            path="/responses",
            body={
                "model": "gpt-4o",
                "input": [
                    {"role": "user", "content": [{"type": "input_image", "image_url": "https://a.example/b.png"}]}
                ],
            },
        ),
    ),
    "messages": (
        ANTHROPIC,
        Request(
            path="/v1/messages",
            body={
                "model": "claude-haiku-5-5",
                "max_tokens": 10,
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {
                                "type": "image",
                                "source": {"type": "base64", "media_type": "image/png", "data": PIXELS},
                            }
                        ],
                    }
                ],
            },
        ),
    ),
    "generateContent": (
        GOOGLE_GENAI,
        Request(
            path="models/gemini-3.8-flash:generateContent",
            body={"contents": [{"parts": [{"inlineData": {"mimeType": "image/png", "data": PIXELS}}]}]},
        ),
    ),
}


@pytest.mark.parametrize("name", WITH_PICTURE)
def test_a_picture_is_reserved_for(name: str) -> None:
    """A request with a picture holds a picture's tokens: they were once lost in adding up the text around it."""
    provider, request = WITH_PICTURE[name]
    call = provider.read_call(request)
    assert isinstance(call, Call)
    assert sum(call.bound.get(unit, 0) for unit in INPUT_UNITS) > 250 or not call.input_known


def test_every_picture_counts() -> None:
    """Two pictures hold twice as much as one."""
    provider, request = WITH_PICTURE["chat"]
    part = request.body["messages"][0]["content"][0]

    def bound(pictures: int) -> int:
        body = {**request.body, "messages": [{"role": "user", "content": [part] * pictures}]}
        return int(provider.read_call(Request(path="/chat/completions", body=body)).bound["input"])

    assert bound(2) - bound(1) == bound(3) - bound(2) > 40_000
