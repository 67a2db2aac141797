"""``costguard prices explain``: of a model and a usage, or of a recorded call."""

from __future__ import annotations

import argparse
from typing import Any

from .._config import environment, settings, state
from .._explain import UNKNOWN, Explanation
from .._own import UNITS
from .._types import CostEvent, Usage
from ..errors import ConfigError
from ..journals import open_journal
from ._document import document, rate_usd, usd
from ._prices_common import add_model, model_of, percent_off


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the action's arguments."""
    parser.usage = "costguard prices explain MODEL UNIT=COUNT ... | --call ID"
    parser.epilog = f"Units are {', '.join(sorted(UNITS))}."
    add_model(parser, optional=True)
    parser.add_argument("usage", nargs="*", metavar="UNIT=COUNT", help="what was billed, such as input=1200 output=300")
    parser.add_argument("--tier", default="standard", help="the service tier as served: batch, flex, priority...")
    parser.add_argument("--region", help="where it was served, such as us or eu")
    parser.add_argument("--call", metavar="ID", help="a recorded call instead of a model and a usage")
    parser.add_argument("--journal", metavar="URL", help="where it is recorded; the configured journal when left out")


def run(options: argparse.Namespace) -> int:
    """Show the arithmetic."""
    about = _recorded(options) if options.call else _supposed(options)
    if options.json:
        document("costguard.prices.explain/1", about)
    else:
        from ._prices_tables import explain

        explain(about)
    return 0


def _supposed(options: argparse.Namespace) -> dict[str, Any]:
    if not options.model or not options.usage:
        raise ConfigError("explain what? For example: costguard prices explain gpt-4o input=1200 output=300")
    catalog, provider, at = model_of(options)
    usage = Usage(dict(_count(word) for word in options.usage), tier=options.tier, region=options.region)
    explanation = catalog.explain(provider, options.model, [usage], at)
    off = percent_off(catalog, provider, options.model, at)
    about = {"provider": provider, "model": options.model, "tier": options.tier, "discount_percent": off}
    return {**about, **_shown(explanation)}


def _recorded(options: argparse.Namespace) -> dict[str, Any]:
    event = recorded_call(options.call, options.journal)
    provider, model, catalog = event.call.provider, event.call.model, state.prices()
    explanation = catalog.explain(provider, model, event.usages, event.time)
    recorded = {"usd": usd(event.cost.nano), "entry": event.cost.entry, "estimated": event.cost.estimated}
    tier = ", ".join(dict.fromkeys(usage.tier for usage in event.usages))
    off = percent_off(catalog, provider, model, event.time)
    about = {"call": event.id, "provider": provider, "model": model, "tier": tier, "discount_percent": off}
    return {**about, "recorded": recorded, **_shown(explanation)}


def recorded_call(id: str, url: str | None) -> CostEvent:
    """A call of the journal.

    Raises:
        ConfigError: there is no journal, or it does not keep that call.
    """
    with opened_journal(url) as journal:
        event: CostEvent | None = journal.call(id)
    if event is None:
        raise ConfigError(f"the journal keeps no call of the id {id!r}")
    return event


class opened_journal:  # noqa: N801 - reads as a verb, with `with`
    """The journal of a URL, or the configured one, for as long as the block lasts."""

    def __init__(self, url: str | None) -> None:
        env = environment()
        named = url or env.journal or settings(env).journal
        if not named:
            raise ConfigError("no journal is configured; name one with --journal sqlite:///path/to/calls.db")
        self._journal = open_journal(named)

    def __enter__(self) -> Any:
        return self._journal

    def __exit__(self, *_: object) -> None:
        self._journal.close()


def _count(word: str) -> tuple[str, int]:
    unit, _, amount = word.partition("=")
    if unit.partition(":")[0] not in UNITS or not amount.replace("_", "").isdigit():
        raise ConfigError(f"{word!r} is no usage such as input=1200; units are {', '.join(sorted(UNITS))}")
    return unit, int(amount)


def _shown(explanation: Explanation) -> dict[str, Any]:
    return {
        "usd": usd(explanation.nano),
        "entry": explanation.cost.entry,
        "estimated": explanation.cost.estimated,
        "unpriced": list(explanation.cost.unpriced),
        "lines": [
            {
                "unit": line.unit,
                "quantity": line.quantity,
                "rate_usd": None if line.rate is None else rate_usd(line.rate),
                "usd": None if line.note == UNKNOWN else rate_usd(line.pico),
                "note": line.note,
                "entry": line.entry,
            }
            for line in explanation.lines
        ],
        "assumed": list(explanation.assumed),
        "stands_for": explanation.rolling or None,
        "source": explanation.source or None,
        "checked": explanation.checked or None,
    }
