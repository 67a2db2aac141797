"""asyncio: many calls at once, under one limit that none of them can pass."""

import asyncio

import openai

import costguard

costguard.instrument()


@costguard.budgeted(feature="translation", limit="$0.005")
async def translate_all(texts: list[str]) -> tuple[int, int]:
    """Translate what the budget of this run allows; say how many were and were not."""
    async with openai.AsyncOpenAI() as client:

        async def translate(text: str) -> None:
            await client.chat.completions.create(
                model="gpt-4o", max_tokens=100, messages=[{"role": "user", "content": f"To French: {text}"}]
            )

        results = await asyncio.gather(*(translate(text) for text in texts), return_exceptions=True)
    refused = [one for one in results if isinstance(one, costguard.BudgetExceededError)]
    return len(results) - len(refused), len(refused)


done, refused = asyncio.run(translate_all([f"sentence {number}" for number in range(20)]))
print(f"{done} translated, {refused} refused, {costguard.spend(feature='translation')}")
