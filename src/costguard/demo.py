"""The main job, offline: the real SDKs against a local provider, metered, limited, refused.

Every piece of code that the demo shows is the source of the function that it then runs.
"""

from __future__ import annotations

import inspect
import logging
import os
import textwrap
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Final, TextIO

import costguard
from costguard import Alert, CostEvent
from costguard.exporters.stdout import StdoutExporter
from costguard.ports import Exporter
from costguard.testing.loopback import LoopbackProvider

WIDTH: Final = 80
_THREADS: Final = 20
QUESTION: Final = "Our parcel has not arrived. What can you do for us?"
_ROUTED_ELSEWHERE: Final = ("GOOGLE_GENAI_USE_VERTEXAI", "GOOGLE_API_KEY", "ANTHROPIC_AUTH_TOKEN")


# -- what a program looks like that uses costguard: nothing in it but its own SDK calls -------------------------------


def ask_openai(question: str) -> Any:
    import openai

    with openai.OpenAI() as client:
        return client.chat.completions.create(model="gpt-4o", max_tokens=400, messages=_user(question))


def stream_openai(question: str) -> Iterator[Any]:
    import openai

    with openai.OpenAI() as client:
        yield from client.chat.completions.create(model="gpt-4o", max_tokens=400, messages=_user(question), stream=True)


def ask_anthropic(question: str) -> Any:
    import anthropic

    with anthropic.Anthropic() as client:
        return client.messages.create(model="claude-sonnet-5", max_tokens=400, messages=_user(question))


def stream_anthropic(question: str) -> Iterator[Any]:
    import anthropic

    with anthropic.Anthropic() as client:
        yield from client.messages.create(
            model="claude-sonnet-5", max_tokens=400, messages=_user(question), stream=True
        )


def ask_google(question: str) -> Any:
    from google import genai

    client = genai.Client()
    return client.models.generate_content(
        model="gemini-2.5-flash", contents=question, config={"max_output_tokens": 400}
    )


def stream_google(question: str) -> Iterator[Any]:
    from google import genai

    client = genai.Client()
    yield from client.models.generate_content_stream(
        model="gemini-2.5-flash", contents=question, config={"max_output_tokens": 400}
    )


def _user(question: str) -> Any:
    return [{"role": "user", "content": question}]


@dataclass(frozen=True, slots=True)
class Sdk:
    """One SDK as the demo uses it: the module, its distribution's extra, a call, a streamed call."""

    module: str
    extra: str
    ask: Callable[[str], Any]
    stream: Callable[[str], Iterator[Any]]

    @property
    def installed(self) -> bool:
        """Whether it can be imported."""
        try:
            return find_spec(self.module) is not None
        except ModuleNotFoundError:
            return False


SDKS: Final = (
    Sdk("openai", "openai", ask_openai, stream_openai),
    Sdk("anthropic", "anthropic", ask_anthropic, stream_anthropic),
    Sdk("google.genai", "google", ask_google, stream_google),
)


# -- the show ------------------------------------------------------------------------------------------------------


def demo(out: TextIO) -> int:
    """Run the demo on `out`; the exit code is 1 when no SDK is installed or the books are not the provider's."""
    sdks = [sdk for sdk in SDKS if sdk.installed]
    if not sdks:
        out.write("The demo needs at least one SDK: pip install 'costguard-ai[all]'\n")
        return 1
    began = time.monotonic()
    lines = _Lines(out)
    loopback = LoopbackProvider(input_tokens="measured", output_tokens=400, latency=0.02)
    with loopback as provider, _stage(provider, lines):
        show = _Show(out, provider, lines)
        show.opening(sdks)
        show.metering(sdks)
        show.streaming(sdks)
        show.refusing(sdks[0])
        show.crowding(sdks[0])
        same = show.closing()
    out.write(f"\nThat took {time.monotonic() - began:.1f} s and no money. Next: README.md, then docs/.\n")
    return 0 if same else 1


@contextmanager
def _stage(provider: LoopbackProvider, lines: Exporter) -> Iterator[None]:
    """Point the SDKs at the provider and costguard's lines at the page; afterwards everything is as it was."""
    before = dict(os.environ)
    for name in _ROUTED_ELSEWHERE:
        os.environ.pop(name, None)
    os.environ.update(provider.env())
    # Alerts are logged too, which a program wants and this page, where the exporter tells them, does not.
    quiet = logging.NullHandler()
    logging.getLogger("costguard").addHandler(quiet)
    costguard.configure(exporters=[lines], ledger="memory://")
    costguard.instrument()
    try:
        yield
    finally:
        costguard.uninstrument()
        costguard.configure()
        logging.getLogger("costguard").removeHandler(quiet)
        os.environ.clear()
        os.environ.update(before)


class _Lines(StdoutExporter):
    """The stdout exporter, which can be told to be quiet for a while."""

    quiet = False

    def export(self, record: CostEvent | Alert) -> None:
        if not self.quiet:
            super().export(record)


class _Show:
    """The steps, each a few lines of output."""

    def __init__(self, out: TextIO, provider: LoopbackProvider, lines: _Lines) -> None:
        self._out = out
        self._provider = provider
        self._lines = lines

    def opening(self, sdks: list[Sdk]) -> None:
        """What this is, and what is missing from it."""
        self._say("costguard demo: real SDKs, a local provider, no key and no network.")
        for sdk in SDKS:
            if sdk not in sdks:
                self._say(f"({sdk.module} is not installed: pip install 'costguard-ai[{sdk.extra}]')")

    def metering(self, sdks: list[Sdk]) -> None:
        """Plain calls of each SDK, then the same with a name on them."""
        self._step("Two lines, and every call is metered")
        self._code("import costguard\ncostguard.instrument()")
        for sdk in sdks:
            sdk.ask(QUESTION)
        self._out.write("\nWith a name on them, calls are told apart:\n\n")
        self._code('with costguard.budgeted(feature="search"):\n    ask(question)')
        with costguard.budgeted(feature="search"):
            for sdk in sdks:
                sdk.ask(QUESTION)

    def streaming(self, sdks: list[Sdk]) -> None:
        """Streamed answers: the SDK's own stream object, priced when it ends."""
        self._step("A stream is priced when it ends, however it ends")
        self._code('with costguard.budgeted(feature="chat"):\n    for part in stream(question): ...')
        with costguard.budgeted(feature="chat"):
            for sdk in sdks:
                for _ in sdk.stream(QUESTION):
                    pass

    def refusing(self, sdk: Sdk) -> None:
        """A budget fills, tells of it, and refuses."""
        ask = sdk.ask

        @costguard.budgeted(feature="faq", limit="$0.02/day", alert_at=(50, 80))
        def answer(question: str) -> Any:
            return ask(question)

        self._step("A budget fills, alerts, and refuses before the money is spent")
        self._code(textwrap.dedent(inspect.getsource(answer)))
        try:
            for _ in range(100):
                answer(QUESTION)
        except costguard.BudgetExceededError as error:
            self._out.write("\nBudgetExceededError:\n")
            self._say(str(error), indent="  ")

    def crowding(self, sdk: Sdk) -> None:
        """Many threads at one small budget."""
        ask = sdk.ask

        @costguard.budgeted(feature="batch", limit="$0.02/day", wait=5)
        def job(question: str) -> Any:
            return ask(question)

        self._step(f"{_THREADS} threads at once do not pass it either")
        self._code(textwrap.dedent(inspect.getsource(job)))
        self._lines.quiet = True
        with ThreadPoolExecutor(_THREADS) as pool:
            done = [pool.submit(job, QUESTION) for _ in range(_THREADS)]
        self._lines.quiet = False
        refused = sum(isinstance(one.exception(), costguard.BudgetExceededError) for one in done)
        answered = sum(one.exception() is None for one in done)
        self._say(f"{answered} calls were answered and {refused} refused.")

    def closing(self) -> bool:
        """The books, and whether the provider's own count agrees."""
        status, provider = costguard.status(), self._provider
        self._step("The books")
        self._out.write(f"{'budget':<28}{'spent':>12}{'held':>12}{'limit':>12}{'used':>8}\n")
        for one in status.budgets:
            self._out.write(
                f"{one.name:<28}{one.spent:>12.6f}{one.held:>12.6f}{one.limit:>12.2f}{one.percent:>7.0f}%\n"
            )
        self._out.write("\n")
        ours = (status.total.calls, status.total.input_tokens, status.total.output_tokens)
        theirs = (provider.count, provider.input_tokens, provider.output_tokens)
        for who, (calls, tokens_in, tokens_out) in (("costguard counted", ours), ("the provider billed", theirs)):
            self._out.write(f"{who:<20}{calls:>4} calls{tokens_in:>9,} tokens in{tokens_out:>9,} tokens out\n")
        self._out.write(f"{'which cost':<20} ${status.total.cost:f}\n")
        return ours == theirs

    # -- how it is written -----------------------------------------------------------------------------------------

    def _say(self, text: str, indent: str = "") -> None:
        self._out.write(textwrap.fill(text, WIDTH, initial_indent=indent, subsequent_indent=indent) + "\n")

    def _step(self, title: str) -> None:
        self._out.write(f"\n-- {title} {'-' * (WIDTH - len(title) - 4)}\n\n")

    def _code(self, code: str) -> None:
        self._out.write(textwrap.indent(code.strip(), "    ") + "\n\n")
