"""The one place where a bug of ours is kept from the caller: logged in production, raised under pytest."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from .errors import BudgetExceededError, LedgerUnavailableError, UnknownPriceError

log: Final = logging.getLogger("costguard")

class Bugs:
    """Whether bugs of ours are raised instead of logged."""

    loud = False


bugs: Final = Bugs()
_WANTED: Final = (BudgetExceededError, UnknownPriceError, LedgerUnavailableError)


@contextmanager
def shielded(doing: str) -> Iterator[None]:
    """Keep an `Exception` raised inside from the host program; the refusals a user asked for pass through.

    With `bugs.loud`, which our own test suite sets, it is raised, so that a bug is loud exactly where it helps. A
    user's tests are not: a bug of ours must not fail theirs.
    """
    try:
        yield
    except _WANTED:
        raise
    except Exception:
        if bugs.loud:
            raise
        log.exception("costguard failed while %s; the program goes on", doing)
