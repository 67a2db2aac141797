"""A request handler as any web framework has one: each user has a budget of their own, refusals become HTTP 429."""

import http
from typing import Any

import openai

import costguard

costguard.configure(budgets=[costguard.budget("$0.003/day", per="user", alert_at=(80,))])
costguard.instrument()
client = openai.OpenAI()


def handle(request: dict[str, str]) -> dict[str, Any]:
    """Answer one request."""
    try:
        with costguard.budgeted(feature="chat", user=request["user"]):
            reply = client.chat.completions.create(
                model="gpt-4o", max_tokens=100, messages=[{"role": "user", "content": request["question"]}]
            )
    except costguard.BudgetExceededError as error:
        retry = f"{error.resets_at:%a, %d %b %Y %H:%M:%S GMT}"
        return {"status": http.HTTPStatus.TOO_MANY_REQUESTS, "headers": {"Retry-After": retry}}
    return {"status": http.HTTPStatus.OK, "body": reply.choices[0].message.content}


for user, questions in (("ada", 2), ("ben", 4)):
    for _ in range(questions):
        print(user, int(handle({"user": user, "question": "How far is the moon?"})["status"]))
for user in ("ada", "ben"):
    print(user, costguard.spend(user=user))
