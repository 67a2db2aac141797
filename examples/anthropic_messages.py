"""Anthropic: attribution without a limit, and what each team and feature spent."""

import anthropic

import costguard

costguard.instrument()
client = anthropic.Anthropic()


def ask(question: str) -> None:
    """One call; it knows nothing of costguard."""
    client.messages.create(model="claude-sonnet-5", max_tokens=200, messages=[{"role": "user", "content": question}])


with costguard.budgeted(team="web"):
    with costguard.budgeted(feature="search"):
        ask("What is in this box?")
    with costguard.budgeted(feature="summary"):
        ask("Say that shorter.")
        ask("Even shorter.")

print("team web       ", costguard.spend(team="web"))
print("feature summary", costguard.spend(feature="summary"))
print("everything     ", costguard.status())
