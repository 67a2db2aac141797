"""A program that calls models through a backend's own library: its spans go to the collector.

python backends.py OPENAI_URL logfire|langfuse
"""

from __future__ import annotations

import sys
from typing import Any

import costguard

ASK: dict[str, Any] = {"model": "gpt-4o", "max_tokens": 50, "messages": [{"role": "user", "content": "a question"}]}


def logfire_client(url: str) -> Any:
    """A client that Logfire instruments, and what flushes its spans."""
    import logfire
    import openai

    # It sends to the collector by itself, because the environment names one.
    logfire.configure(send_to_logfire=False, console=False)
    logfire.instrument_openai()
    return openai.OpenAI(api_key="x", base_url=url), logfire.force_flush


def langfuse_client(url: str) -> Any:
    """A client of Langfuse's wrapper, and what flushes its spans."""
    from langfuse import get_client
    from langfuse.openai import openai

    client = get_client()
    return openai.OpenAI(api_key="x", base_url=url), client.flush


def main(url: str, backend: str) -> None:
    """Two calls, one of them streamed."""
    costguard.instrument()
    client, flush = {"logfire": logfire_client, "langfuse": langfuse_client}[backend](url)
    costguard.configure(exporters=["otel"])
    client.chat.completions.create(**ASK)
    list(client.chat.completions.create(stream=True, **ASK))
    flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
