"""FastAPI: each call is tagged with its route and user, each user has a budget, and a refusal becomes HTTP 429.

With a key, serve it as any other application: uvicorn examples.web_fastapi:app
"""

import openai
from fastapi import FastAPI
from starlette.testclient import TestClient

import costguard
from costguard.integrations.asgi import ASGIMiddleware, route

costguard.configure(budgets=[costguard.budget("$0.003/day", per="user", alert_at=(80,))])
costguard.instrument()

client = openai.AsyncOpenAI()
app = FastAPI()


@app.get("/chat/{topic}")
async def chat(topic: str) -> str:
    """Answer a question; nothing here knows of costguard."""
    reply = await client.chat.completions.create(
        model="gpt-4o", max_tokens=100, messages=[{"role": "user", "content": f"Tell me about {topic}."}]
    )
    return reply.choices[0].message.content or ""


def user(scope) -> str | None:
    """Who is asking: here by a header, in earnest by what your authentication put into the scope."""
    return dict(scope["headers"]).get(b"x-user", b"").decode() or None


app.add_middleware(ASGIMiddleware, route=route, user=user, refuse_with=429)


if __name__ == "__main__":
    with TestClient(app) as http:
        for name, questions in (("ada", 2), ("ben", 4)):
            for _ in range(questions):
                answer = http.get("/chat/moon", headers={"x-user": name})
                print(name, answer.status_code, answer.headers.get("retry-after", ""))
    for name in ("ada", "ben"):
        print(name, costguard.spend(user=name, route="/chat/{topic}"))
