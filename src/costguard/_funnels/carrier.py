"""What a call travels in through a Stainless SDK: it takes the place of the options' `post_parser`, and calls that."""

from __future__ import annotations

import weakref
from functools import partial
from typing import Any, Final

from .._guard import Guard
from .._meter import Meter
from ..ports import Request, Retrieval

KEY: Final = "costguard"
"""The key of a response's extensions under which its answer is found, and of a request's for its late carrier."""


class Carrier:
    """A call on its way through the SDK.

    Attributes:
        meter: what meters it; for a call that cannot be metered None, so that it is counted by one layer only.
    """

    __slots__ = ("guard", "meter", "parse", "request")

    def __init__(self, guard: Guard, meter: Meter | Retrieval | None, request: Request, parse: Any) -> None:
        self.guard = guard
        self.meter = meter
        self.request = request
        # Options that are sent again may have carried an earlier attempt.
        earlier: Any = parse.parse if isinstance(parse, LateCarrier) else parse
        self.parse: Any = earlier if callable(earlier) else None

    def __call__(self, parsed: Any) -> Any:
        return parsed if self.parse is None else self.parse(parsed)

    def __deepcopy__(self, memo: dict[int, Any]) -> Carrier:
        # Bedrock and Vertex clients copy their options deeply; a call is one call in every copy, and locks do not copy.
        return self


class LateCarrier(Carrier):
    """A call that was met when the SDK was about to send it, for this one attempt of it.

    Nothing tells when such an attempt is given up, like that of a cancelled task: it is charged when this is dropped.
    """

    __slots__ = ("__weakref__", "_dropped")

    def __init__(self, guard: Guard, meter: Meter | Retrieval | None, request: Request, parse: Any) -> None:
        super().__init__(guard, meter, request, parse)
        self._dropped: weakref.finalize[..., LateCarrier] | None = None

    def admitted(self) -> None:
        """Money is held from here on."""
        if isinstance(self.meter, Meter):
            end = partial(self.meter.failed, Unanswered(), None)
            self._dropped = weakref.finalize(self, self.guard.later, end)
            # Who leaves with a call in flight leaves its hold to the ledger, like everybody else.
            self._dropped.atexit = False

    def answered(self) -> bool:
        """There is an answer, which ends the call; False when it ended, or was answered, before."""
        return self._dropped is not None and self._dropped.detach() is not None

    def failed(self, error: BaseException, *, billed: bool | None) -> None:
        """The attempt got no answer: give back what is held for it, or charge that where it may have been billed."""
        ending = self.meter.failed(error, billed) if self.answered() and isinstance(self.meter, Meter) else None
        if ending is not None:
            self.guard.finish(ending)


class Unanswered(Exception):
    """Stands for the reason why there was no answer, where it is not known."""


class Retried(Exception):
    """Stands for an error status after which the SDK tries again."""


def carried(options: Any) -> Carrier | None:
    """The call in these options, None where they carry none, or one of an earlier attempt."""
    found = options.post_parser
    return found if isinstance(found, Carrier) and not isinstance(found, LateCarrier) else None
