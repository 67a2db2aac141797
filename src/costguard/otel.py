"""What OpenTelemetry's auto-instrumentation starts: ``opentelemetry-instrument python app.py`` meters every call."""

from __future__ import annotations

from typing import Any

from ._config import state


class CostguardInstrumentor:
    """Switches costguard on in a program that does not mention it, and exports to OpenTelemetry.

    It is found by its entry point and left alone where none of the SDKs is installed;
    ``OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=costguard`` keeps it off. Its settings are the environment's.
    """

    def instrument(self, **_: Any) -> None:
        """Meter every call. What ``COSTGUARD_EXPORTERS`` or the program itself configures goes before OpenTelemetry."""
        state.assumed_exporters = ("otel",)
        state.instrument()

    def uninstrument(self, **_: Any) -> None:
        """Restore the SDKs."""
        state.assumed_exporters = ()
        state.uninstrument()
