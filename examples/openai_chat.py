"""OpenAI: two lines, a daily budget, and what happens at its limit."""

import openai

import costguard

costguard.configure(exporters=["stdout"])
costguard.instrument()


@costguard.budgeted(feature="support", limit="$0.005/day", alert_at=(50, 80))
def answer(question: str) -> str:
    """Answer with a model, or say why not."""
    reply = client.chat.completions.create(
        model="gpt-4o", max_tokens=100, messages=[{"role": "user", "content": question}]
    )
    return reply.choices[0].message.content or ""


client = openai.OpenAI()
try:
    for number in range(1, 100):
        print(f"answer {number}: {answer('How far is the moon?')[:40]}")
except costguard.BudgetExceededError as error:
    print(f"stopped by {error.budget!r}: ${error.spent} of ${error.limit} is spent, resets {error.resets_at}")
