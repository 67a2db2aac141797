"""One adapter for each library under test, written as its own README says to use it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from importlib.util import find_spec
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


class Shekel(Adapter):
    """shekel: a block around the calls."""

    def __init__(self, cell: dict[str, Any]) -> None:
        import shekel

        super().__init__(cell)
        self.refusals = (shekel.BudgetExceededError,)
        self._budget = shekel.budget(max_usd=self.limit)

    def guarding(self) -> AbstractContextManager[Any]:
        """The block; threads of the crowd run in copies of its context."""
        return self._budget


class AgentBudget(Adapter):
    """agentbudget: one session for the process."""

    def __init__(self, cell: dict[str, Any]) -> None:
        import agentbudget

        super().__init__(cell)
        self.refusals = (agentbudget.BudgetExhausted, agentbudget.LoopDetected)
        agentbudget.init(f"${cell['limit']}")


class BudgetGuardLLM(Adapter):
    """budget-guard-llm: a wrapped client; gpt-4o is not in its table, so its price is added."""

    def __init__(self, cell: dict[str, Any]) -> None:
        import budget_guard

        super().__init__(cell)
        self.refusals = (budget_guard.BudgetExceeded,)
        prices = budget_guard.PricingTable.default()
        prices.set("openai", "gpt-4o", {"input": "2.5", "output": "10"})
        # The crowd asks one question again and again, which is no loop of an agent's.
        limits = budget_guard.Limits(daily_total=self.limit)
        budget_guard.configure(limits=limits, pricing=prices, loop_detection=None)
        self.client = budget_guard.guard(self.client, feature="crowd")
        self.aclient = budget_guard.guard(self.aclient, feature="crowd")


class FloeGuard(Adapter):
    """floe-guard: its wrapper around each call, which takes no streams; its SQLite store for several processes."""

    def __init__(self, cell: dict[str, Any]) -> None:
        import floe_guard
        from floe_guard.integrations.openai import guarded_acompletion, guarded_completion

        super().__init__(cell)
        self.refusals = (floe_guard.BudgetExceeded,)
        shared: dict[str, Any] = {}
        if cell["ledger"]:
            shared = {"store": floe_guard.SqliteStore(cell["ledger"]), "window": "utc-day"}
        self._guard = floe_guard.BudgetGuard(limit_usd=self.limit, **shared)
        self._calls = guarded_completion, guarded_acompletion

    def create(self, ask: dict[str, Any]) -> Any:
        """See `Adapter.create`."""
        return self._calls[0](self._guard, self.client, **ask)

    async def acreate(self, ask: dict[str, Any]) -> Any:
        """See `Adapter.acreate`."""
        return await self._calls[1](self._guard, self.aclient, **ask)


class AgentBudgetGuard(Adapter):
    """agent-budget-guard: a wrapped client; there is none for tasks."""

    def __init__(self, cell: dict[str, Any]) -> None:
        litellm = find_spec("litellm")
        if litellm is not None and litellm.submodule_search_locations:
            # Only for the tokenizer's data in its wheel: tiktoken would fetch it from the network.
            folder = f"{litellm.submodule_search_locations[0]}/litellm_core_utils/tokenizers"
            os.environ.setdefault("TIKTOKEN_CACHE_DIR", folder)
        from agent_budget_guard import BudgetedSession, BudgetExceededError

        super().__init__(cell)
        self.refusals = (BudgetExceededError,)
        self.client = BudgetedSession(budget_usd=self.limit).wrap_openai(self.client)

    async def acreate(self, ask: dict[str, Any]) -> Any:
        """See `Adapter.acreate`."""
        raise NotImplementedError("it wraps no asynchronous client")


class Refused(Exception):
    """An adapter's own, for a library that leaves it to its user to look."""


class LiteLLM(Adapter):
    """litellm's `max_budget`, which its own calls look at."""

    def __init__(self, cell: dict[str, Any]) -> None:
        # Its own prices, not those of the day from the network.
        os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
        import litellm

        # It writes files where it stands.
        os.chdir(tempfile.mkdtemp())
        self.cell, self.limit = cell, float(cell["limit"])
        self.litellm: Any = litellm
        litellm.suppress_debug_info = True
        self.refusals = (litellm.BudgetExceededError, Refused)
        self._how: dict[str, Any] = {"api_base": cell["base_url"], "api_key": "loopback", "num_retries": 0}
        self.begin()

    def begin(self) -> None:
        """Set the limit."""
        self.litellm.max_budget = self.limit

    def create(self, ask: dict[str, Any]) -> Any:
        """See `Adapter.create`."""
        return self.litellm.completion(**ask, **self._how)

    async def acreate(self, ask: dict[str, Any]) -> Any:
        """See `Adapter.acreate`."""
        return await self.litellm.acompletion(**ask, **self._how)

    async def aclose(self) -> None:
        """Its clients are its own."""


class LiteLLMBudgetManager(LiteLLM):
    """litellm's `BudgetManager`: look at the cost so far, call, update it."""

    def begin(self) -> None:
        """Make a budget for one user."""
        self._budgets = self.litellm.BudgetManager(project_name="crowd")
        self._budgets.create_budget(total_budget=self.limit, user="crowd")

    def create(self, ask: dict[str, Any]) -> Any:
        """See `Adapter.create`."""
        self._look()
        answer = super().create(ask)
        return self._stream(answer) if ask.get("stream") else self._update(answer)

    async def acreate(self, ask: dict[str, Any]) -> Any:
        """See `Adapter.acreate`."""
        self._look()
        answer = await super().acreate(ask)
        return self._astream(answer) if ask.get("stream") else self._update(answer)

    def _look(self) -> None:
        if self._budgets.get_current_cost(user="crowd") > self._budgets.get_total_budget("crowd"):
            raise Refused

    def _update(self, answer: Any) -> Any:
        self._budgets.update_cost(completion_obj=answer, user="crowd")
        return answer

    def _stream(self, parts: Any) -> Iterator[Any]:
        seen = []
        for part in parts:
            seen.append(part)
            yield part
        self._update(self.litellm.stream_chunk_builder(seen))

    async def _astream(self, parts: Any) -> AsyncIterator[Any]:
        seen = []
        async for part in parts:
            seen.append(part)
            yield part
        self._update(self.litellm.stream_chunk_builder(seen))


ADAPTERS: dict[str, type[Adapter]] = {
    "no guard": Adapter,
    "costguard": Costguard,
    "shekel": Shekel,
    "agentbudget": AgentBudget,
    "budget-guard-llm": BudgetGuardLLM,
    "floe-guard": FloeGuard,
    "agent-budget-guard": AgentBudgetGuard,
    "litellm BudgetManager": LiteLLMBudgetManager,
    "litellm max_budget": LiteLLM,
}


@contextmanager
def open_adapter(cell: dict[str, Any]) -> Iterator[Adapter]:
    """The adapter of the cell's library, in force."""
    adapter = ADAPTERS[cell["library"]](cell)
    with adapter.guarding():
        yield adapter


__all__ = ["ADAPTERS", "Adapter", "open_adapter"]
