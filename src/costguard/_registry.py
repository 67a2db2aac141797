"""What is opened by a URL: the built-in ones by their scheme, and those of other packages by their entry points."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import entry_points
from pkgutil import resolve_name
from typing import Any
from urllib.parse import urlsplit

from .errors import ConfigError


def opened(what: str, group: str, builtin: Mapping[str, str], url: str) -> Any:
    """Open what a URL names.

    Args:
        what: what it is, for messages.
        group: the group of entry points in which other packages add their own.
        builtin: URL scheme to ``module:function``, where the function takes the URL. These go before entry points.
        url: such as ``memory://``.

    Raises:
        ConfigError: nothing is registered for its scheme.
        MissingExtraError: its driver is not installed.
    """
    scheme = urlsplit(url).scheme
    schemes = {point.name: point.value for point in entry_points(group=group)} | dict(builtin)
    if scheme not in schemes:
        # Not the whole URL: it may have a password in it.
        told = repr(f"{scheme}://" if scheme else url)
        raise ConfigError(f"{what} {told}: the schemes are {', '.join(f'{name}://' for name in sorted(schemes))}")
    return resolve_name(schemes[scheme])(url)
