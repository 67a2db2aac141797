"""Google's google-genai: asking before a call whether it can be afforded."""

from google import genai

import costguard

costguard.configure(budgets=[costguard.budget("$0.001/day", feature="captions")], exporters=["stdout"])
costguard.instrument()
client = genai.Client()

MODEL, PROMPT, CAP = "gemini-2.5-flash", "Write a caption for a picture of a harbour.", 100

with costguard.budgeted(feature="captions"):
    while costguard.can_afford(MODEL, text=PROMPT, max_output_tokens=CAP):
        client.models.generate_content(model=MODEL, contents=PROMPT, config={"max_output_tokens": CAP})
    decision = costguard.can_afford(MODEL, text=PROMPT, max_output_tokens=CAP)

print(f"the next call may cost ${decision.needed}, and {decision.budget!r} has ${decision.remaining} left")
print(costguard.status())
