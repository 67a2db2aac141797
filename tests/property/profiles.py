"""Hypothesis profiles: the quick one runs by default and in CI, ``--hypothesis-profile=deep`` looks for longer."""

from __future__ import annotations

from typing import Any, Final

from hypothesis import HealthCheck, settings

# A busy machine is no bug, so nothing here is measured by the clock.
_PATIENT: Final[dict[str, Any]] = {
    "deadline": None,
    "suppress_health_check": [HealthCheck.too_slow],
    "print_blob": True,
}

settings.register_profile("quick", max_examples=100, stateful_step_count=40, **_PATIENT)
settings.register_profile("deep", max_examples=5000, stateful_step_count=80, **_PATIENT)
if settings.get_current_profile_name() == "default":
    settings.load_profile("quick")
