"""How much of a model a task needs: a simple judge of prompts, whose rules anybody can read and replace."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Literal

Complexity = Literal["simple", "standard", "complex"]
Classifier = Callable[[str], Complexity]

LONG: Final = 6_000
SHORT: Final = 600
"""Characters of a prompt above which it is complex, and below which it may be simple."""

_HARD: Final = re.compile(
    r"\b(?:prove|derive|theorem|refactor|debug|architect(?:ure)?|design|optimi[sz]e|trade-?offs?|root cause|"
    r"step[- ]by[- ]step|analy[sz]e|compare|evaluate|plan|strategy|legal|contract|diagnos\w+|multi-step)\b",
    re.IGNORECASE,
)
_EASY: Final = re.compile(
    r"\b(?:classify|label|categori[sz]e|extract|translate|spell(?:ing)?|yes or no|true or false|sentiment|"
    r"what language|title|keywords?|format|convert|reply with (?:one|a single)|one word)\b",
    re.IGNORECASE,
)
_CODE: Final = "```"


def classify(prompt: str | Iterable[Any]) -> Complexity:
    """The built-in judge of a prompt, or of messages.

    ``complex``: above 6,000 characters, two or more blocks of code, or a word that asks for reasoning (prove, debug,
    design, compare, plan...) twice, or once in more than 600 characters. ``simple``: at most 600 characters, no block
    of code, no such word, and a word that asks for a small fixed thing (classify, extract, translate, one word...) or
    at most 80 characters. Else ``standard``. English words only: a prompt in another language is judged by its size and
    code.
    """
    text = prompt if isinstance(prompt, str) else "\n".join(texts(prompt))
    hard = len(_HARD.findall(text))
    if len(text) > LONG or text.count(_CODE) >= 4 or hard >= 2 or (hard and len(text) > SHORT):
        return "complex"
    if len(text) <= SHORT and _CODE not in text and not hard and (len(text) <= 80 or _EASY.search(text)):
        return "simple"
    return "standard"


def texts(messages: Any) -> Iterable[str]:
    """The texts in messages of any provider's shape."""
    if isinstance(messages, str):
        yield messages
    elif isinstance(messages, Mapping):
        for key in ("content", "text", "parts", "input"):
            yield from texts(messages.get(key))
    elif isinstance(messages, list | tuple):
        for message in messages:
            yield from texts(message)
