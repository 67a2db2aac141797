"""A second door for calls that went round the first: another tool kept the SDK's `request` as it was before costguard.

Whoever holds an older `request` still runs its body, and that asks the client for ``_build_request`` before each
attempt. A call that carries nothing there is admitted there, for this attempt: a refusal comes out of ``request``
before anything is sent, and is not retried. What the attempt ends with is seen in ``_process_response``, as always, in
the two methods that judge an error status, or, where no answer came, when the SDK says so: in the delay it works out
before it tries again, and in the ``APIConnectionError`` that it makes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

from .._meter import Meter
from .._shield import shielded
from ..ports import Provider
from ..providers._stainless import never_sent
from .carrier import KEY, LateCarrier, Retried, carried
from .stainless import CurrentGuard, adjust, read, request_of

_STREAMED = ("/invoke-with-response-stream", ":streamRawPredict")


class Attempts:
    """The wrappers of one provider's SDK around each attempt of a call."""

    def __init__(self, provider: Provider, current: CurrentGuard) -> None:
        self._provider = provider
        self._current = current

    def build_request(self, wrapped: Callable[..., Any], client: Any, args: Any, kwargs: Any) -> Any:
        """Wrap ``BaseClient._build_request``. It may block an event loop for as long as a ledger takes to answer."""
        options = kwargs["options"] if "options" in kwargs else args[0]
        if carried(options) is not None:
            return wrapped(*args, **kwargs)
        late = self._met(client, options)
        if late is None or not isinstance(late.meter, Meter):
            return wrapped(*args, **kwargs)
        late.guard.bypassed(self._provider.name, limited=True)
        late.guard.driver.admit(late.meter)
        late.admitted()
        before = options.json_data, getattr(options, "extra_json", None)
        try:
            with shielded("preparing a call"):
                adjust(self._provider, late, late.meter, options)
            request = wrapped(*args, **kwargs)
        except BaseException as error:
            late.failed(error, billed=False)
            raise
        finally:
            # What is sent is built by now; older SDKs hand in the caller's own options.
            options.json_data = before[0]
            if before[1] is not None:
                options.extra_json = before[1]
        with shielded("marking an attempt"):
            request.extensions[KEY] = late
        return request

    def _met(self, client: Any, options: Any) -> LateCarrier | None:
        guard = self._current()
        if guard is None:
            return None
        with shielded("meeting an attempt"):
            body = options.json_data
            streamed = options.url.endswith(_STREAMED) or (isinstance(body, dict) and body.get("stream") is True)
            asked = request_of(client, options, streamed, guard)
            late = read(guard, self._provider, asked, options, LateCarrier)
            if late is not None:
                options.post_parser = late
            return late
        return None

    def should_retry(self, wrapped: Callable[..., Any], _client: Any, args: Any, kwargs: Any) -> Any:
        """Wrap ``BaseClient._should_retry``: the next attempt is admitted on its own."""
        again = wrapped(*args, **kwargs)
        if again:
            self._judged(args, kwargs, Retried())
        return again

    def status_error(self, wrapped: Callable[..., Any], _client: Any, args: Any, kwargs: Any) -> Any:
        """Wrap ``BaseClient._make_status_error_from_response``: an error status is not billed."""
        error = wrapped(*args, **kwargs)
        self._judged(args, kwargs, error)
        return error

    def retry_delay(self, wrapped: Callable[..., Any], _client: Any, args: Any, kwargs: Any) -> Any:
        """Wrap ``BaseClient._calculate_retry_timeout``, which the SDK calls while it handles a transport error."""
        # An error that the HTTP library did not give its request to leaves the attempt to its end.
        self._lost(getattr(sys.exc_info()[1], "_request", None))
        return wrapped(*args, **kwargs)

    def connection_error(self, wrapped: Callable[..., Any], _error: Any, args: Any, kwargs: Any) -> Any:
        """Wrap ``APIConnectionError.__init__``, which stands where the transport error is handled."""
        self._lost(kwargs.get("request"))
        return wrapped(*args, **kwargs)

    def _judged(self, args: Any, kwargs: Any, error: BaseException) -> None:
        with shielded("ending an attempt"):
            response = kwargs["response"] if "response" in kwargs else args[0]
            late = response.request.extensions.get(KEY)
            if isinstance(late, LateCarrier):
                late.failed(error, billed=False)

    def _lost(self, request: Any) -> None:
        """An attempt ended without an answer: it cost nothing when it cannot have reached the provider."""
        with shielded("ending an attempt"):
            error = sys.exc_info()[1]
            late = None if request is None else request.extensions.get(KEY)
            if error is not None and isinstance(late, LateCarrier):
                late.failed(error, billed=False if never_sent(error) else None)


KINDS: Final[Mapping[str, Callable[[Attempts], Callable[..., Any]]]] = {
    "stainless.build_request": lambda attempts: attempts.build_request,
    "stainless.should_retry": lambda attempts: attempts.should_retry,
    "stainless.status_error": lambda attempts: attempts.status_error,
    "stainless.retry_delay": lambda attempts: attempts.retry_delay,
    "stainless.connection_error": lambda attempts: attempts.connection_error,
}
"""The wrapper of each kind of seam."""
