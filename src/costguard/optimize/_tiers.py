"""Model tiering: ladders of models from the best to the cheapest, and which rung a call is for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Final

from .._catalog import Catalog
from .._ceiling import Ceiling
from .._money import parse_usd
from .._shield import shielded
from .._types import INPUT_UNITS, Balance, Call
from ..errors import ConfigError
from ..ports import Request
from ._complexity import Complexity

RUNGS: Final[Mapping[Complexity, float]] = {"complex": 0.0, "standard": 0.5, "simple": 1.0}

_OPERATIONS: Final = frozenset(("chat", "responses", "text_completion"))
"""What another model may answer in the same way; embeddings of two models cannot be compared."""

_PARTS: Final[Mapping[str, str]] = {
    "image_url": "vision",
    "input_image": "vision",
    "image": "vision",
    "input_audio": "audio_in",
    "file": "pdf",
    "input_file": "pdf",
    "document": "pdf",
}
_MEDIA: Final = (("image/", "vision"), ("audio/", "audio_in"), ("application/pdf", "pdf"))
_SCHEMAS: Final = ("json_schema", "responseSchema", "responseJsonSchema", "output_format")
_SAMPLING: Final = (
    "temperature", "top_p", "presence_penalty", "frequency_penalty", "logit_bias", "logprobs", "top_logprobs",
    "max_tokens",
)  # fmt: skip
"""Fields that OpenAI's reasoning models refuse, and its others take."""
_REFUSING: Final = frozenset(("openai", "azure"))
_REASONING: Final = ("reasoning", "reasoning_effort", "thinking", "thinkingConfig")


@dataclass(frozen=True, slots=True)
class Ladder:
    """Models of one provider that can stand in for each other, the best first, the cheapest last.

    Attributes:
        models: at least two.
        features: the features it is for; empty for all.
        floor: what has to be left of a budget that applies, as ``"20%"`` or ``"$5"``: below it `select_model` takes
            the cheapest.
    """

    models: tuple[str, ...]
    features: frozenset[str] = frozenset()
    floor: str | None = None
    _floor: tuple[int, float] = field(init=False, repr=False, compare=False, default=(0, 0.0))

    def __init__(self, *models: str, features: Iterable[str] = (), floor: str | float | Decimal | None = None) -> None:
        if len(models) < 2 or any(not isinstance(model, str) or not model for model in models):
            raise ConfigError(f"a ladder of {models!r}: give the ids of two or more models, the best first")
        wanted = [features] if isinstance(features, str) else list(features)
        object.__setattr__(self, "models", models)
        object.__setattr__(self, "features", frozenset(wanted))
        object.__setattr__(self, "floor", None if floor is None else str(floor))
        object.__setattr__(self, "_floor", _floor(floor))

    def covers(self, feature: str | None) -> bool:
        """Whether it is for this feature."""
        return not self.features or feature in self.features

    def rung(self, complexity: Complexity) -> str:
        """The model for a task: the first for a complex one, the last for a simple one, the middle one else."""
        return self.models[round(RUNGS[complexity] * (len(self.models) - 1))]

    def is_low(self, balances: Iterable[Balance]) -> bool:
        """Whether less than the floor is left on one of these budgets."""
        nano, share = self._floor
        return any(one.remaining < max(nano, share * one.leg.limit) for one in balances)


@dataclass(frozen=True, slots=True)
class Downgrade:
    """A call that is about to be sent to a cheaper model; told to ``on_downgrade``, which may return False.

    Attributes:
        asked: the model the program asked for.
        model: the cheaper one.
        tags: the call's attribution.
        call: the call as it would be sent.
    """

    asked: str
    model: str
    tags: Mapping[str, str]
    call: Call


OnDowngrade = Callable[[Downgrade], object]


def ladders(given: Iterable[Ladder | Sequence[str]]) -> tuple[Ladder, ...]:
    """Ladders as people write them; those for named features go first.

    Raises:
        ConfigError: one is no ladder.
    """
    made = []
    for one in given:
        if isinstance(one, str) or not isinstance(one, Ladder | list | tuple):
            raise ConfigError(f"ladders: {one!r} is none; write costguard.Ladder('gpt-5', 'gpt-5-mini')")
        made.append(one if isinstance(one, Ladder) else Ladder(*one))
    return tuple(sorted(made, key=lambda ladder: not ladder.features))


class Tiers:
    """Finds the next cheaper model for a call.

    Args:
        catalog: what models cost and can do.
        ladders: see `ladders`.
        on_downgrade: asked before each downgrade; False forbids it.
    """

    def __init__(self, catalog: Catalog, ladders: tuple[Ladder, ...], on_downgrade: OnDowngrade | None = None) -> None:
        self.ladders = ladders
        self._catalog = catalog
        self._on_downgrade = on_downgrade

    def of(self, feature: str | None) -> Ladder | None:
        """The ladder for a feature."""
        return next((ladder for ladder in self.ladders if ladder.covers(feature)), None)

    def cheaper(
        self, request: Request, tags: Mapping[str, str], bills: Callable[[str, float], str], at: float, call: Call
    ) -> tuple[Call, Ceiling] | None:
        """The call with the next cheaper model that can do what the request needs; None when there is none.

        Args:
            request: tells what it needs.
            tags: its attribution.
            bills: who bills a model, over this SDK and host.
            at: the instant of the prices.
            call: the call as it would be sent now.
        """
        if call.operation not in _OPERATIONS or not call.input_known:
            return None
        wanted = set(needs(request.body))
        refused = call.provider in _REFUSING and any(request.body.get(field) is not None for field in _SAMPLING)
        refused = refused and not self._reasons(call, at)
        now = self._catalog.ceiling(call, at)
        for model in self._below(call, tags.get("feature"), at):
            other = replace(call, model=model)
            if bills(model, at) != call.provider or not self._can(other, wanted, at):
                continue
            if refused and self._reasons(other, at):
                continue
            ceiling = self._catalog.ceiling(other, at)
            if ceiling.amount(call.max_output) >= now.amount(call.max_output):
                continue
            if self._vetoed(Downgrade(call.model, model, tags, other)):
                return None
            return other, ceiling
        return None

    def _below(self, call: Call, feature: str | None, at: float) -> Iterator[str]:
        """The models under this one on the first ladder that has it."""
        mine = self._id(call.provider, call.model, at)
        for ladder in self.ladders:
            if ladder.covers(feature):
                ids = [self._id(call.provider, model, at) for model in ladder.models]
                if mine and mine in ids:
                    yield from ladder.models[ids.index(mine) + 1 :]
                    return

    def _id(self, provider: str, model: str, at: float) -> str:
        match = self._catalog.match(provider, model, at)
        return "" if match is None or match.estimated else match.model.id

    def _can(self, call: Call, wanted: set[str], at: float) -> bool:
        match = self._catalog.match(call.provider, call.model, at)
        if match is None or match.estimated or not match.model.current(at):
            return False
        model = match.model
        tokens = sum(count for unit, count in call.bound.items() if unit in INPUT_UNITS)
        if model.context is not None and tokens > model.context:
            return False
        if call.max_output is not None and model.max_output is not None and call.max_output > model.max_output:
            return False
        return not wanted or wanted <= set(model.caps)

    def _reasons(self, call: Call, at: float) -> bool:
        match = self._catalog.match(call.provider, call.model, at)
        return match is not None and "reasoning" in match.model.caps

    def _vetoed(self, downgrade: Downgrade) -> bool:
        if self._on_downgrade is None:
            return False
        with shielded("calling on_downgrade"):
            return self._on_downgrade(downgrade) is False
        return True


def needs(body: Mapping[str, Any]) -> Iterator[str]:
    """What a model has to be able to do to answer a request, in the catalog's words."""
    if body.get("tools") or body.get("functions"):
        yield "tools"
    for key, value in _fields(body):
        if (key in _SCHEMAS and value) or (key == "type" and value == "json_schema"):
            yield "schema"
        elif key in _REASONING and value:
            yield "reasoning"
        elif key == "type" and isinstance(value, str) and value in _PARTS:
            yield _PARTS[value]
        elif key in ("mimeType", "mime_type", "media_type") and isinstance(value, str):
            yield from (able for kind, able in _MEDIA if value.startswith(kind))


def _fields(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield str(key), item
            yield from _fields(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _fields(item)


def _floor(given: str | float | Decimal | None) -> tuple[int, float]:
    """A floor in nano-dollars, and as a share of the limit."""
    if given is None:
        return 0, 0.0
    try:
        if isinstance(given, str) and given.strip().endswith("%"):
            share = float(given.strip()[:-1]) / 100
            if not 0 <= share <= 1:
                raise ValueError("a percentage is between 0 and 100")
            return 0, share
        return parse_usd(given), 0.0
    except ValueError as error:
        raise ConfigError(
            f"floor={given!r}: give a percentage of the limit or dollars, '20%' or '$5': {error}"
        ) from None
