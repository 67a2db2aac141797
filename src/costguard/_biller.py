"""Who bills a call: the SDK's own provider, or whoever stands behind the host it was pointed at."""

from __future__ import annotations

from typing import Final

from ._catalog import Catalog, host_provider
from ._hosts import ROUTER, routed

_FIRST: Final = ("openai", "anthropic", "google")
_MORE: Final = (
    "mistral",
    "groq",
    "x-ai",
    "deepseek",
    "cohere",
    "perplexity",
    "together",
    "fireworks",
    "aws",
    "openrouter",
)
_CACHED: Final = 4096


class Biller:
    """Finds the catalog's provider for calls and model names."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._known: dict[tuple[str, str, str], str] = {}

    def of_call(self, sdk: str, host: str, model: str, at: float) -> str:
        """The provider that bills a call made with the SDK of `sdk` to `host`.

        A known host says it. Behind an unknown one, such as a company's gateway, a model that the SDK's own provider
        sells is billed as that provider's; any other is nobody's, named by the host, and so unpriced.
        """
        key = (sdk, host, model)
        found = self._known.get(key)
        if found is None:
            known = host_provider(host)
            found = routed(known, model.lower())[0] if known else self._behind(sdk, host, model, at)
            if len(self._known) >= _CACHED:
                self._known.clear()
            self._known[key] = found
        return found

    def of_model(self, model: str, at: float) -> str:
        """The provider that sells `model`; the one with the nearest kin for an unknown name."""
        asked = routed(ROUTER, model.lower())[0]
        if asked != ROUTER and self._certain(asked, model, at):
            return asked
        for provider in (*_FIRST, *_MORE):
            if self._certain(provider, model, at):
                return provider
        closest = [
            (match.closeness, provider) for provider in _FIRST if (match := self._catalog.match(provider, model, at))
        ]
        closeness, provider = max(closest, default=(0, ""))
        return provider if closeness else ""

    def _certain(self, provider: str, model: str, at: float) -> bool:
        match = self._catalog.match(provider, model, at)
        return match is not None and not match.estimated

    def _behind(self, sdk: str, host: str, model: str, at: float) -> str:
        match = self._catalog.match(sdk, model, at)
        if not host or (match is not None and (not match.estimated or match.closeness)):
            return sdk
        return host
