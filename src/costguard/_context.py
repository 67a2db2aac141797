"""The scope in force: an immutable value in a context variable, which blocks enter and leave."""

from __future__ import annotations

import pickle
import uuid
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar, Token
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final
from weakref import WeakValueDictionary

from ._budget import Budget
from ._period import PROCESS
from ._types import Leg

CacheWish = bool | float | None


class Run(str):
    """A run's id. As long as something holds on to it a call of that run may still come.

    Attributes:
        legs: the windows of a shared ledger that its calls were counted in here, by budget, and when the last one was.
    """

    __slots__ = ("__weakref__", "legs")

    def __init__(self, id: str) -> None:  # noqa: ARG002 - the string itself
        self.legs: dict[str, tuple[Leg, float]] = {}


class Runs:
    """The runs that began in this process, or came to it.

    Attributes:
        travelled: whether one ever went to another process or came from one. Whether it is over cannot be known here
            from then on, since it may come back.
    """

    def __init__(self) -> None:
        self.travelled = False
        self._mark = uuid.uuid4().hex[:12]
        self._alive: WeakValueDictionary[str, Run] = WeakValueDictionary()

    def forked(self) -> None:
        """In a child that was forked: it knows only of its own."""
        self._mark = uuid.uuid4().hex[:12]
        for run in self.living():
            run.legs = {}

    def begin(self) -> Run:
        """Begin one."""
        return self.arrived(self._mark + uuid.uuid4().hex[12:])

    def arrived(self, id: str) -> Run:
        """The run of this id."""
        return self._alive.setdefault(id, Run(id))

    def find(self, id: str) -> Run | None:
        """The run of this id, if a call of it may come."""
        return self._alive.get(id)

    def living(self) -> list[Run]:
        """All of them in which a call may come."""
        # `valuerefs` takes them all in one step: other threads begin and end runs meanwhile.
        return [run for reference in self._alive.valuerefs() if (run := reference()) is not None]

    def alive(self, id: str) -> bool:
        """Whether a call of this run may come, from what this process knows."""
        return id in self._alive

    def over(self, id: str) -> bool:
        """Whether no call of this run can come any more."""
        return id.startswith(self._mark) and not self.travelled and id not in self._alive


runs: Final = Runs()

PROCESS_RUN: Final = runs.arrived(f"{PROCESS}{uuid.uuid4().hex}")
"""The run that calls outside any block belong to. Its name says that it lasts."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Where a call comes from.

    Attributes:
        tags: attribution, inner blocks over outer ones.
        enclosing: the budgets of the blocks around, each with the run it was entered in.
        run: the run that ``period="run"`` budgets set with `configure` count in: the outermost block's.
        parent: the scope outside the innermost block.
        block: what entered this scope, and leaves it.
        own: the tags of the innermost block alone.
        cache: what the innermost block that says so wants of the response cache: False for nothing, True, or the
            seconds that an answer is used; None where none says anything.
        compress: whether it wants prompts made shorter; None where none says anything.
    """

    tags: Mapping[str, str] = field(default_factory=dict)
    enclosing: tuple[tuple[Budget, Run], ...] = ()
    run: Run = PROCESS_RUN
    parent: Scope | None = None
    block: object = field(default=None, repr=False, compare=False)
    own: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)
    cache: CacheWish = None
    compress: bool | None = None

    def __reduce__(self) -> str | tuple[Callable[..., Scope], tuple[object, ...]]:
        if self is NOWHERE:
            return "NOWHERE"
        # To another process goes what its calls belong to, and not the blocks here that nothing there can leave.
        runs.travelled = True
        enclosing = tuple((_portable(budget), str(run)) for budget, run in self.enclosing)
        return _arrived, (dict(self.tags), enclosing, str(self.run))


NOWHERE: Final = Scope()
"""The scope outside any block."""


def _arrived(tags: dict[str, str], enclosing: tuple[tuple[Budget, str], ...], run: str) -> Scope:
    runs.travelled = True
    inside = tuple((budget, runs.arrived(own)) for budget, own in enclosing)
    return Scope(MappingProxyType(tags), inside, runs.arrived(run))


def _portable(budget: Budget) -> Budget:
    """A function that says what happens at the limit often cannot travel: the strict answer takes its place then."""
    if callable(budget.on_exceeded):
        try:
            pickle.dumps(budget.on_exceeded)
        except (pickle.PicklingError, AttributeError, TypeError):
            return replace(budget, on_exceeded="raise")
    return budget


_current: Final[ContextVar[Scope]] = ContextVar("costguard_scope", default=NOWHERE)

current: Final = _current.get
"""Return the scope that calls made here and now belong to."""


def enter(
    tags: Mapping[str, str],
    budgets: Iterable[Budget] = (),
    block: object = None,
    cache: CacheWish = None,
    compress: bool | None = None,
) -> Scope:
    """Make a scope inside the current one the current one, and return it."""
    outer = _current.get()
    run = runs.begin()
    scope = _inside(outer, tags, tuple((budget, run) for budget in budgets), run, block, cache, compress)
    _current.set(scope)
    return scope


def leave(block: object = None) -> None:
    """Leave the innermost scope that `block` entered, and keep those that others entered since.

    By link, not by token, because a token cannot be used from another context, and blocks do not always end in the
    order in which they began: a generator that was dropped in the middle of one is closed wherever its last
    reference went away, perhaps in somebody else's block, and perhaps in a context that never was inside this one.
    """
    scope = _current.get()
    if scope.block is block:
        _current.set(scope.parent or NOWHERE)
        return
    later: list[Scope] = []
    while scope.parent is not None and scope.block is not block:
        later.append(scope)
        scope = scope.parent
    if scope.parent is None:
        return
    kept = scope.parent
    for one in reversed(later):
        assert one.parent is not None  # all of them were entered inside another
        budgets = one.enclosing[len(one.parent.enclosing) :]
        kept = _inside(kept, one.own, budgets, one.run, one.block, one.cache, one.compress)
    _current.set(kept)


def _inside(
    outer: Scope,
    tags: Mapping[str, str],
    budgets: tuple[tuple[Budget, Run], ...],
    run: Run,
    block: object,
    cache: CacheWish,
    compress: bool | None,
) -> Scope:
    return Scope(
        tags=MappingProxyType({**outer.tags, **tags}),
        enclosing=(*outer.enclosing, *budgets),
        run=run if outer is NOWHERE else outer.run,
        parent=outer,
        block=block,
        own=tags,
        cache=outer.cache if cache is None else cache,
        compress=outer.compress if compress is None else compress,
    )


class Carried:
    """Puts `scope` in place for as long as a ``with`` block runs, and then what was there before.

    One block, one object. By token: a block that a dropped coroutine never left is left wherever the coroutine is
    closed, and that context, which never was inside, stays as it is.
    """

    __slots__ = ("_token", "scope")

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self._token: Token[Scope] | None = None

    def __enter__(self) -> None:
        self._token = _current.set(self.scope)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        _back(self._token)


class Steps:
    """The scope of a generator's body, put in place around each step so that it never leaks to the consumer.

    What the body itself entered and not yet left is kept between the steps.
    """

    __slots__ = ("_begin", "_inner", "_token")

    def __init__(self, begin: Callable[[], object]) -> None:
        self._begin = begin
        self._inner: Scope | None = None
        self._token: Token[Scope] | None = None

    def __enter__(self) -> None:
        self._token = _current.set(self._inner or _current.get())
        if self._inner is None:
            self._begin()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        inner = _current.get()
        if _back(self._token):
            self._inner = inner


def _back(token: Token[Scope] | None) -> bool:
    """Put back what was in force before; False in a context that the token is not of, where nothing changes."""
    assert token is not None  # a block is entered before it is left
    try:
        _current.reset(token)
    except ValueError:
        return False
    return True
