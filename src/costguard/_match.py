"""Model names: which spelling of an id names which priced model, and which models are its kin.

Only what is known to leave the price alone is ever stripped from a name: routing prefixes, dates and listed
suffixes. ``o1-pro`` is not ``o1`` and ``gpt-4o-mini`` is not ``gpt-4o``; a name that is left over is unknown.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

LONGEST: Final = 256
"""Characters of a model name that are looked at; longer ones are cut, so that a caller cannot make lookups slow."""

_PATHS: Final = re.compile(
    r"^(?:arn:[^/]*/|(?:projects/[^/]+/)?(?:locations/[^/]+/)?(?:publishers/[^/]+/)?(?:models|tunedmodels|endpoints)/"
    r"|accounts/[^/]+/models/)"
)
_REGION: Final = re.compile(r"^(?:us-gov|us|eu|apac|au|jp|in|ca|sa|me|af|regional)\.(?=[a-z0-9-]+\.)")
_TUNED: Final = re.compile(r"^(ft:[^:]+):.*$")

_DATED: Final = r"-20\d\d-\d\d-\d\d|[-@]20\d{6}|@default|@latest|@\d{3}|-00\d|-latest|-v\d+:\d+(?::\d+k)?|:0"
_STAGED: Final = r"-preview|-exp|-experimental|-beta|-\d\d-\d\d|-\d\d-20\d\d|-\d{4}"
_STRICT: Final = re.compile(f"(?:{_DATED})$")
_LOOSE: Final = re.compile(f"(?:{_DATED}|{_STAGED})$")
_VARIANT: Final = re.compile(r":[a-z-]+$")


def tidy(name: str) -> str:
    """A name as indexes spell it."""
    return name[:LONGEST].strip().lower()


def forms(name: str) -> Iterator[str]:
    """`name` and what is left of it without routing: paths, ARNs, Bedrock regions, fine-tuning suffixes, vendors."""
    yield name
    bare = _PATHS.sub("", name)
    if bare != name:
        yield bare
    tuned = _TUNED.sub(r"\1", bare)
    if tuned != bare:
        yield tuned
        return
    local = _REGION.sub("", bare)
    if local != bare:
        yield local
        bare = local
    if bare.startswith("global."):
        yield bare[7:]
    if "/" in bare:
        yield bare.rpartition("/")[2]


def without_dates(name: str) -> Iterator[str]:
    """`name` with dates and version suffixes taken off, one after the other."""
    return _stripped(name, _STRICT)


def without_stages(name: str) -> Iterator[str]:
    """The same, and with preview and experiment suffixes, for models that are listed as covering those."""
    return _stripped(name, _LOOSE)


def _stripped(name: str, pattern: re.Pattern[str]) -> Iterator[str]:
    while True:
        yield name
        shorter = pattern.sub("", name)
        if shorter == name or not shorter:
            return
        name = shorter


def without_variant(name: str) -> str:
    """`name` without a gateway's routing variant, such as ``:nitro``."""
    return _VARIANT.sub("", name)


def vendor(name: str) -> tuple[str, str]:
    """Who makes the model and its bare name, out of ``vendor/model`` or ``vendor.model``; the vendor may be empty."""
    bare = _REGION.sub("", _PATHS.sub("", name).removeprefix("global."))
    head, slash, tail = bare.rpartition("/")
    if slash:
        return head.rpartition("/")[2], tail
    head, dot, tail = bare.partition(".")
    return (head, tail) if dot and head.isalpha() else ("", bare)


_SPLIT: Final = re.compile(r"[^a-z0-9]+")
_NO_WORD: Final = re.compile(r"\d+|v\d+|\d+x?\d*[bmk]|a\d+b")

KINDS: Final = frozenset(
    (
        "audio",
        "cyber",
        "embed",
        "embedding",
        "embeddings",
        "ft",
        "image",
        "images",
        "instruct",
        "live",
        "moderation",
        "ocr",
        "omni",
        "realtime",
        "rerank",
        "research",
        "robotics",
        "search",
        "sora",
        "speech",
        "transcribe",
        "translate",
        "tts",
        "veo",
        "vision",
        "voice",
        "whisper",
    )
)
"""Words that make a model another kind of product: a chat model is never priced as one of these, nor they as it."""


def words(name: str) -> tuple[str, ...]:
    """The words of a name, without vendors, versions, sizes and dates: ``gpt-5.4-mini`` is ``gpt``, ``mini``."""
    bare = vendor(name)[1]
    kept = (part for part in _SPLIT.split(bare) if part and not _NO_WORD.fullmatch(part))
    return tuple(word for word in (part.strip("0123456789") for part in kept) if word)


def shared(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    """How many leading words two names have in common."""
    count = 0
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        count += 1
    return count
