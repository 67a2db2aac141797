"""Prices: own and negotiated rates on top of the dated price files in this folder.

costguard.prices.add("my-finetune", provider="openai", input="3.00", output="12.00")
"""

from __future__ import annotations

from .._config import state

add = state.catalog.add
discount = state.catalog.discount
alias = state.catalog.alias

__all__ = ["add", "alias", "discount"]
