"""Threads: a pool's threads do not inherit attribution by themselves; `wrap` carries it over."""

from concurrent.futures import ThreadPoolExecutor

import openai

import costguard

costguard.instrument()
client = openai.OpenAI()


def summarise(page: int) -> None:
    """One call."""
    client.chat.completions.create(
        model="gpt-4o-mini", max_tokens=50, messages=[{"role": "user", "content": f"Summarise page {page}."}]
    )


with costguard.budgeted(feature="reports", limit="$1"), ThreadPoolExecutor(4) as pool:
    list(pool.map(costguard.wrap(summarise), range(8)))

print(costguard.spend(feature="reports"))
