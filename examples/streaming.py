"""Streams: the SDK's own stream object, priced when it ends, also when it is left early."""

import openai

import costguard

costguard.configure(exporters=["stdout"])
costguard.instrument()
client = openai.OpenAI()

with costguard.budgeted(feature="chat", limit="$1/day"):
    stream = client.chat.completions.create(
        model="gpt-4o-mini", messages=[{"role": "user", "content": "Tell me a story."}], stream=True
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
    print(f"read to the end: {len(text)} characters")

    with client.chat.completions.create(
        model="gpt-4o-mini", messages=[{"role": "user", "content": "Tell me a story."}], stream=True
    ) as stream:
        next(iter(stream))
    print("left after one part: what was sent is charged, and what is unknown is estimated")

print(costguard.spend(feature="chat"))
