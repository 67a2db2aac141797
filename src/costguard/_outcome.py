"""What the calls were for: results that a program tells of, joined with what they cost."""

from __future__ import annotations

from typing import Any

from . import _scope
from ._accounts import nano_of
from ._budget import clean_tags
from ._config import state
from ._ids import ids
from ._journal import Result
from ._shield import log, shielded
from .errors import ConfigError


def outcome(name: str, *, value: Any = 0, **tags: str) -> None:
    """Tell that a piece of work is done, and what it was worth in US dollars: ``outcome("ticket_resolved", value=4)``.

    It belongs to the outermost ``budgeted`` block around it, as the block's calls do, failed ones and retries included;
    ``costguard report`` says what each outcome cost. It needs a journal, and goes nowhere without one.

    Args:
        name: what was done.
        value: what it was worth, 0 when only its cost is of interest.
        tags: attribution on top of that in force here.

    Raises:
        ConfigError: the name is empty, the value no amount of money, or a tag unusable.
    """
    if not isinstance(name, str) or not name.strip() or not name.isprintable():
        raise ConfigError(f"outcome {name!r}: give a printable name, such as 'ticket_resolved'")
    worth = nano_of("value", value)
    guard, scope = state.guard, _scope.current()
    told = {**guard.tags, **scope.tags, **clean_tags(dict(tags))}
    if guard.journal is None:
        if guard.first_time(("outcome", name)):
            log.warning("outcome %r goes nowhere: configure(journal=...) or COSTGUARD_JOURNAL says where to", name)
        return
    with shielded("recording an outcome"):
        guard.journal.record(Result(ids(), guard.clock(), name, worth, told, str(scope.run)))
