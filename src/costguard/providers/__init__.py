"""The SDKs that are instrumented. A provider is one file here and one line in `BUILTIN`."""

from __future__ import annotations

from importlib.metadata import entry_points
from pkgutil import resolve_name
from typing import Final

from ..ports import Provider

BUILTIN: Final = (
    "costguard.providers.openai:OPENAI",
    "costguard.providers.anthropic:ANTHROPIC",
    "costguard.providers.google_genai:GOOGLE_GENAI",
    "costguard.providers.google_generativeai:GOOGLE_GENERATIVEAI",
)
"""``module:object`` of each. Another package adds its own with an entry point in the group ``costguard.providers``."""


def load_providers() -> list[Provider]:
    """Every provider: the built-in ones and those of installed packages."""
    paths = (*BUILTIN, *(point.value for point in entry_points(group="costguard.providers")))
    return [resolve_name(path) for path in dict.fromkeys(paths)]
