"""Prices: own and negotiated rates on top of the dated price files in this folder.

costguard.prices.add("my-finetune", provider="openai", input="3.00", output="12.00")
costguard.prices.load("prices.toml")
"""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import Any

from .._config import state
from ._written import put

add = state.catalog.add
discount = state.catalog.discount
alias = state.catalog.alias


def load(source: str | PathLike[str] | Mapping[str, Any]) -> None:
    """Set own prices that are written down: in a TOML or JSON file, or in a table, as ``[prices]`` of `costguard.toml`.

    Raises:
        ConfigError: the file cannot be read, or something in it is malformed. Nothing of it counts then.
    """
    put(state.catalog, source)


__all__ = ["add", "alias", "discount", "load"]
