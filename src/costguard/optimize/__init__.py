"""Spending less: the response cache, cheaper models, shorter prompts, and a guard against loops. All off by default."""

from __future__ import annotations

from ._advice import Advice, advise
from ._alike import Alike
from ._cache import Cache, CacheStats
from ._complexity import Classifier, Complexity, classify, texts
from ._compress import Shortened, shorten
from ._compress import estimate as estimate_tokens
from ._compression import STEPS as COMPRESSION_STEPS
from ._compression import Compression, Compressor, OnCompress, Shortening, Shorter
from ._entries import Entry
from ._loops import LoopGuard
from ._shortcut import Recording, Shortcut
from ._similar import Comparison, Embed, Semantic, Shadow, distance
from ._tiers import RUNGS, Downgrade, Ladder, OnDowngrade, Tiers, ladders

__all__ = [
    "COMPRESSION_STEPS",
    "RUNGS",
    "Advice",
    "Alike",
    "Cache",
    "CacheStats",
    "Classifier",
    "Comparison",
    "Complexity",
    "Compression",
    "Compressor",
    "Downgrade",
    "Embed",
    "Entry",
    "Ladder",
    "LoopGuard",
    "OnCompress",
    "OnDowngrade",
    "Recording",
    "Semantic",
    "Shadow",
    "Shortcut",
    "Shortened",
    "Shortening",
    "Shorter",
    "Tiers",
    "advise",
    "classify",
    "distance",
    "estimate_tokens",
    "ladders",
    "shorten",
    "texts",
]
