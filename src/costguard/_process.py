"""Switching costguard on and off in a process, and the `budgeted` that users see."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal

from . import _scope
from ._accounts import BudgetStatus, balance_of
from ._budget import Budget
from ._config import ConfigFile, OnUnknownPrice, state
from ._guard import Mode
from ._scope import Scope
from ._settlements import OnAlert
from .optimize import Cache, Compression, Ladder, LoopGuard, OnCompress, OnDowngrade
from .ports import Exporter, Journal, Ledger


def configure(
    *,
    budgets: Iterable[Budget] = (),
    ledger: str | Ledger | None = None,
    journal: str | Journal | None = None,
    exporters: Iterable[str | Exporter] | None = None,
    tags: Mapping[str, str] | None = None,
    mode: Mode | None = None,
    on_unknown_price: OnUnknownPrice | None = None,
    on_alert: OnAlert | None = None,
    clock: Callable[[], float] | None = None,
    config: ConfigFile | None = None,
    cache: str | Cache | None = None,
    ladders: Iterable[Ladder | Sequence[str]] = (),
    on_downgrade: OnDowngrade | None = None,
    loop_guard: LoopGuard | None = None,
    compression: Compression | None = None,
    on_compress: OnCompress | None = None,
    tokenizer: bool | None = None,
) -> None:
    """Set costguard up anew: budgets, ledger, exporters. Calls in flight end in the books they began in.

    What is left out is taken from the environment, then from a configuration file, then as said below.

    Args:
        budgets: limits over any scope, made with `budget`; those of `budgeted` need not be repeated.
        ledger: where money is counted: a URL such as ``memory://`` (the default) or a ledger object.
        journal: where calls are kept to be read back by ``costguard report``: a URL such as ``sqlite:///calls.db`` or a
            journal object; without one they are only summed up.
        exporters: told of each call and alert: names such as ``stdout`` and ``jsonl``, or exporter objects.
        tags: attribution of every call that does not say otherwise, for example ``{"environment": "staging"}``.
        mode: ``enforce`` (the default), or ``observe``, which refuses nothing and notes what it would have refused.
        on_unknown_price: ``estimate`` prices a model without a price as the dearest of its family; ``raise`` refuses
            it.
        on_alert: called with an `Alert` for each threshold a budget reaches, once per window.
        clock: UTC epoch seconds, for tests; left out, the host's, kept from going back and from leaping ahead.
        config: the configuration file, or False for none; left out, ``COSTGUARD_CONFIG``, or the nearest
            ``costguard.toml`` or ``pyproject.toml`` with a ``[tool.costguard]``, from the working directory upwards.
        cache: where answers are kept that blocks with ``budgeted(cache=True)`` may be given again: a URL such as
            ``sqlite:///answers.db``, or a `Cache`, which can also name features; left out, this process's memory.
        ladders: models that can stand in for each other, the best first: for `select_model`, and for budgets with
            ``on_exceeded="downgrade"`` or ``downgrade_at=80``.
        on_downgrade: called with a `Downgrade` before a call is sent to a cheaper model; returning False forbids it.
        loop_guard: stops a request that is sent again and again, with a `LoopDetectedError`.
        compression: how prompts are made shorter, and for which features; blocks with ``budgeted(compress=True)`` have
            it too, and need no setting for what is safe.
        on_compress: called with a `Shortening` before a call is sent with a shorter prompt; returning False forbids it.
        tokenizer: reserve for the tokens of a text, and not for its bytes, where the model's tokenizer is public.

    Raises:
        ConfigError: a setting is malformed; the message says what is allowed.
    """
    state.configure(
        budgets=budgets,
        ledger=ledger,
        journal=journal,
        exporters=exporters,
        tags=tags,
        mode=mode,
        on_unknown_price=on_unknown_price,
        on_alert=on_alert,
        clock=clock,
        config=config,
        cache=cache,
        ladders=ladders,
        on_downgrade=on_downgrade,
        loop_guard=loop_guard,
        compression=compression,
        on_compress=on_compress,
        tokenizer=tokenizer,
    )


def instrument(*, executors: bool | None = None) -> bool:
    """Meter every call that the SDKs in this process make, whether their clients exist already or not.

    No SDK is imported by it; those imported later are covered then. Calling it again changes nothing.

    Args:
        executors: also let work that is given to a `concurrent.futures.ThreadPoolExecutor`, by `submit`, `map` or
            asyncio's ``run_in_executor``, belong to the scope it is submitted in, as ``costguard.wrap`` does one
            function at a time. Attribution is carried along and nothing else of the context. Left out, what
            ``executors`` in the configuration says.

    Returns:
        False when ``COSTGUARD_DISABLED`` is set and the SDKs were left untouched.
    """
    return state.instrument(executors=executors)


def uninstrument() -> None:
    """Restore the SDKs, and thread pools, exactly as they were. The books stay."""
    state.uninstrument()


class budgeted(_scope.budgeted):  # noqa: N801 - as its base
    __doc__ = _scope.budgeted.__doc__

    def __enter__(self) -> Block:
        return Block(super().__enter__())

    async def __aenter__(self) -> Block:
        return Block(super().__enter__())


class Block:
    """A ``with budgeted(...)`` block that was entered: its own books, in US dollars.

    The figures are those of the block's own limit; a block without one has none and raises `LookupError`.
    """

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    @property
    def status(self) -> BudgetStatus:
        """The books of the block's own limit."""
        return balance_of(self._scope)

    @property
    def spent(self) -> Decimal:
        """What calls in the budget's window did cost."""
        return self.status.spent

    @property
    def held(self) -> Decimal:
        """What is reserved for calls in flight."""
        return self.status.held

    @property
    def remaining(self) -> Decimal:
        """What can still be reserved."""
        return self.status.remaining
