"""What a user asks the books: spend, status, estimates, pre-call checks, and calls that no seam sees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from . import _scope
from ._budget import clean_tags
from ._catalog import Ceiling, Explanation
from ._config import state
from ._money import decimal_usd, format_usd, parse_usd
from ._tallies import Tally
from ._types import STANDARD, Balance, Call, Usage
from .errors import ConfigError
from .optimize import RUNGS, Classifier, Complexity, classify, texts


@dataclass(frozen=True, slots=True)
class Spend:
    """What calls did cost.

    Attributes:
        cost: US dollars.
        calls: how many, refused ones not counted.
        input_tokens, output_tokens: sums over them.
        estimated_calls: of which the cost is an estimate, on the dear side.
        unpriced_calls: of which some part had no price and is not in `cost`.
        refused_calls: calls that a budget refused before they were sent.
        would_block_calls: calls that observe mode let through though a budget would have refused them.
        saved: US dollars that they would have cost more without the cache and other optimisations.
    """

    cost: Decimal
    calls: int
    input_tokens: int
    output_tokens: int
    estimated_calls: int
    unpriced_calls: int
    refused_calls: int
    would_block_calls: int
    saved: Decimal = Decimal(0)

    def __str__(self) -> str:
        least = "at least " if self.unpriced_calls else ""
        calls = "1 call" if self.calls == 1 else f"{self.calls:,} calls"
        return f"{least}{format_usd(int(self.cost * 10**9))} in {calls}"


@dataclass(frozen=True, slots=True)
class BudgetStatus:
    """The books of a budget's present window; amounts in US dollars.

    Attributes:
        name, scope: which budget, and which calls it counts.
        limit, spent, held, remaining: held is reserved for calls in flight.
        percent: spent in percent of the limit.
        resets_at: when the window ends, None for never.
        paused: whether somebody paused it, so that nothing is left to reserve.

    The limit is the one in force, which `costguard.budgets` may have changed.
    """

    name: str
    scope: Mapping[str, str]
    limit: Decimal
    spent: Decimal
    held: Decimal
    remaining: Decimal
    percent: float
    resets_at: datetime | None
    paused: bool = False

    def __str__(self) -> str:
        held = f", {_usd(self.held)} held" if self.held else ""
        paused = ", paused" if self.paused else ""
        return f"{self.name}: {_usd(self.spent)} of {_usd(self.limit)} ({self.percent:.0f}%){held}{paused}"


@dataclass(frozen=True, slots=True)
class Status:
    """The books as they are now.

    Attributes:
        budgets: every known budget that applies here.
        total: the spend of all calls since the process started.
        unmetered_calls: calls that cost money which cannot be seen, by endpoint.
        mode: ``enforce`` or ``observe``.
        exporters: each with what is wrong with it, empty when nothing is.
    """

    budgets: tuple[BudgetStatus, ...]
    total: Spend
    unmetered_calls: Mapping[str, int]
    mode: str
    exporters: Mapping[str, str] = field(default_factory=dict)

    def __getitem__(self, name: str) -> BudgetStatus:
        """The budget of a name.

        Raises:
            KeyError: no budget of that name is known here; the message lists those that are.
        """
        for one in self.budgets:
            if one.name == name:
                return one
        raise KeyError(f"no budget {name!r}; known are {', '.join(repr(one.name) for one in self.budgets) or 'none'}")

    def __str__(self) -> str:
        lines = [str(one) for one in self.budgets]
        lines += [f"unmetered: {endpoint} ({count:,} calls)" for endpoint, count in self.unmetered_calls.items()]
        lines += [f"exporter {name}: {trouble}" for name, trouble in self.exporters.items() if trouble]
        return "\n".join([f"spent {self.total}", *lines])


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a call may cost, in US dollars.

    Attributes:
        least: its input alone.
        most: its input and as many output tokens as it may produce.
        assumed: whether the price is a guess because the model is unknown.
        unpriced: units that carry no price anywhere.
    """

    least: Decimal
    most: Decimal
    assumed: bool
    unpriced: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a call would be let through right now; usable as a bool.

    Attributes:
        allowed: no budget would refuse it.
        needed: the most it may cost, in US dollars.
        remaining: what is left on the tightest budget that applies, None when none does.
        budget: the name of the budget that would refuse it, else None.
    """

    allowed: bool
    needed: Decimal
    remaining: Decimal | None
    budget: str | None

    def __bool__(self) -> bool:
        return self.allowed


def spend(**tags: str) -> Spend:
    """What was spent since the process started by calls with all of these tags: ``spend(feature="search")``."""
    guard = state.guard
    guard.drain()
    total = Tally()
    for _, tally in guard.tallies.read(clean_tags(dict(tags))):
        total.merge(tally)
    return spend_of(total)


def status() -> Status:
    """The books of every budget that applies here and now."""
    guard = state.guard
    return Status(
        budgets=tuple(status_of(one) for one in guard.balances()),
        total=spend(),
        unmetered_calls=dict(guard.unmetered_calls),
        mode=guard.mode,
        exporters=guard.exports.troubles(),
    )


def balance_of(scope: _scope.Scope) -> BudgetStatus:
    """The books of the limit that a block was entered with.

    Raises:
        LookupError: the block only attributes.
    """
    outer = () if scope.parent is None else scope.parent.enclosing
    if len(scope.enclosing) == len(outer):
        raise LookupError("this block has no limit of its own; give it one with budgeted(limit=...)")
    budget, run = scope.enclosing[-1]
    guard = state.guard
    return status_of(guard.balances_of([budget.leg(scope.tags, guard.clock(), run)])[0])


def estimate(
    model: str,
    *,
    input_tokens: int | None = None,
    max_output_tokens: int | None = None,
    text: str | None = None,
    provider: str | None = None,
    tier: str = STANDARD,
) -> Estimate:
    """What a call to `model` may cost.

    Args:
        model: the model's id.
        input_tokens: how many tokens go in; or
        text: what goes in, counted as one token a byte, which no tokenizer exceeds, or exactly where
            ``configure(tokenizer=True)`` asks for it and the model's tokenizer is public.
        max_output_tokens: the cap on the answer; the model's own when left out.
        provider: who serves it; found from the model when left out.
        tier: the service tier: ``standard``, ``batch``, ``flex``, ``priority``.

    Raises:
        ConfigError: neither or both of `input_tokens` and `text` are given, or a number is negative.
    """
    ceiling = _ceiling(_call(model, input_tokens, max_output_tokens, text, provider, tier))
    return Estimate(
        least=decimal_usd(ceiling.amount(0)),
        most=decimal_usd(ceiling.amount(max_output_tokens)),
        assumed=ceiling.estimated,
        unpriced=ceiling.unpriced,
    )


def can_afford(
    model: str,
    *,
    input_tokens: int | None = None,
    max_output_tokens: int | None = None,
    text: str | None = None,
    provider: str | None = None,
    tier: str = STANDARD,
    **tags: str,
) -> Decision:
    """Whether a call would be let through right now, with these tags on top of those in force here.

    It reserves nothing, so another caller may be quicker; the call itself is checked again.

    Raises:
        ConfigError: as for `estimate`.
    """
    guard = state.guard
    amount = _ceiling(_call(model, input_tokens, max_output_tokens, text, provider, tier)).amount(max_output_tokens)
    with _scope.budgeted(**_tags(tags)):
        balances = guard.applying()
    refusals = [one for one in balances if one.leg.hard and amount > one.remaining]
    tightest = min(refusals or balances, key=lambda one: one.remaining, default=None)
    return Decision(
        allowed=not refusals or guard.mode == "observe",
        needed=decimal_usd(amount),
        remaining=None if tightest is None else decimal_usd(tightest.remaining),
        budget=tightest.leg.budget if refusals and tightest is not None else None,
    )


def track(
    model: str,
    *,
    input_tokens: int = 0,
    output_tokens: int = 0,
    cached_tokens: int = 0,
    cache_write_tokens: int = 0,
    reasoning_tokens: int = 0,
    provider: str | None = None,
    operation: str = "chat",
    tier: str = STANDARD,
    cost: Any = None,
    **tags: str,
) -> Decimal:
    """Record a call that no seam sees, and return what it cost in US dollars. It counts on budgets and is not refused.

    Args:
        model: the model's id.
        input_tokens: all tokens of the request, cached ones included.
        output_tokens: all tokens of the answer, reasoning included.
        cached_tokens, cache_write_tokens: the parts of the input read from and written to the provider's cache.
        reasoning_tokens: the part of the output that was reasoning.
        provider: who served it; found from the model when left out.
        cost: what the provider says it cost, in US dollars; it goes before any price.
        tags: attribution on top of that in force here.

    Raises:
        ConfigError: a number is negative, or parts are more than their whole.
    """
    usage = usage_of(
        input_tokens, output_tokens, cached_tokens, cache_write_tokens, reasoning_tokens, tier=tier, cost=cost
    )
    call = Call(_provider(model, provider), model, operation, tier=tier)
    with _scope.budgeted(**_tags(tags)):
        return decimal_usd(state.guard.record(call, [usage]).nano)


def usage_of(
    input_tokens: int,
    output_tokens: int,
    cached_tokens: int = 0,
    cache_write_tokens: int = 0,
    reasoning_tokens: int = 0,
    *,
    tier: str = STANDARD,
    cost: Any = None,
) -> Usage:
    """What a call was billed for, from whole numbers of tokens and parts of them; see `track`.

    Raises:
        ConfigError: a number is negative, or parts are more than their whole.
    """
    figures = {
        "input_tokens": input_tokens,
        "output_tokens": output_tokens,
        "cached_tokens": cached_tokens,
        "cache_write_tokens": cache_write_tokens,
        "reasoning_tokens": reasoning_tokens,
    }
    for name, value in figures.items():
        _check_count(name, value)
    if cached_tokens + cache_write_tokens > input_tokens or reasoning_tokens > output_tokens:
        raise ConfigError("cached and cache-write tokens are part of input_tokens, reasoning tokens of output_tokens")
    units = {
        "input": input_tokens - cached_tokens - cache_write_tokens,
        "cache_read": cached_tokens,
        "cache_write": cache_write_tokens,
        "output": output_tokens - reasoning_tokens,
        "reasoning": reasoning_tokens,
    }
    reported = None if cost is None else nano_of("cost", cost)
    return Usage({unit: count for unit, count in units.items() if count}, tier=tier, reported=reported)


def select_model(
    complexity: Complexity | None = None,
    *,
    prompt: Any = None,
    feature: str | None = None,
    classifier: Classifier = classify,
    **tags: str,
) -> str:
    """The model for a task, from the ladder of its feature: by complexity, and by what is left of the budgets.

    Where less than the ladder's `floor` is left of a budget that applies, it is the cheapest.

    Args:
        complexity: ``simple`` for the last model of the ladder, ``complex`` for the first, ``standard`` for the middle.
        prompt: a text or messages, which `classifier` judges where `complexity` is left out.
        feature: whose ladder, and whose budgets; left out, that of the block around.
        classifier: says how complex a text is; `costguard.classify` unless you have a better one.
        tags: further attribution on top of that in force here.

    Raises:
        ConfigError: there is no ladder for the feature, or neither a complexity nor a prompt is given.
    """
    if complexity is None:
        if prompt is None:
            raise ConfigError("give complexity='simple', 'standard' or 'complex', or prompt=...")
        complexity = classifier(prompt if isinstance(prompt, str) else "\n".join(texts(prompt)))
    if complexity not in RUNGS:
        raise ConfigError(f"complexity={complexity!r}: allowed are {', '.join(map(repr, RUNGS))}")
    guard = state.guard
    own = _tags(tags) if feature is None else {"feature": feature, **_tags(tags)}
    with _scope.budgeted(**own):
        wanted = guard.tags_here().get("feature")
        ladder = None if guard.tiers is None else guard.tiers.of(wanted)
        if ladder is None:
            raise ConfigError(f"no ladder for feature {wanted!r}: costguard.configure(ladders=[costguard.Ladder(...)])")
        low = ladder.floor is not None and ladder.is_low(guard.applying())
    return ladder.models[-1] if low else ladder.rung(complexity)


def explain(model: str, usage: Usage, *, provider: str | None = None, at: datetime | None = None) -> Explanation:
    """The arithmetic behind a cost: which price, which tier, which lines."""
    when = state.guard.clock() if at is None else at.timestamp()
    return state.catalog.explain(_provider(model, provider), model, [usage], when)


def flush(timeout: float = 2.0) -> None:
    """Book what dropped streams left behind and deliver what exporters have buffered."""
    state.guard.flush(timeout)


def spend_of(total: Tally) -> Spend:
    """A tally for people."""
    return Spend(
        cost=decimal_usd(total.nano),
        calls=total.calls,
        input_tokens=total.input_tokens,
        output_tokens=total.output_tokens,
        estimated_calls=total.estimated,
        unpriced_calls=total.unpriced,
        refused_calls=total.refused,
        would_block_calls=total.would_block,
        saved=decimal_usd(total.saved),
    )


def status_of(balance: Balance) -> BudgetStatus:
    """The books of a window in US dollars."""
    leg = balance.leg
    return BudgetStatus(
        name=leg.budget,
        scope=dict(leg.scope),
        limit=decimal_usd(leg.limit),
        spent=decimal_usd(balance.spent),
        held=decimal_usd(balance.held),
        remaining=decimal_usd(balance.remaining),
        percent=100 * balance.spent / leg.limit if leg.limit else 100.0,
        resets_at=None if leg.ends is None or leg.slots else datetime.fromtimestamp(leg.ends, UTC),
        paused=balance.paused,
    )


def _call(
    model: str, tokens: int | None, max_output: int | None, text: str | None, provider: str | None, tier: str
) -> Call:
    if (tokens is None) == (text is None):
        raise ConfigError("give either input_tokens= or text=")
    if text is not None:
        count = state.exact_count(model)
        tokens = len(text.encode("utf-8", "surrogatepass")) if count is None else count(text)
    _check_count("input_tokens", tokens)
    if max_output is not None:
        _check_count("max_output_tokens", max_output)
    return Call(_provider(model, provider), model, bound={"input": tokens or 0}, max_output=max_output, tier=tier)


def _ceiling(call: Call) -> Ceiling:
    return state.catalog.ceiling(call, state.guard.clock())


def _provider(model: str, provider: str | None) -> str:
    if not isinstance(model, str) or not model:
        raise ConfigError(f"model={model!r}: give the model's id, such as 'gpt-4o-mini'")
    return provider if provider is not None else state.guard.biller.of_model(model, state.guard.clock())


def _tags(tags: Mapping[str, str]) -> dict[str, Any]:
    return {str(tag): value for tag, value in tags.items()}


def _check_count(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ConfigError(f"{name}={value!r}: give a whole number of tokens, 0 or more")


def nano_of(name: str, amount: Any) -> int:
    """An amount that a user gave, in nano-dollars.

    Raises:
        ConfigError: it is no amount of money; `name` says which.
    """
    try:
        return parse_usd(amount)
    except ValueError as error:
        raise ConfigError(f"{name}: {error}") from None


def _usd(amount: Decimal) -> str:
    return format_usd(int(amount * 10**9))
