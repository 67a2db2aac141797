"""Where finished calls and alerts are told. An exporter is one file here and one line in `BUILTIN`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from pkgutil import resolve_name
from typing import Final

from ..errors import ConfigError
from ..ports import Exporter

BUILTIN: Final[Mapping[str, str]] = {
    "stdout": "costguard.exporters.stdout:StdoutExporter",
    "jsonl": "costguard.exporters.stdout:jsonl_exporter",
}
"""Name to ``module:factory``. Another package adds its own with an entry point in the group ``costguard.exporters``."""


def open_exporter(exporter: str | Exporter) -> Exporter:
    """The exporter of a name, or the one given.

    Raises:
        ConfigError: no exporter has that name, or the object is none.
    """
    if not isinstance(exporter, str):
        if not isinstance(exporter, Exporter):
            raise ConfigError(f"exporter {exporter!r} lacks export(record), flush(timeout) or close()")
        return exporter
    names = {point.name: point.value for point in entry_points(group="costguard.exporters")} | dict(BUILTIN)
    if exporter not in names:
        raise ConfigError(f"exporter {exporter!r}: known are {', '.join(sorted(names))}")
    factory: Callable[[], Exporter] = resolve_name(names[exporter])
    return factory()
