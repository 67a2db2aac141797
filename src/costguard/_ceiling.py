"""The most a call can cost, as a line in the output cap, so that a caller can ask both ways."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ._money import PICO_PER_NANO, nano_up
from ._rates import Sheet
from ._types import Nano, Unit, input_of

CONTEXT: Final = 1_048_576
"""Input tokens assumed for a model whose context window nobody publishes, when the input itself is not known."""
MAX_OUTPUT: Final = 128_000
"""Output tokens assumed for a model for which neither a maximum nor a context window is published."""

_PLAIN: Final = ("input", "cache_read", "cache_write")
BILLED_AS: Final[Mapping[Unit, tuple[Unit, ...]]] = {
    "input": _PLAIN,
    "cache_read": _PLAIN,
    "cache_write": _PLAIN,
    "cache_write_1h": (*_PLAIN, "cache_write_1h"),
    "cache_write_12h": (*_PLAIN, "cache_write_1h", "cache_write_12h"),
    "input_audio": (*_PLAIN, "input_audio", "cache_read_audio"),
    "cache_read_audio": (*_PLAIN, "input_audio", "cache_read_audio"),
    "input_image": (*_PLAIN, "input_image", "cache_read_image"),
    "cache_read_image": (*_PLAIN, "input_image", "cache_read_image"),
    "input_video": (*_PLAIN, "input_video", "input_image", "input_audio"),
}
"""What a token of a request's bound can turn out to be billed as.

Every provider may write a plain token into its cache unasked, but only for the shortest lifetime: a request that
asks for a longer one names those tokens ``cache_write_1h`` or ``cache_write_12h`` in its bound.
"""


@dataclass(frozen=True, slots=True)
class Ceiling:
    """The most one call can cost.

    Attributes:
        input_pico: pico-dollars of the request itself, whatever of it is cached.
        output_pico: pico-dollars of one output token of the dearest kind the answer can hold.
        model_max: the most output tokens of one answer.
        choices: how many answers were asked for.
        entry: the price entry, as in `Cost`; empty when the model has no price at all.
        estimated: the price or a size is a guess on the dear side.
        unpriced: units of the bound that carry no price anywhere, and are therefore not in the amount.
    """

    input_pico: int
    output_pico: int
    model_max: int
    choices: int = 1
    entry: str = ""
    estimated: bool = False
    unpriced: tuple[Unit, ...] = ()

    def amount(self, max_output: int | None = None) -> Nano:
        """The most the call can cost with `max_output` output tokens for each answer; None is the model's maximum."""
        cap = self.model_max if max_output is None else max(0, max_output)
        return nano_up(self.input_pico + self.choices * cap * self.output_pico)

    def expected(self, input_permille: int, output: int) -> Nano:
        """What the call costs with so much of its input's bound and `output` output tokens for each answer."""
        return nano_up(-(-self.input_pico * input_permille // 1000) + self.choices * output * self.output_pico)

    def affordable(self, nano: Nano) -> int:
        """The largest output cap for each answer with which the call costs at most `nano`.

        Zero or less when the request alone costs as much or more. Without a price for output it is the model's
        maximum, or -1 when the request alone costs more.
        """
        room = nano * PICO_PER_NANO - self.input_pico
        each = self.choices * self.output_pico
        if each == 0:
            return self.model_max if room >= 0 else -1
        return room // each


def input_pico(sheets: Sequence[Sheet], bound: Mapping[Unit, int], tokens: int) -> tuple[int, set[Unit]]:
    """The most the request can cost on any of `sheets` with up to `tokens` input tokens, and its unpriced units."""
    total, unpriced = 0, set[Unit]()
    for unit, count in bound.items():
        worst = _worst(sheets, BILLED_AS.get(unit) or (unit,), tokens)
        if worst is None:
            odd = [cost for sheet in sheets if (cost := sheet.odd_cost(unit, count)) is not None]
            if not odd:
                unpriced.add(unit)
            total += max(odd, default=0)
        else:
            total += worst * count
    spare = tokens - input_of(bound)
    if spare > 0:
        total += spare * (_worst(sheets, _PLAIN, tokens) or 0)
    return total, unpriced


def output_pico(sheets: Sequence[Sheet], unit: Unit | None, tokens: int) -> int:
    """The dearest output token on any of `sheets`; 0 for an operation without token output."""
    if unit is None:
        return 0
    return _worst(sheets, (unit, "output", "reasoning"), tokens) or 0


def _worst(sheets: Sequence[Sheet], units: tuple[Unit, ...], tokens: int) -> int | None:
    if len(sheets) == 1:
        return sheets[0].worst(units, tokens)
    return max([worst for sheet in sheets if (worst := sheet.worst(units, tokens)) is not None], default=None)
