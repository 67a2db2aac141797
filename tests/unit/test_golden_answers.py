"""What answers of thirty providers cost: their usage figures, through the readers and the catalog, to the nano-dollar.

`golden_answers.jsonl` has one answer a line: who billed it, the model asked for, the day, the usage as the provider
wrote it (a list for a stream's events; `counts` are units already taken apart, of wire formats that no reader of ours
speaks), what it costs and on what basis that is known.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest

from costguard._snapshot import vendored
from costguard._types import Call, Usage
from costguard.ports import Reader
from costguard.providers._google_usage import ContentReader, InteractionReader
from costguard.providers._openai_media import ImageReader, TranscriptionReader
from costguard.providers._openai_usage import ChatReader, ResponseReader
from costguard.providers.anthropic import MessageReader

BASES: Final = {
    "agreed": "both public collections of prices come to this cost",
    "returned": "the provider returned this cost in the answer",
    "first source": "only the first collection has a price for this answer, and this is it",
    "second source": "only the second collection has a price for this answer, and this is it",
    "tier": (
        "the answer says that flex or priority was served. The first collection dates its tiers from the day it verified "
        "them, so it takes the standard rate for earlier calls; the second collection comes to our cost"
    ),
    "file search fee": "a hosted file search costs $2.50 per 1,000 calls, which neither collection counts",
    "session fee": "a code interpreter's container costs $0.03 a session, which neither collection counts",
    "searches": (
        "grounding and web searches have a fee for each. The first collection does not find them in the answer, the "
        "second takes another context size's or leaves out the tokens that the tool read"
    ),
    "iterations": (
        "an advisor's turn inside the answer costs at the advisor's own rates. The first collection leaves it out, the "
        "second takes the caller's rates"
    ),
    "gateway estimate": "a gateway of no known provider returned an estimate of its own, which is no bill",
    "router": "the router's choice is in the path or the model's suffix only; without a list of its own it is unpriced",
    "unpriced": "nobody's list has the model, or the host bills by subscription: recorded with its tokens, unpriced",
    "estimate": "a known provider's model that is not listed, so priced as the dearest of its family",
    "alone": (
        "neither collection prices this answer as it is: thoughts that only show in the total, cached tokens beside the "
        "prompt, cache writes of a reseller, characters instead of tokens, models that only our own table has"
    ),
}
"""Why each cost stands."""

READERS: Final[Mapping[str, Callable[[Call], Reader]]] = {
    "chat": ChatReader,
    "responses": ResponseReader,
    "messages": MessageReader,
    "content": ContentReader,
    "interaction": InteractionReader,
    "images": ImageReader,
    "transcription": TranscriptionReader,
}
ANSWERS: Final = [
    json.loads(line)
    for line in Path(__file__).with_name("golden_answers.jsonl").read_text(encoding="utf-8").splitlines()
]
CATALOG: Final = vendored()


def usages(answer: dict[str, Any]) -> list[Usage]:
    """What the reader makes of an answer."""
    shape, parts = answer["shape"], answer["answer"]
    if shape == "counts":
        return [Usage(parts)]
    bound = {"images": 1} if shape == "images" else {}
    reader = READERS[shape](Call(answer["provider"], answer["model"], host=answer.get("host", ""), bound=bound))
    for part in parts if isinstance(parts, list) else [parts]:
        reader.feed(part)
    assert reader.complete, answer
    return list(reader.usages())


@pytest.mark.parametrize("basis", BASES)
def test_answers_cost_what_is_known(basis: str) -> None:
    """Every answer of a basis comes to its cost; a cost that is a guess or is not known says so."""
    answers = [answer for answer in ANSWERS if answer["basis"] == basis]
    assert answers
    wrong = []
    for answer in answers:
        at = datetime.fromisoformat(f"{answer['day']}T12:00").replace(tzinfo=UTC).timestamp()
        cost = CATALOG.cost(answer["provider"], answer["model"], usages(answer), at)
        if cost.nano != answer["nano"]:
            wrong.append((answer["provider"], answer["model"], answer["day"], answer["answer"], cost, answer["nano"]))
        assert basis not in ("router", "unpriced", "gateway estimate") or cost.unpriced or not cost.nano, answer
        assert basis != "returned" or cost.nano > 0
    assert wrong == []


def test_most_answers_have_a_witness() -> None:
    """Three of five costs are the provider's own or agreed on, and they cover the shapes and the main providers."""
    bases = Counter(answer["basis"] for answer in ANSWERS)
    assert set(bases) == set(BASES)
    assert 5 * (bases["agreed"] + bases["returned"]) > 3 * len(ANSWERS)
    sure = [answer for answer in ANSWERS if answer["basis"] in ("agreed", "returned")]
    assert len({answer["provider"] for answer in sure}) > 15
    assert {answer["shape"] for answer in sure} >= {"chat", "responses", "messages", "content", "images", "counts"}
