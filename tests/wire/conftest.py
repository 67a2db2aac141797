"""What the tests with real SDKs leave behind."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from typing import Any
from weakref import WeakSet

import pytest
import wrapt

KINDS = [import_module(name).Client for name in ("httpx", "httpx2") if find_spec(name)]
"""What SDKs of today and of before send requests with."""


@pytest.fixture(autouse=True)
def _closed_clients(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Close the clients that a test leaves open: their sockets would be found by the garbage collection of whichever
    test comes next, and fail it."""
    made: WeakSet[Any] = WeakSet()

    def noted(plain: Any, client: Any, args: Any, options: Any) -> None:
        plain(*args, **options)
        made.add(client)

    for kind in KINDS:
        monkeypatch.setattr(kind, "__init__", wrapt.FunctionWrapper(kind.__init__, noted))
    yield
    for client in list(made):
        client.close()
