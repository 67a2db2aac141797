"""Shorter prompts, and advice on the provider's prompt cache, with what they save in dollars."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from ._config import state
from ._journal import Selection
from ._money import decimal_usd
from ._types import CostEvent, Usage
from .errors import ConfigError
from .optimize import Advice, Shortened, advise, estimate_tokens, shorten


@dataclass(frozen=True, slots=True)
class Compressed:
    """A prompt made shorter.

    Attributes:
        prompt: the text or the messages, as they were given; a copy where anything differs.
        before, after: tokens of the texts in it.
        saved: US dollars that the input costs less, at the model's price; zero without a model.
        by_step: the tokens that each step saved.
        estimated: whether the tokens are a rule of thumb (four bytes each) because no tokenizer was given.
        left_alone: messages at the beginning that were not touched, because they are in the provider's cache.
        notes: what was not done, because it would have raised the bill.
    """

    prompt: Any
    before: int
    after: int
    saved: Decimal
    by_step: Mapping[str, int]
    estimated: bool
    left_alone: int
    notes: tuple[str, ...]


def compress(
    prompt: Any,
    *,
    model: str | None = None,
    provider: str | None = None,
    steps: Iterable[str] | None = None,
    phrases: Iterable[str] | Mapping[str, str] = (),
    keep_tokens: int | None = None,
    cached_tokens: int = 0,
    count: Callable[[str], int] | None = None,
) -> Compressed:
    """A prompt without what means nothing in it: the same for the same input, and again unchanged by a second time.

    Code, quotes, tables, indented lines, JSON values and whatever else whitespace could mean something in come out as
    they went in. What the provider has in its cache is left alone: messages up to the last ``cache_control`` mark, and
    those that hold `cached_tokens`, because changing them would bill them in full again.

    Args:
        prompt: a text, or messages in the shape of any of the providers.
        model: whose input price says what is saved.
        steps: which of ``trailing_space``, ``blank_lines``, ``spaces``, ``json`` (in tools' results), ``phrases``,
            ``repeats`` (long passages that stood before, replaced by a reference) and ``history``; left out, the first
            four, and those that have an argument here.
        phrases: filler to leave out of prose, or a mapping of phrases to what stands for them.
        keep_tokens: leave out the oldest turns until so many tokens are left.
        cached_tokens: input tokens that the last call of the conversation was billed as cached.
        count: a tokenizer, such as ``lambda text: len(encoding.encode(text))``; left out, the model's own where
            ``configure(tokenizer=True)`` asks for it and it is public.

    Raises:
        ConfigError: the prompt, a step or a phrase cannot be understood.
    """
    exact = count or (None if model is None else state.exact_count(model))
    counter = exact or estimate_tokens
    made: Shortened = shorten(
        prompt, steps=steps, phrases=phrases, keep_tokens=keep_tokens, cached_tokens=cached_tokens, count=counter
    )
    saved = Decimal(0)
    if model is not None and made.before > made.after:
        at = state.guard.clock()
        seller = provider if provider is not None else state.guard.biller.of_model(model, at)
        was, now = (
            state.catalog.cost(seller, model, [Usage({"input": tokens})], at).nano
            for tokens in (made.before, made.after)
        )
        saved = decimal_usd(was - now)
    return Compressed(
        prompt=made.prompt,
        before=made.before,
        after=made.after,
        saved=saved,
        by_step=made.by_step,
        estimated=exact is None,
        left_alone=made.left_alone,
        notes=made.notes,
    )


def cache_advice(events: Iterable[CostEvent] | None = None) -> list[Advice]:
    """Which features would gain from the provider's own prompt cache, and by how much at most; the largest gain first.

    It looks at how long a feature's requests were and how soon they followed each other. What stood in them is not
    recorded, so each figure is an upper bound: as if the shortest requests were all common beginning.

    Args:
        events: recorded calls; left out, those in the journal.

    Raises:
        ConfigError: there are neither events nor a journal.
    """
    if events is None:
        journal = state.guard.journal
        if journal is None:
            raise ConfigError("there is no journal to read: give events, or configure(journal='sqlite:///calls.db')")
        events = journal.calls(Selection())
    return advise(events, state.catalog)
