"""Exact token counts on the wire: a limit that bytes would not let a prompt through does."""

from __future__ import annotations

import openai
import pytest

import costguard
from costguard._config import state
from costguard.testing.loopback import LoopbackProvider

from ..conftest import Recorder


def test_a_prompt_is_reserved_for_by_its_tokens(provider: LoopbackProvider, recorder: Recorder) -> None:
    """Two thousand words fit under a limit that twelve thousand bytes do not, in either colour of configuration."""
    prompt = "Where is my parcel? " * 600
    ask = {"model": "gpt-4o", "max_tokens": 16, "messages": [{"role": "user", "content": prompt}]}
    with openai.OpenAI(api_key="x", base_url=provider.openai_url) as client:
        costguard.configure(exporters=[recorder], budgets=[costguard.budget("$0.02", name="tight")])
        costguard.instrument()
        try:
            with pytest.raises(costguard.BudgetExceededError):
                client.chat.completions.create(**ask)  # type: ignore[call-overload]
            costguard.configure(exporters=[recorder], budgets=[costguard.budget("$0.02", name="tight")], tokenizer=True)
            assert state.tokenizers.exact("gpt-4o") is not None
            client.chat.completions.create(**ask)  # type: ignore[call-overload]
        finally:
            costguard.uninstrument()
            costguard.configure()
    assert 1 == provider.count
    assert recorder.calls[-1].call.bound["input"] < len(prompt) / 3
    assert recorder.calls[-1].outcome == "ok"
