"""The one place where a bug of ours is kept from the caller: logged in production, raised under pytest."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Final

from .errors import BudgetExceededError, LedgerUnavailableError, UnknownPriceError

log: Final = logging.getLogger("costguard")


class Bugs:
    """Whether bugs of ours are raised instead of logged."""

    loud = False


bugs: Final = Bugs()
_WANTED: Final = (BudgetExceededError, UnknownPriceError, LedgerUnavailableError)


class shielded(AbstractContextManager[None]):  # noqa: N801 - reads as a statement
    """Keep an `Exception` raised inside from the host program; the refusals a user asked for pass through.

    With `bugs.loud`, which our own test suite sets, it is raised, so that a bug is loud exactly where it helps. A
    user's tests are not: a bug of ours must not fail theirs.
    """

    __slots__ = ("_doing",)

    def __init__(self, doing: str) -> None:
        self._doing = doing

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if error is None or bugs.loud or not isinstance(error, Exception) or isinstance(error, _WANTED):
            return False
        log.error("costguard failed while %s; the program goes on", self._doing, exc_info=error)
        return True
