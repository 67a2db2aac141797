"""Where finished calls are kept to be read back. A journal is one file here and one line in `SCHEMES`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from .._journal import Correction, Extent, Group, Result, Selection, Sums
from .._registry import opened
from ..ports import Journal

__all__ = ["SCHEMES", "Correction", "Extent", "Group", "Result", "Selection", "Sums", "open_journal"]

SCHEMES: Final[Mapping[str, str]] = {
    "memory": "costguard.journals.memory:open_memory",
    "postgres": "costguard.journals.postgres:open_postgres",
    "postgresql": "costguard.journals.postgres:open_postgres",
    "sqlite": "costguard.journals.sqlite:open_sqlite",
}
"""URL scheme to ``module:function``, where the function takes the URL. Another package adds its own with an entry
point in the group ``costguard.journals``."""


def open_journal(url: str) -> Journal:
    """Open the journal that a URL such as ``sqlite:///var/lib/acme/calls.db`` names.

    Raises:
        ConfigError: no journal is registered for its scheme.
        MissingExtraError: its driver is not installed.
    """
    journal: Journal = opened("journal", "costguard.journals", SCHEMES, url)
    return journal
