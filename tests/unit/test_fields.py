"""Reading what SDKs hand out, and bounding what a request can be billed for."""

from __future__ import annotations

import json
from collections import UserDict
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from costguard.providers import _fields
from costguard.providers._bound import FRAME, PER_NODE, Bound, Unbounded


class Message(BaseModel):
    model_config = ConfigDict(extra="allow")
    role: str = "user"
    content: Any = None


@pytest.mark.parametrize(
    "holder",
    [
        {"usage": {"tokens": 5}},
        UserDict(usage=UserDict(tokens=5)),
        SimpleNamespace(usage=SimpleNamespace(tokens=5)),
        Message(usage={"tokens": 5}),
        Message.model_construct(usage=Message.model_construct(tokens=5)),
    ],
)
def test_a_field_is_found_wherever_it_is_kept(holder: Any) -> None:
    """Dictionaries, mappings, objects, and pydantic models with fields they do not know."""
    assert 5 == _fields.get(holder, "usage", "tokens") == _fields.count(holder, "usage", "tokens")
    assert {"tokens": 5}.items() <= dict(_fields.fields(_fields.get(holder, "usage"))).items()
    assert _fields.get(holder, "usage", "other") is None
    assert _fields.get(holder, "usage", "tokens", "deeper") is None


@pytest.mark.parametrize("holder", [None, 5, "text", [], object(), {}, b"x", 1.5])
def test_what_holds_no_fields_has_none(holder: Any) -> None:
    """Whatever comes instead of an answer is empty, not an error."""
    assert _fields.get(holder, "usage", "tokens") is None
    assert 0 == _fields.count(holder, "usage")
    assert [] == list(_fields.items(holder, "data"))
    assert "" == _fields.text(holder, "text")
    assert {} == dict(_fields.fields(holder))
    with pytest.raises(ValueError, match="missing"):
        _fields.required(holder, "usage")


@pytest.mark.parametrize(("value", "count"), [(None, 0), (0, 0), (7, 7), (7.0, 7)])
def test_counts_are_whole_numbers(value: Any, count: int) -> None:
    """A float that is whole is a count; null is none."""
    assert count == _fields.count({"n": value}, "n")


@pytest.mark.parametrize("value", [-1, 1.5, True, "7", [7], {}, float("nan"), float("inf"), -1.0])
def test_what_is_no_count_is_an_error(value: Any) -> None:
    """A usage that makes no sense must not be booked as one that does."""
    with pytest.raises(ValueError, match="no count"):
        _fields.count({"n": value}, "n")


@pytest.mark.parametrize("value", [None, 0, -1, True, 1.5, "7", object()])
def test_what_is_no_positive_integer_was_not_given(value: Any) -> None:
    """SDKs leave sentinels in fields that were left out."""
    assert _fields.integer({"n": value}, "n") is None
    assert 3 == _fields.integer({"n": 3}, "n")


@given(st.text())
def test_a_string_counts_by_its_bytes(text: str) -> None:
    """Lone surrogates too, which some SDKs pass through."""
    assert len(text.encode("utf-8", "surrogatepass")) == _fields.size(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


def bound_of(*values: Any) -> Bound:
    bound = Bound(lambda _: None)
    for value in values:
        bound.add(value)
    return bound


@given(JSON)
def test_a_bound_covers_the_request_as_it_is_written(value: Any) -> None:
    """No token covers less than a byte, so the bound is at least the request's own bytes, numbers included."""
    bound = bound_of(value)
    assert bound.known
    assert bound.units["input"] >= FRAME + (0 if value is None else _text_bytes(value))


def _text_bytes(value: Any) -> int:
    if isinstance(value, dict):
        return sum(_fields.size(key) + _text_bytes(item) for key, item in value.items())
    if isinstance(value, list):
        return sum(map(_text_bytes, value))
    return _fields.size(value) if isinstance(value, str) else len(json.dumps(value))


@pytest.mark.parametrize("value", [0.1234567890123456, 12345678901234567890, -(10**40), 1.7976931348623157e308])
def test_a_long_number_counts_by_its_digits(value: float) -> None:
    """A number in a tool's schema is written out, and each digit can be a token."""
    assert bound_of([value]).units["input"] >= FRAME + len(repr(value))


def test_a_list_of_token_ids_stays_cheap() -> None:
    """An embedding request may be made of token ids; each is one token."""
    assert FRAME + 2 * PER_NODE * 1000 == bound_of([99999] * 1000).units["input"]


def test_fields_a_model_does_not_know_are_billed_all_the_same() -> None:
    """An answer's message that is passed back carries what the SDK had no name for, such as its reasoning."""
    message = Message(content="hi", reasoning_content="r" * 5000)
    assert bound_of([message]).units["input"] > 5000


def test_what_was_not_given_costs_nothing() -> None:
    """None as a whole field, and the SDKs' sentinels."""
    omitted = type("NotGiven", (), {})()
    assert FRAME == bound_of(None, omitted).units["input"]


@pytest.mark.parametrize("value", [iter("abc"), object(), b"bytes", {1, 2}, (part for part in "ab")])
def test_what_cannot_be_looked_into_is_unknown(value: Any) -> None:
    """An iterator must not be used up to see how long it is: the bound is then the model's context."""
    assert not bound_of([value]).known


def test_media_count_by_the_providers_formula_and_not_by_their_bytes() -> None:
    """An image of a megabyte of base64 is billed by its tiles."""

    def media(part: Any) -> dict[str, int] | None:
        if part.get("type") == "file":
            raise Unbounded
        return {"input_image": 1445} if part.get("type") == "image" else None

    bound = Bound(media)
    bound.add([{"type": "image", "data": "x" * 10**6}, {"type": "text", "text": "hi"}])
    assert 1445 == bound.units["input_image"]
    assert bound.units["input"] < 200
    assert bound.known
    bound.add([{"type": "file", "id": "f1"}])
    assert not bound.known


def test_only_objects_that_tell_are_asked_about() -> None:
    """Asking about every object costs time; one with a telling key is media, any other is text."""
    asked: list[Any] = []
    bound = Bound(asked.append, frozenset({"image_url"}))
    bound.add([{"text": "a"}, {"image_url": "b"}])
    assert [{"image_url": "b"}] == asked
