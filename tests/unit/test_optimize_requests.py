"""Keys and entries of the response cache: equal requests have equal keys, different ones do not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from costguard._types import Call, Usage
from costguard.optimize import _answers
from costguard.optimize._entries import Entry
from costguard.optimize._requests import Rules, Unfit, canonical, check, key
from costguard.ports import Request

CALL = Call("openai", "gpt-4o")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
BODIES = st.dictionaries(st.sampled_from(["model", "messages", "seed", "stop", "tools", "x"]), JSON, max_size=5)


class Omit:
    """As the SDKs mark a parameter that was not given."""


class Message(BaseModel):
    role: str
    content: str


def made(body: dict[str, Any], secret: bytes = b"s", **more: Any) -> str:
    return key(secret, CALL, Request(body=body, host="h", path="/p", **more), (), Rules())


@given(BODIES)
def test_a_key_does_not_depend_on_order(body: dict[str, Any]) -> None:
    """Fields in another order, and tuples for lists, are the same request."""
    assert made(body) == made(dict(reversed(body.items())))
    assert made({"m": [1, {"a": 1, "b": 2}]}) == made({"m": (1, {"b": 2, "a": 1})})


@given(BODIES, BODIES)
def test_different_requests_have_different_keys(one: dict[str, Any], two: dict[str, Any]) -> None:
    """Whatever data tells apart, keys tell apart."""
    if canonical(one) != canonical(two):
        assert made(one) != made(two)


def test_a_schema_keeps_its_order() -> None:
    """A model fills a schema in the order of its properties, so the order shapes the answer."""
    assert made({"response_format": {"a": 1, "b": 2}}) != made({"response_format": {"b": 2, "a": 1}})


def test_host_path_stream_and_secret_are_part_of_the_key() -> None:
    """The same body to another place, or read in another way, is another request; another store's keys differ."""
    keys = {made({}), made({}, secret=b"t"), made({}, stream=True)}
    keys |= {key(b"s", CALL, Request(host="g", path="/p"), (), Rules())}
    keys |= {key(b"s", CALL, Request(host="h", path="/q"), (), Rules())}
    keys |= {key(b"s", CALL, Request(host="h", path="/p"), ("tenant",), Rules())}
    keys |= {key(b"s", replace(CALL, provider="azure"), Request(host="h", path="/p"), (), Rules())}
    assert 7 == len(keys)


def test_what_was_not_given_does_not_count_and_models_count_as_their_data() -> None:
    """The SDKs' marks fall away, and a message is the same as an object and as a dictionary."""
    assert made({"a": 1, "b": Omit()}) == made({"a": 1})
    message = {"role": "user", "content": "hi"}
    assert made({"messages": [Message(**message)]}) == made({"messages": [message]})
    assert made({"a": b"xy"}) != made({"a": b"xz"})


@pytest.mark.parametrize("value", [iter([1]), object(), float("nan"), open])
def test_what_is_no_plain_data_is_not_read(value: Any) -> None:
    """An iterator is left to the SDK."""
    with pytest.raises(Unfit):
        made({"a": value})


def test_what_a_user_ignores_does_not_tell_requests_apart() -> None:
    """Beside what never does: metadata and where the provider keeps its own cache."""
    assert made({"metadata": {"a": 1}, "prompt_cache_key": "x"}) == made({})
    rules = Rules(ignore=frozenset(("user",)))
    assert key(b"s", CALL, Request(body={"user": "a"}), (), rules) == key(b"s", CALL, Request(), (), rules)


@pytest.mark.parametrize("rules", [Rules(sampling=True, tools=True)])
def test_rules_let_more_in(rules: Rules) -> None:
    """Variety and tools of the caller's own, where a user says so."""
    check(CALL, Request(body={"temperature": 1, "n": 2, "tools": [{}]}), rules)
    check(replace(CALL, choices=3), Request(), rules)


@pytest.mark.parametrize(
    ("call", "body"),
    [
        (CALL, {"temperature": 0.1}),
        (CALL, {"generationConfig": {"temperature": 1}}),
        (replace(CALL, choices=2), {}),
        (CALL, {"tools": [{}]}),
        (CALL, {"store": True}),
        (CALL, {"background": True}),
        (replace(CALL, input_known=False), {}),
        (replace(CALL, operation="responses"), {}),
        (replace(CALL, operation="speech"), {}),
        (replace(CALL, output_unit="output_audio"), {}),
    ],
)
def test_what_is_not_fit_is_left_out(call: Call, body: dict[str, Any]) -> None:
    """Variety, tools, state and sound."""
    with pytest.raises(Unfit):
        check(call, Request(body=body), Rules())


@pytest.mark.parametrize(
    ("documents", "kept"),
    [
        ([{"choices": [{"finish_reason": "stop", "message": {"content": "x"}}]}], True),
        ([{"choices": [{"finish_reason": "stop", "message": {"refusal": "no"}}]}], False),
        ([{"choices": [{"finish_reason": None}]}, {"choices": [{"finish_reason": "length"}]}], False),
        ([{"choices": [{"finish_reason": None}]}], False),
        ([{"type": "message", "stop_reason": "end_turn"}], True),
        ([{"type": "message", "stop_reason": "refusal"}], False),
        ([{"type": "message_delta", "delta": {"stop_reason": "max_tokens"}}], False),
        ([{"candidates": [{"finishReason": "STOP"}]}], True),
        ([{"candidates": [{"finishReason": "SAFETY"}]}], False),
        ([{"promptFeedback": {"blockReason": "SAFETY"}}], False),
        ([{"object": "response", "status": "completed"}], True),
        ([{"object": "response", "status": "incomplete"}], False),
        ([{"type": "response.completed", "response": {"object": "response", "status": "completed"}}], True),
        ([{"error": {"message": "x"}}], False),
        ([], False),
        ([7], False),
    ],
)
def test_only_whole_and_willing_answers_are_kept(documents: list[Any], kept: bool) -> None:
    """In each provider's own words."""
    assert kept == _answers.worth_keeping(documents, operation="chat")


ENTRIES = st.builds(
    Entry,
    bodies=st.lists(st.text(), min_size=1, max_size=3).map(tuple),
    headers=st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=2),
    usages=st.lists(
        st.builds(
            Usage, st.dictionaries(st.sampled_from(["input", "output"]), st.integers(0, 9)), st.none() | st.text()
        ),
        max_size=2,
    ).map(tuple),
    model=st.text(),
    at=st.floats(0, 1e10),
    expires=st.floats(0, 1e10),
    parsed=st.booleans(),
)


@given(ENTRIES)
def test_an_entry_survives_its_text(entry: Entry) -> None:
    """What was kept is what is given again."""
    assert entry == Entry.from_json(entry.to_json())


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"v": 1}', '{"v": 99}', "null", '{"v":1,"bodies":[1],"headers":{}}'])
def test_what_is_no_entry_is_a_miss(text: str) -> None:
    """A store may hold anything; nothing in it runs or raises."""
    assert Entry.from_json(text) is None
