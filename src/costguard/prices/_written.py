"""Own prices that are written down."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import Any

from .._catalog import Catalog
from .._keys import Place
from .._settings import PRICES, PriceSettings
from .._snapshot import read_table
from ..errors import ConfigError


def put(catalog: Catalog, source: str | PathLike[str] | Mapping[str, Any]) -> None:
    """Set the own prices of a file or a table; see `costguard.prices.load`."""
    table, where = (source, "prices") if isinstance(source, Mapping) else (read_table(source), str(source))
    said: PriceSettings = PRICES.read(table, Place(where))
    scratch = catalog.scratch()
    try:
        for prices in said.add:
            scratch.add(**prices)
        for less in said.discount:
            scratch.discount(**less)
        for name in said.alias:
            scratch.alias(**name)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
    catalog.adopt(scratch)
