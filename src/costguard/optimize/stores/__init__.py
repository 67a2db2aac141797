"""Where the response cache keeps answers. A store is one file here and one line in `SCHEMES`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ..._registry import opened
from ...errors import ConfigError
from ...ports import AnswerStore

SCHEMES: Final[Mapping[str, str]] = {
    "memory": "costguard.optimize.stores.memory:open_memory",
    "redis": "costguard.optimize.stores.redis:open_redis",
    "rediss": "costguard.optimize.stores.redis:open_redis",
    "sqlite": "costguard.optimize.stores.sqlite:open_sqlite",
}
"""URL scheme to ``module:function``, where the function takes the URL. Another package adds its own with an entry
point in the group ``costguard.answer_stores``."""


def open_store(store: str | AnswerStore) -> AnswerStore:
    """The store that a URL names, or the one given.

    Raises:
        ConfigError: no store is registered for its scheme, or the object is none.
        MissingExtraError: its driver is not installed.
    """
    if not isinstance(store, str):
        if not isinstance(store, AnswerStore):
            raise ConfigError(f"store={store!r}: give a URL such as 'memory://', or an object with get, put, clear,"
                              " secret and close")  # fmt: skip
        return store
    found: AnswerStore = opened("store", "costguard.answer_stores", SCHEMES, store)
    return found
