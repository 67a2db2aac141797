"""Celery: a task's calls belong to the block that it was sent from. The worker here is a thread of this program."""

import celery
import openai
from celery.contrib.testing.worker import start_worker

import costguard
from costguard.integrations.celery import install

costguard.instrument()
install()

app = celery.Celery("tasks", broker="memory://", backend="cache+memory://")


@app.task
def summarise(text: str) -> str:
    """Summarise a text; nothing here knows of costguard."""
    with openai.OpenAI() as client:
        reply = client.chat.completions.create(
            model="gpt-4o-mini", max_tokens=100, messages=[{"role": "user", "content": f"Summarise: {text}"}]
        )
    return reply.choices[0].message.content or ""


if __name__ == "__main__":
    with start_worker(app, perform_ping_check=False):
        for customer in ("acme", "globex"):
            with costguard.budgeted(feature="digest", customer=customer):
                tasks = [summarise.delay(f"page {number}") for number in range(2)]
            for task in tasks:
                task.get(timeout=60)
    for customer in ("acme", "globex"):
        print(customer, costguard.spend(customer=customer, feature="digest", task=summarise.name))
