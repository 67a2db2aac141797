"""Limits on what a program spends on language models, enforced before the money is spent.

For example::

    import costguard

    costguard.instrument()


    @costguard.budgeted(feature="customer-support", limit="$500/month", alert_at=(50, 80, 95))
    def answer(question): ...
"""

from __future__ import annotations

import typing as _typing

from . import budgets, prices
from ._accounts import (
    BudgetStatus,
    Decision,
    Estimate,
    Spend,
    Status,
    can_afford,
    estimate,
    explain,
    flush,
    select_model,
    spend,
    status,
    track,
)
from ._budget import Budget, budget
from ._forecasts import forecast_alerts
from ._optimized import Compressed, cache_advice, compress
from ._outcome import outcome
from ._process import budgeted, configure, instrument, uninstrument
from ._scope import wrap
from ._types import Alert, CostEvent, ForecastAlert, Usage
from ._what_if import what_if
from .errors import (
    BudgetExceededError,
    ConfigError,
    CostguardError,
    JournalUnavailableError,
    LedgerUnavailableError,
    LoopDetectedError,
    MissingExtraError,
    UnknownPriceError,
)
from .optimize import (
    Cache,
    CacheStats,
    Comparison,
    Compression,
    Downgrade,
    Embed,
    Ladder,
    LoopGuard,
    Semantic,
    Shadow,
    Shortening,
    classify,
)

__all__ = [
    "Alert",
    "Budget",
    "BudgetExceededError",
    "BudgetStatus",
    "Cache",
    "CacheStats",
    "Comparison",
    "Compressed",
    "Compression",
    "ConfigError",
    "CostEvent",
    "CostguardError",
    "Decision",
    "Downgrade",
    "Embed",
    "Estimate",
    "ForecastAlert",
    "JournalUnavailableError",
    "Ladder",
    "LedgerUnavailableError",
    "LoopDetectedError",
    "LoopGuard",
    "MissingExtraError",
    "Semantic",
    "Shadow",
    "Shortening",
    "Spend",
    "Status",
    "UnknownPriceError",
    "Usage",
    "budget",
    "budgeted",
    "budgets",
    "cache_advice",
    "can_afford",
    "classify",
    "compress",
    "configure",
    "estimate",
    "explain",
    "flush",
    "forecast_alerts",
    "instrument",
    "outcome",
    "prices",
    "select_model",
    "spend",
    "status",
    "track",
    "uninstrument",
    "what_if",
    "wrap",
]


if _typing.TYPE_CHECKING:
    # Declared, and the function below hidden: a module with `__getattr__` has every name, for a type checker.
    __version__: str
else:

    def __getattr__(name: str) -> str:
        if name == "__version__":
            from importlib.metadata import version

            return version("costguard-ai")
        raise AttributeError(f"module 'costguard' has no attribute {name!r}")
