"""Spending less: the response cache, cheaper models, shorter prompts, and a guard against loops. All off by default."""

from __future__ import annotations

from ._cache import Cache, CacheStats
from ._entries import Entry
from ._shortcut import Recording, Shortcut

__all__ = ["Cache", "CacheStats", "Entry", "Recording", "Shortcut"]
