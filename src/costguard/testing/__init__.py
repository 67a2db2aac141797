"""Tools for testing a program that costguard guards, and what ledgers, journals, exporters and providers have to pass.

Nothing here needs pytest or Hypothesis until a contract that uses them is run.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from .contracts import ExporterContract, LedgerContract, ProviderContract
    from .fakes import FakeClock, RecordingExporter
    from .journal_contract import JournalContract
    from .loopback import LoopbackProvider, Reply

__all__ = [
    "ExporterContract",
    "FakeClock",
    "JournalContract",
    "LedgerContract",
    "LoopbackProvider",
    "ProviderContract",
    "RecordingExporter",
    "Reply",
]

_WHERE: Final = {
    "ExporterContract": "contracts",
    "FakeClock": "fakes",
    "JournalContract": "journal_contract",
    "LedgerContract": "contracts",
    "LoopbackProvider": "loopback",
    "ProviderContract": "contracts",
    "RecordingExporter": "fakes",
    "Reply": "loopback",
}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'costguard.testing' has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
