"""Every provider of ours, through the suite that other packages run over theirs."""

from __future__ import annotations

from typing import Any

from costguard.ports import Provider, Request
from costguard.providers import load_providers
from costguard.testing import ProviderContract

ASK: list[dict[str, Any]] = [{"role": "user", "content": "How far is the moon?"}]
TOOLS: list[dict[str, Any]] = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]


def provider(name: str) -> Provider:
    """The provider of a name, found as the package finds it."""
    return next(one for one in load_providers() if one.name == name)


class TestOpenAI(ProviderContract):
    """Chat, responses, embeddings."""

    billable = (
        Request(path="/chat/completions", body={"model": "gpt-4o", "messages": ASK, "tools": TOOLS}),
        Request(path="/chat/completions", body={"model": "gpt-4o", "messages": ASK, "stream": True}, stream=True),
        Request(path="/chat/completions", body={"model": "o3", "messages": ASK, "max_completion_tokens": 50, "n": 2}),
        Request(path="/responses", body={"model": "gpt-4o", "input": "hi", "instructions": "Be brief."}),
        Request(path="/embeddings", body={"model": "text-embedding-3-small", "input": ["a", "b"]}),
    )
    free = (Request("GET", "/models"), Request("GET", "/files/f1"))

    def make_provider(self) -> Provider:
        return provider("openai")


class TestAnthropic(ProviderContract):
    """Messages."""

    billable = (
        Request(path="/v1/messages", body={"model": "claude-sonnet-4-5", "max_tokens": 500, "messages": ASK}),
        Request(
            path="/v1/messages",
            body={"model": "claude-sonnet-4-5", "max_tokens": 500, "messages": ASK, "stream": True, "system": "x"},
            stream=True,
        ),
    )
    free = (Request("GET", "/v1/models"), Request(path="/v1/messages/count_tokens", body={"messages": ASK}))

    def make_provider(self) -> Provider:
        return provider("anthropic")


class TestEveryProvider:
    """What holds for all of them, whatever they bill."""

    def test_they_have_names_of_their_own(self) -> None:
        """Two providers of one SDK may bill for the same company, but no seam is wrapped twice."""
        seams = [(seam.module, seam.attribute) for one in load_providers() for seam in one.seams]
        assert len(seams) == len(set(seams))

    def test_each_keeps_the_promises_that_need_no_request(self) -> None:
        """Also those whose requests are tested elsewhere."""
        for one in load_providers():
            contract = type("Named", (ProviderContract,), {"make_provider": lambda self, one=one: one})()
            contract.test_it_is_a_provider()
            contract.test_each_seam_is_named_once()
            contract.test_what_was_billed_is_told_from_what_cannot_be_known()
