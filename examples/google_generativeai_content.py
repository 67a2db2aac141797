"""The older google-generativeai SDK: the same two lines."""

import warnings

import costguard

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it announces its own end of life on import
    import google.generativeai as genai

costguard.configure(exporters=["stdout"])
costguard.instrument()

model = genai.GenerativeModel("gemini-2.5-flash")
with costguard.budgeted(feature="legacy", limit="$1/month"):
    model.generate_content("How far is the moon?")

print(costguard.spend(feature="legacy"))
