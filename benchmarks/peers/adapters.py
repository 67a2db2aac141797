"""One adapter for each library under test, written as its own README says to use it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any


class Adapter:
    """A client under a guard; this one guards nothing.

    Attributes:
        refusals: what the guard raises when it refuses a call.
    """

    refusals: tuple[type[BaseException], ...] = ()

    def __init__(self, cell: dict[str, Any]) -> None:
        import openai

        self.cell = cell
        self.limit = float(cell["limit"])
        how: dict[str, Any] = {"api_key": "loopback", "base_url": cell["base_url"], "max_retries": 0, "timeout": 120}
        self.client: Any = openai.OpenAI(**how)
        self.aclient: Any = openai.AsyncOpenAI(**how)

    def create(self, ask: dict[str, Any]) -> Any:
        """Make a call."""
        return self.client.chat.completions.create(**ask)

    async def acreate(self, ask: dict[str, Any]) -> Any:
        """Make a call in a task."""
        return await self.aclient.chat.completions.create(**ask)

    async def aclose(self) -> None:
        """The loop ends."""
        await self.aclient.close()

    def guarding(self) -> AbstractContextManager[Any]:
        """In force around the whole crowd."""
        return ExitStack()

    def flush(self) -> None:
        """Write what is written behind, before any process of the crowd reads the books."""

    def books(self) -> dict[str, Any]:
        """What the guard believes was spent and is held."""
        return {}


class Costguard(Adapter):
    """costguard, its books wherever the cell says."""

    def __init__(self, cell: dict[str, Any]) -> None:
        import costguard

        super().__init__(cell)
        self.refusals = (costguard.BudgetExceededError,)
        budget = costguard.budget(f"${cell['limit']}", name="crowd", enforcement=cell["enforcement"], wait=cell["wait"])
        costguard.configure(ledger=cell["ledger"], budgets=[budget])
        costguard.instrument()
        self._costguard = costguard

    def flush(self) -> None:
        """See `Adapter.flush`."""
        self._costguard.flush(10.0)

    def books(self) -> dict[str, Any]:
        """What is spent and held by all processes."""
        books = self._costguard.status()["crowd"]
        return {"spent": str(books.spent), "held": str(books.held)}


ADAPTERS: dict[str, type[Adapter]] = {"no guard": Adapter, "costguard": Costguard}


@contextmanager
def open_adapter(cell: dict[str, Any]) -> Iterator[Adapter]:
    """The adapter of the cell's library, in force."""
    adapter = ADAPTERS[cell["library"]](cell)
    with adapter.guarding():
        yield adapter


__all__ = ["ADAPTERS", "Adapter", "open_adapter"]
