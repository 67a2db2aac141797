"""SDKs whose requests go through plain functions: one that returns an answer, or one that returns an iterator.

Filled by the Google providers; see `costguard.ports.SeamKind`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .._guard import Guard
from ..ports import Provider, Seam


def wrapper(seam: Seam, provider: Provider, current: Callable[[], Guard | None], original: Any) -> Callable[..., Any]:
    """The wrapper for a ``function``, ``iterator`` or ``scope`` seam around `original`."""
    raise NotImplementedError(seam.kind)
