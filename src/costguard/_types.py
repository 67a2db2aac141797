"""The records that every floor passes along: frozen, slotted, free of behaviour that could fail."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Final, Literal

INPUT_UNITS: Final = (
    "input",
    "cache_read",
    "cache_write",
    "cache_write_1h",
    "cache_write_12h",
    "input_audio",
    "input_image",
    "input_video",
    "cache_read_audio",
    "cache_read_image",
)
"""Token units of the request. Their sum is the input size that long-context rates look at."""

OUTPUT_UNITS: Final = ("output", "reasoning", "output_audio", "output_image")
"""Token units of the answer."""

_INPUT: Final = frozenset(INPUT_UNITS)
_OUTPUT: Final = frozenset(OUTPUT_UNITS)

OTHER_UNITS: Final = (
    "requests",
    "web_searches",
    "web_fetches",
    "file_searches",
    "maps_queries",
    "code_sessions",
    "rerank_searches",
    "images",
    "characters",
    "audio_seconds",
    "video_seconds",
    "pages",
)
"""What providers bill besides tokens, each counted in its own whole units."""

Unit = str
"""A name out of the three lists above. What is no token may carry a variant the price depends on, after a colon:
``images:hd-1024x1792``."""

Nano = int
"""An amount of money in nano-dollars (1e-9 USD)."""

STANDARD: Final = "standard"
"""The service tier of a plain on-demand call. Others: batch, flex, priority."""


def input_of(counts: Mapping[Unit, int]) -> int:
    """The tokens of the request among `counts`, cached ones included."""
    return sum([count for unit, count in counts.items() if unit in _INPUT])


@dataclass(frozen=True, slots=True)
class Usage:
    """What one model billed in one answer, in disjoint units: no token is counted in two of them.

    Attributes:
        counts: units with their quantities, zero ones left out.
        model: the model as served, where the answer names one.
        tier: the service tier as served: ``standard``, ``batch``, ``flex``, ``priority``...
        region: where it was served, when the price depends on it (``us``, ``eu``).
        reported: the cost in nano-dollars that the provider itself returned, or None.
        estimated: whether costguard had to guess a part (a stream that ended early, an unknown media size).
    """

    counts: Mapping[Unit, int] = field(default_factory=dict)
    model: str | None = None
    tier: str = STANDARD
    region: str | None = None
    reported: Nano | None = None
    estimated: bool = False

    @property
    def input_tokens(self) -> int:
        """All tokens of the request, cached ones included."""
        return input_of(self.counts)

    @property
    def output_tokens(self) -> int:
        """All tokens of the answer, reasoning included."""
        return sum([count for unit, count in self.counts.items() if unit in _OUTPUT])


@dataclass(frozen=True, slots=True)
class Call:
    """What is known of a call before it is sent.

    Attributes:
        provider: the catalog's name of who bills: ``openai``, ``anthropic``, ``google``...
        model: the model id as asked for.
        operation: OpenTelemetry's ``gen_ai.operation.name``: ``chat``, ``embeddings``...
        host: the host the request goes to, empty when the SDK does not say.
        stream: whether the answer is streamed.
        bound: an upper bound of every unit the request itself can cost, tokens and fees alike.
        input_known: False when the request refers to input that is not in it (a stored conversation, a file id):
            the bound is then the model's context window.
        max_output: the caller's own cap of output tokens for one choice, or None.
        choices: how many answers are asked for.
        output_unit: the dearest unit the answer can hold; None for operations with no token output.
        tier: the service tier asked for.
        cap: the request field that caps output tokens, where costguard may lower it; None where it may not.
        asks_for_usage: whether the answer reports its usage only because costguard asks for it.
    """

    provider: str
    model: str
    operation: str = "chat"
    host: str = ""
    stream: bool = False
    bound: Mapping[Unit, int] = field(default_factory=dict)
    input_known: bool = True
    max_output: int | None = None
    choices: int = 1
    output_unit: Unit | None = "output"
    tier: str = STANDARD
    cap: str | None = None
    asks_for_usage: bool = False


@dataclass(frozen=True, slots=True)
class Cost:
    """A price applied to usages.

    Attributes:
        nano: the amount in nano-dollars, rounded up once.
        entry: the price entry used, ``provider/model@start``, so that the call can be explained and re-priced;
            empty when there was none.
        estimated: the price or the usage is a guess (on the dear side).
        unpriced: units that carry no price anywhere, and are therefore not in `nano`.
    """

    nano: Nano
    entry: str = ""
    estimated: bool = False
    unpriced: tuple[Unit, ...] = ()


_new: Final = object.__new__
_set_nano, _set_entry, _set_estimated, _set_unpriced = (
    getattr(Cost, name).__set__ for name in ("nano", "entry", "estimated", "unpriced")
)


def quick_cost(nano: Nano, entry: str, estimated: bool, unpriced: tuple[Unit, ...]) -> Cost:
    """A `Cost`, made in half the time: a frozen class's own constructor would take a third of what pricing takes."""
    cost = _new(Cost)
    _set_nano(cost, nano)
    _set_entry(cost, entry)
    _set_estimated(cost, estimated)
    _set_unpriced(cost, unpriced)
    return cost


@dataclass(frozen=True, slots=True)
class Leg:
    """One window of one budget, as a call touches it.

    Attributes:
        budget: the budget's name, unique in a ledger.
        window: the window's id within the budget, the same on every host.
        limit: in nano-dollars.
        starts, ends: the window as UTC epoch seconds; ``ends`` is None when it never resets.
        hard: whether a hold that does not fit is refused; otherwise the leg only counts.
        marks: alert thresholds as (percent, nano-dollars), ascending.
        scope: the budget's scope, for messages.
        slots: for a rolling window, the number of slots it is counted in; 0 for a calendar window.
        group: for one value of a budget ``per`` a tag, the name of that budget; else empty.
    """

    budget: str
    window: str
    limit: Nano
    starts: float = 0.0
    ends: float | None = None
    hard: bool = True
    marks: tuple[tuple[float, Nano], ...] = ()
    scope: tuple[tuple[str, str], ...] = ()
    slots: int = 0
    group: str = ""

    def __hash__(self) -> int:
        # Ledgers look up what they say of a call's legs; the other seven fields hardly ever tell two apart.
        return hash((self.budget, self.window, self.limit))


@dataclass(frozen=True, slots=True)
class Hold:
    """Money reserved for one call on every window it touches.

    Attributes:
        id: made by the client before the first attempt, so that a repeated reserve is safe.
        amount: in nano-dollars, the same on every leg.
        expires: UTC epoch seconds after which nobody is expected to settle it any more.
        at: UTC epoch seconds at which it is asked for: whether a temporary top-up still counts. It may differ when
            the same hold is asked for again.
    """

    id: str
    amount: Nano
    legs: tuple[Leg, ...]
    expires: float
    at: float = field(default=0.0, compare=False)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why one leg did not take a hold; amounts in nano-dollars, of the moment of refusal.

    The leg's limit is the one in force, which amendments may have changed.
    """

    leg: Leg
    spent: Nano
    held: Nano
    needed: Nano
    paused: bool = False

    @property
    def room(self) -> Nano:
        """What is left, never below zero; nothing while the budget is paused."""
        return 0 if self.paused else max(0, self.leg.limit - self.spent - self.held)

    @property
    def reason(self) -> Literal["spent", "held", "paused"]:
        """``held`` when only other calls' holds are in the way."""
        if self.paused:
            return "paused"
        return "held" if self.spent + self.needed <= self.leg.limit else "spent"


@dataclass(frozen=True, slots=True)
class Crossing:
    """An alert threshold that a settlement reached, decided once per budget, window and mark.

    Attributes:
        leg: the window, with the limit in force.
        percent: the threshold, in percent of that limit.
        spent: in nano-dollars, right after the settlement.
    """

    leg: Leg
    percent: float
    spent: Nano


@dataclass(frozen=True, slots=True)
class Granted:
    """A ledger's answer to a step that was carried out: which thresholds it crossed."""

    crossings: tuple[Crossing, ...] = ()


@dataclass(frozen=True, slots=True)
class Refused:
    """A ledger's answer to a hold that did not fit; nothing was changed."""

    refusals: tuple[Refusal, ...]


@dataclass(frozen=True, slots=True)
class Balance:
    """The books of one window, in nano-dollars. The leg's limit is the one in force, which amendments may have
    changed."""

    leg: Leg
    spent: Nano
    held: Nano
    paused: bool = False

    @property
    def remaining(self) -> Nano:
        """What can still be reserved, never below zero; nothing while the budget is paused."""
        return 0 if self.paused else max(0, self.leg.limit - self.spent - self.held)


@dataclass(frozen=True, slots=True)
class Amendment:
    """A change to a budget that somebody made beside the program: kept by the ledger, in force for all who share it.

    Attributes:
        id: its own; the same amendment sent twice counts once.
        budget: the budget's name; for a budget ``per`` a tag, its own or that of one value.
        kind: ``limit`` sets a limit in place of the program's, ``top-up`` adds to it for a while, ``pause`` lets
            nothing more be spent, ``resume`` ends that.
        at: UTC epoch seconds at which it was made.
        amount: nano-dollars: the new limit, None for the program's own again, or what is added.
        until: UTC epoch seconds at which a top-up ends.
        author, reason: who made it and why, for those who read it later.
    """

    id: str
    budget: str
    kind: Literal["limit", "top-up", "pause", "resume"]
    at: float
    amount: Nano | None = None
    until: float | None = None
    author: str = ""
    reason: str = ""


Outcome = Literal["ok", "error", "unknown", "cancelled", "partial", "refused"]
"""How a call ended: answered; failed and not billed; failed after it was sent, so perhaps billed;
cancelled by the caller; a stream that ended early; refused by a budget before it was sent."""


Decision = Literal["allowed", "compressed", "downgraded", "cache_hit", "blocked"]
"""What was decided before a call: sent as it was or with a lower output cap; sent with a shorter prompt; sent to a
cheaper model, with a shorter prompt or not; answered from the response cache; refused."""


@dataclass(frozen=True, slots=True)
class CostEvent:
    """One call, as exporters and journals see it. It never holds a prompt, an answer or a key.

    Attributes:
        id: the call's id, the same as its hold's.
        time: UTC epoch seconds at which the call was priced.
        duration: seconds from the reservation to the end of the answer.
        call: what was asked for.
        usages: what was billed, one usage for each answer inside the call.
        cost: what it cost.
        held: the nano-dollars that were reserved for it.
        tags: its attribution: feature, team, environment, user and any other tag.
        budgets: the names of the budgets that counted it.
        outcome: how it ended.
        error: the class name of the error it ended with, or None.
        would_block: in observe mode, the budgets that would have refused it.
        decision: what was decided before it.
        asked: the model the program asked for, where another one was sent; else empty.
        saved: the nano-dollars that it cost less than it would have without costguard's optimisations.
        fingerprint: a keyed hash of the request, the same for equal requests; empty where it is not wanted.
        run: the outermost attributed block it was made in, which joins the calls of one piece of work.
    """

    id: str
    time: float
    duration: float
    call: Call
    usages: tuple[Usage, ...]
    cost: Cost
    held: Nano = 0
    tags: Mapping[str, str] = field(default_factory=dict)
    budgets: tuple[str, ...] = ()
    outcome: Outcome = "ok"
    error: str | None = None
    would_block: tuple[str, ...] = ()
    decision: Decision = "allowed"
    asked: str = ""
    saved: Nano = 0
    fingerprint: str = ""
    run: str = ""

    @property
    def model(self) -> str:
        """The model as served, else as asked for."""
        return next((usage.model for usage in self.usages if usage.model), self.call.model)

    @property
    def overrun(self) -> Nano:
        """What it cost beyond what was held for it; 0 where nothing was held."""
        return max(0, self.cost.nano - self.held) if self.held else 0


@dataclass(frozen=True, slots=True)
class Alert:
    """A budget reached a threshold; sent once per budget, window and threshold.

    Attributes:
        id: ``budget/window/percent``, for receivers that must not act twice.
        time: UTC epoch seconds.
        percent: the threshold reached, in percent of the limit.
        balance: the window's books at that moment.
    """

    id: str
    time: float
    percent: float
    balance: Balance


@dataclass(frozen=True, slots=True)
class ForecastAlert(Alert):
    """A budget is on course to be exhausted before it resets; told once per budget and window, and once more when the
    day moves by more than two days. Its `percent` is the part of the limit that is spent.

    Attributes:
        runs_out: the day on which the limit is expected to be reached, in the budget's time zone.
        resets: the day on which the window ends, None when it never does.
        burn: what a day is expected to cost, in nano-dollars, None when that is not known.
    """

    runs_out: date
    resets: date | None = None
    burn: Nano | None = None
