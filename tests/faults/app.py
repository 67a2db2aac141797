"""A small program that asks a model for each request it is sent, in whatever server, queue or pool it runs.

It is set up by the environment: it has a process of its own, and nothing of the tests in it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qs

import openai

import costguard

BUDGET = "all"


def set_up() -> None:
    """Two lines, as in any program."""
    costguard.configure(
        ledger=os.environ["FAULTS_LEDGER"], budgets=[costguard.budget(os.environ["FAULTS_LIMIT"], name=BUDGET)]
    )
    costguard.instrument()


class _Client:
    """Made when first asked for, in the process that uses it: an SDK's client is no more forked than a connection."""

    made: tuple[int, openai.OpenAI] | None = None

    def __call__(self) -> openai.OpenAI:
        if self.made is None or self.made[0] != os.getpid():
            self.made = os.getpid(), openai.OpenAI(max_retries=0, timeout=120)
        return self.made[1]


client = _Client()


def ask(number: int) -> dict[str, Any]:
    """Make one call in a block of its own, and say what came of it and whether the block stayed its own."""
    feature = f"f{number}"
    with costguard.budgeted(feature=feature):
        try:
            client().chat.completions.create(
                model="gpt-4o", max_tokens=100, messages=[{"role": "user", "content": "hi"}]
            )
            said = "answered"
        except Exception as error:
            said = type(error).__name__
    return {"said": said, "pid": os.getpid(), "own": costguard.spend(feature=feature).calls}


def application(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
    """WSGI: ``/?n=7`` makes call seven, ``/up`` none."""
    if environ["PATH_INFO"] == "/up":
        told: dict[str, Any] = {"pid": os.getpid()}
    else:
        told = ask(int(parse_qs(environ["QUERY_STRING"])["n"][0]))
    body = json.dumps(told).encode()
    start("200 OK", [("content-type", "application/json"), ("content-length", str(len(body)))])
    return [body]


if os.environ.get("FAULTS_SET_UP", "import") == "import":
    set_up()
