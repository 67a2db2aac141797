"""Where finished calls and alerts are told. An exporter is one file here and one line in `BUILTIN`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from pkgutil import resolve_name
from typing import Any, Final

from ..errors import ConfigError
from ..ports import Exporter

BUILTIN: Final[Mapping[str, str]] = {
    "stdout": "costguard.exporters.stdout:StdoutExporter",
    "jsonl": "costguard.exporters.jsonl:jsonl_exporter",
    "otel": "costguard.exporters.otel:OtelExporter",
    "http": "costguard.exporters.http:HttpExporter",
    "webhook": "costguard.exporters.webhook:WebhookExporter",
}
"""Name to ``module:factory``. Another package adds its own with an entry point in the group ``costguard.exporters``."""


def open_exporter(exporter: str | Exporter, options: Mapping[str, Any] | None = None) -> Exporter:
    """The exporter of a name, made with `options`, or the one given.

    Raises:
        ConfigError: no exporter has that name, it does not take such options, or the object is none.
    """
    if not isinstance(exporter, str):
        if not isinstance(exporter, Exporter):
            raise ConfigError(f"exporter {exporter!r} lacks export(record), flush(timeout) or close()")
        return exporter
    names = {point.name: point.value for point in entry_points(group="costguard.exporters")} | dict(BUILTIN)
    exporter, given = _spelled(exporter, options or {})
    if exporter not in names:
        raise ConfigError(f"exporter {exporter!r}: known are {', '.join(sorted(names))}")
    factory: Callable[..., Exporter] = resolve_name(names[exporter])
    try:
        inspect.signature(factory).bind(**given)
    except TypeError as error:
        takes = ", ".join(repr(name) for name in inspect.signature(factory).parameters) or "none"
        raise ConfigError(f"exporters.{exporter}: {error}; its options are {takes}") from None
    return factory(**given)


def _spelled(exporter: str, options: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """A name and options, out of a name, a URL, or a name with the one thing it cannot do without after a colon."""
    if exporter.startswith(("http://", "https://")):
        return "http", {**options, "url": exporter}
    name, colon, rest = exporter.partition(":")
    if not colon or not rest:
        return exporter, dict(options)
    return name, {**options, "path" if name == "jsonl" else "url": rest}
