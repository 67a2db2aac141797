"""The public API as a type checker sees it: checked by mypy --strict and pyright, never run."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Literal, TypeVar, assert_type, overload

import costguard
from costguard import Alert, Budget, BudgetExceededError, BudgetStatus, CostEvent, ForecastAlert, Usage

T = TypeVar("T")


# -- budgeted keeps what it decorates ------------------------------------------------------------------------------


@costguard.budgeted("search", limit="$5/day", alert_at=(50, 80.5), user="u1", customer="c1")
def plain(question: str, *, top: int = 3) -> list[str]:
    return [question] * top


@costguard.budgeted(feature="search")
async def coroutine(question: str) -> list[str]:
    return [question]


@costguard.budgeted(limit=5)
def generator(question: str) -> Generator[str, int, bool]:
    got = yield question
    return got > 0


@costguard.budgeted(limit=Decimal("0.5"))
def iterator(question: str) -> Iterator[str]:
    yield question


@costguard.budgeted(limit=0.5, on_exceeded="warn", enforcement="expected", wait=2)
async def async_generator(question: str) -> AsyncGenerator[str, int]:
    yield question


@costguard.budgeted()
async def async_iterator(question: str) -> AsyncIterator[str]:
    yield question


@costguard.budgeted("cached", cache="10m")
def cached(question: str) -> str:
    return question


costguard.configure(cache=costguard.Cache("sqlite:answers.db", features=["faq"], ttl=60, apart=("tenant",)))
assert_type(costguard.Cache().stats, costguard.CacheStats)


def embed(texts: Sequence[str], /) -> list[list[float]]:
    return [[1.0] for _ in texts]


embedding: costguard.Embed = embed
semantic = costguard.Semantic(embedding, threshold=0.9, mode="shadow", model="all-MiniLM-L6-v2")
costguard.Cache(semantic=semantic)
assert_type(semantic.report(0.8), costguard.Shadow)
assert_type(semantic.comparisons, list[costguard.Comparison])


assert_type(costguard.compress("text", model="gpt-4o", phrases=["in order to"]), costguard.Compressed)
costguard.configure(loop_guard=costguard.LoopGuard(3, "1m", features=["agent"]))
costguard.configure(tokenizer=True)


def shortens(shortening: costguard.Shortening) -> bool:
    return shortening.after < shortening.before and shortening.tags.get("feature") != "legal"


costguard.configure(
    compression=costguard.Compression(features=["chat"], phrases={"in order to": "to"}), on_compress=shortens
)


@costguard.budgeted("squeezed", compress=True)
def squeezed(question: str) -> str:
    return question


def veto(downgrade: costguard.Downgrade) -> bool:
    return downgrade.tags.get("feature") != "legal"


costguard.configure(ladders=[costguard.Ladder("gpt-5", "gpt-5-mini", floor="20%"), ["a", "b"]], on_downgrade=veto)
assert_type(costguard.select_model("simple", feature="chat"), str)


@costguard.budgeted("spared", limit="$5/day", on_exceeded="downgrade", downgrade_at=80)
def spared(question: str) -> str:
    return question


@costguard.budgeted("generic")
def same(value: T) -> T:
    return value


@overload
def either(value: int) -> int: ...
@overload
def either(value: str) -> str: ...
@costguard.budgeted("overloaded")
def either(value: int | str) -> int | str:
    return value


class Things:
    @costguard.budgeted("search")
    def method(self, question: str) -> int:
        return len(question)

    @costguard.budgeted("search")
    async def amethod(self) -> int:
        return 1

    @classmethod
    @costguard.budgeted("search")
    def made(cls, question: str) -> Things:
        return cls()

    @staticmethod
    @costguard.budgeted("search")
    def static(question: str) -> int:
        return len(question)

    @property
    @costguard.budgeted("search")
    def answer(self) -> int:
        return 42


async def decorated() -> None:
    assert_type(plain("q", top=2), list[str])
    waiting: Coroutine[Any, Any, list[str]] = coroutine("q")
    assert_type(await waiting, list[str])
    assert_type(generator("q"), Generator[str, int, bool])
    assert_type(iterator("q"), Iterator[str])
    assert_type(async_generator("q"), AsyncGenerator[str, int])
    assert_type(async_iterator("q"), AsyncIterator[str])
    async for item in async_iterator("q"):
        assert_type(item, str)
    assert_type(same(1), int)
    assert_type(same("q"), str)
    assert_type(either(1), int)
    assert_type(either("q"), str)

    things = Things()
    assert_type(things.method("q"), int)
    assert_type(Things.method(things, question="q"), int)
    assert_type(await things.amethod(), int)
    assert_type(Things.made("q"), Things)
    assert_type(Things.static("q"), int)
    assert_type(things.answer, int)

    plain(3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    plain("q", "r")  # type: ignore[call-arg, arg-type]  # pyright: ignore[reportCallIssue]
    costguard.budgeted("search")(Things().method)("q")
    costguard.budgeted("search")(7)  # type: ignore[type-var]  # pyright: ignore[reportArgumentType]
    costguard.budgeted("search", enforcement="loose")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


# -- blocks --------------------------------------------------------------------------------------------------------


async def blocks() -> None:
    with costguard.budgeted(user="u1", limit="$1") as block:
        assert_type(block.spent, Decimal)
        assert_type(block.held, Decimal)
        assert_type(block.remaining, Decimal)
        assert_type(block.status, BudgetStatus)
    async with costguard.budgeted(user="u1", limit="$1") as ablock:
        assert_type(ablock.spent, Decimal)


def returns_from_a_block() -> int:
    """A block swallows no error, so a checker knows that nothing comes after it."""
    with costguard.budgeted("search"):
        return 1


async def returns_from_an_async_block() -> int:
    async with costguard.budgeted("search"):
        return 1


def carried(pool: ThreadPoolExecutor) -> None:
    assert_type(costguard.wrap(len)("q"), int)
    assert_type(pool.submit(costguard.wrap(plain), "q", top=1), Future[list[str]])


# -- setting up ----------------------------------------------------------------------------------------------------


def told(alert: Alert) -> None:
    assert_type(alert.percent, float)
    assert_type(alert.balance.spent, int)


def told_ahead() -> None:
    (alert,) = costguard.forecast_alerts(budgets=["support"])
    assert_type(alert, ForecastAlert)
    assert_type(alert.runs_out, date)


class Exporter:
    def export(self, record: CostEvent | Alert) -> None: ...
    def flush(self, timeout: float) -> None: ...
    def close(self) -> None: ...


def refuse(error: BudgetExceededError) -> None:
    raise error


def set_up() -> None:
    budget = costguard.budget("$500/month", team="search", timezone="Europe/Berlin", on_exceeded=refuse)
    assert_type(budget, Budget)
    costguard.configure(
        budgets=[budget],
        ledger="memory://",
        exporters=["stdout", Exporter()],
        tags={"environment": "staging"},
        mode="observe",
        on_unknown_price="raise",
        on_alert=told,
    )
    costguard.configure(config="costguard.toml", on_unknown_price=None)
    costguard.configure(config=False)
    costguard.configure(mode="watch")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert_type(costguard.instrument(), bool)
    assert_type(costguard.instrument(executors=True), bool)
    costguard.uninstrument()
    costguard.flush(timeout=1)


# -- asking the books ----------------------------------------------------------------------------------------------


def ask() -> None:
    assert_type(costguard.spend(feature="search"), costguard.Spend)
    assert_type(costguard.spend().cost, Decimal)
    assert_type(costguard.spend().calls, int)
    status = costguard.status()
    assert_type(status, costguard.Status)
    assert_type(status["search"], BudgetStatus)
    assert_type(status["search"].resets_at, datetime | None)
    assert_type(status.budgets, tuple[BudgetStatus, ...])
    assert_type(status.unmetered_calls, Mapping[str, int])

    estimate = costguard.estimate("gpt-4o-mini", input_tokens=1000, max_output_tokens=100)
    assert_type(estimate.most, Decimal)
    decision = costguard.can_afford("gpt-4o-mini", text="hello", feature="search")
    assert_type(decision, costguard.Decision)
    assert_type(decision.remaining, Decimal | None)
    assert_type(bool(decision), bool)
    assert_type(costguard.outcome("ticket_resolved", value="$4", customer="c1"), None)
    moved = costguard.what_if(month="2026-10", candidates=["openai/gpt-4o-mini"], without={"*": ["vision"]}, team="a")
    assert_type(moved.saved, Decimal)
    assert_type(moved.models[0].share, float)
    assert_type(costguard.track("our-model", input_tokens=5, cost="$0.01", feature="search"), Decimal)
    costguard.explain("gpt-4o-mini", Usage({"input": 1000, "output": 10}), provider="openai")


def refused(error: BudgetExceededError) -> None:
    assert_type(error.limit, Decimal)
    assert_type(error.remaining, Decimal)
    assert_type(error.scope, Mapping[str, str])
    assert_type(error.resets_at, datetime | None)
    assert_type(error.partial, str | None)
    assert isinstance(error, costguard.CostguardError)


def event(one: CostEvent) -> None:
    assert_type(one.model, str)
    assert_type(one.cost.nano, int)
    assert_type(one.outcome, Literal["ok", "error", "unknown", "cancelled", "partial", "refused"])
    assert_type(one.tags, Mapping[str, str])


def changed() -> None:
    assert_type(costguard.budgets.set_limit("search", None, author="ada"), costguard.budgets.Change)
    assert_type(costguard.budgets.top_up("search", "$5", until="24h").until, datetime | None)
    assert_type(costguard.budgets.pause("search", reason="a loop").amount, Decimal | None)
    assert_type(costguard.budgets.resume("search").kind, Literal["limit", "top-up", "pause", "resume"])
    assert_type(costguard.budgets.history(), tuple[costguard.budgets.Change, ...])
    assert_type(costguard.budgets.every()[0].paused, bool)


names: Callable[..., object] = plain
"""A decorated function is a function."""
