"""A kept answer: what the SDK is given again, and what the original was billed for.

It is kept as JSON, so that reading it runs nothing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Final

from .._types import STANDARD, Usage
from ._requests import VERSION

KEPT_HEADERS: Final = ("content-type", "x-request-id", "request-id")


@dataclass(frozen=True, slots=True)
class Entry:
    """An answer as it came over the wire.

    Attributes:
        bodies: the decoded body; for SDKs that hand out parts, the text of each.
        headers: those of the original that are kept.
        usages: what the original was billed for.
        model: the model that was asked for.
        at: UTC epoch seconds of the original.
        expires: UTC epoch seconds after which it is not used any more.
        parsed: whether the SDK was given plain dicts instead of responses.
        found: how it was found, which its response says: ``hit``, or ``similar`` for another question's answer.
    """

    bodies: tuple[str, ...]
    headers: dict[str, str]
    usages: tuple[Usage, ...]
    model: str
    at: float
    expires: float
    parsed: bool = field(default=False)
    found: str = field(default="hit")

    @property
    def streamed(self) -> bool:
        """Whether the body is one of server-sent events."""
        return "event-stream" in self.headers.get("content-type", "") and len(self.bodies) == 1 and not self.parsed

    def to_json(self) -> str:
        """The entry as text."""
        return json.dumps(
            {
                "v": VERSION,
                "bodies": self.bodies,
                "headers": self.headers,
                "usages": [_usage_out(usage) for usage in self.usages],
                "model": self.model,
                "at": self.at,
                "expires": self.expires,
                "parsed": self.parsed,
            },
            ensure_ascii=False,
        )

    @classmethod
    def from_json(cls, text: str) -> Entry | None:
        """Read an entry back; None when it is none of ours."""
        try:
            raw = json.loads(text)
            if raw["v"] != VERSION:
                return None
            return cls(
                bodies=tuple(_text(body) for body in raw["bodies"]),
                headers={_text(name): _text(value) for name, value in raw["headers"].items()},
                usages=tuple(_usage_in(one) for one in raw["usages"]),
                model=_text(raw["model"]),
                at=float(raw["at"]),
                expires=float(raw["expires"]),
                parsed=bool(raw["parsed"]),
            )
        except (ValueError, TypeError, KeyError, AttributeError):
            return None


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("no text")
    return value


def _usage_out(usage: Usage) -> dict[str, Any]:
    return {
        "counts": dict(usage.counts),
        "model": usage.model,
        "tier": usage.tier,
        "region": usage.region,
        "reported": usage.reported,
    }


def _usage_in(raw: Any) -> Usage:
    counts = {_text(unit): int(count) for unit, count in raw["counts"].items()}
    return Usage(
        counts,
        model=raw.get("model"),
        tier=_text(raw.get("tier", STANDARD)),
        region=raw.get("region"),
        reported=raw.get("reported"),
    )
