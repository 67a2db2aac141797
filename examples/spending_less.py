"""Spending less: answers from the cache, a cheaper model near the limit, a shorter prompt, and what each saved."""

import openai

import costguard

costguard.configure(exporters=["stdout"], ladders=[costguard.Ladder("gpt-4o", "gpt-4o-mini")])
costguard.instrument()
client = openai.OpenAI()


@costguard.budgeted("faq", cache="1h")
def answer(question: str) -> str:
    reply = client.chat.completions.create(
        model="gpt-4o", max_tokens=200, messages=[{"role": "user", "content": question}]
    )
    return reply.choices[0].message.content or ""


for _ in range(3):
    answer("Where is my parcel?")

with costguard.budgeted("report", limit="$0.001", on_exceeded="downgrade"):
    client.chat.completions.create(
        model="gpt-4o", max_tokens=200, messages=[{"role": "user", "content": "Sum up our week."}]
    )

made = costguard.compress("A long report.\n\n\n\n\n\nIts end.", model="gpt-4o")
print(f"compressed from {made.before} to {made.after} tokens")
print(f"{costguard.spend()}, saved ${costguard.spend().saved:.6f}")
