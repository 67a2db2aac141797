"""Compression changes nothing that could mean something, does the same each time, and leaves cached prefixes alone."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import costguard
from costguard._types import Call
from costguard.errors import ConfigError
from costguard.optimize import Compressor, shorten
from costguard.ports import Request

WORDS = st.sampled_from(
    ["please", "the", "report", "is", "über", "日本語の文", "don't", "a", "long", "sentence.", "Ende:"]
)
GAPS = st.sampled_from([" ", "  ", "    ", " \u3000", "\u00a0"])
LINE = st.lists(st.tuples(WORDS, GAPS), max_size=12).map(lambda pairs: "".join(word + gap for word, gap in pairs))
PROSE = st.lists(LINE, max_size=4).map("\n".join)
CODE = st.text(alphabet="ab(): \n\t\"'#", max_size=40).map(lambda code: f"```python\n{code}\n```")
QUOTE = st.text(alphabet="ab  \n", max_size=20).map(lambda text: f'"{text}"')
GERMAN = st.text(alphabet="äb  \n", max_size=20).map(lambda text: f"„{text}“")
TABLE = st.just("| a  |  b |\n|----|----|\n| 1  |  2 |")
INDENTED = st.text(alphabet="xy  :", max_size=20).map(lambda text: f"    {text}  z")
ART = st.just("a    b    c\n1    2    3")
PIECES = st.one_of(PROSE, CODE, QUOTE, GERMAN, TABLE, INDENTED, ART, st.just("\n\n\n\n"), st.just("end  \nbreak"))
TEXTS = st.lists(PIECES, max_size=6).map("\n\n".join)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
JSON = st.one_of(st.lists(VALUES, max_size=3), st.dictionaries(st.text(), VALUES, max_size=3))


def out(text: str, **more: Any) -> str:
    shortened: str = shorten(text, **more).prompt
    return shortened


@given(TEXTS)
def test_only_whitespace_goes(text: str) -> None:
    """Every other character stays, in its order; a second time changes nothing more; nothing gets longer."""
    shorter = out(text)
    assert "".join(text.split()) == "".join(shorter.split())
    assert shorter == out(shorter)
    assert len(shorter) <= len(text)


def test_the_rule_of_thumb_does_not_count_indentation_by_its_length() -> None:
    """Tokenizers have a token or two for it, so that nobody is told of savings that there are not: 2,053 tokens with
    `o200k_base` for the whitespace of this kind of document, of which four bytes a token would make 9,000."""
    item = {"name": "parcel", "tags": ["a", "b"], "at": {"street": "Main street", "zip": 79100}}
    deep = json.dumps({"a": {"b": {"c": [item] * 60}}}, indent=8)
    flat = json.dumps({"a": {"b": {"c": [item] * 60}}}, indent=1)
    made, other = (shorten([{"role": "tool", "content": text}]) for text in (deep, flat))
    assert made.prompt == other.prompt
    assert 4 * (made.before - made.after) < len(deep) - len(made.prompt[0]["content"])
    assert made.before - made.after < 2.5 * (other.before - other.after)


@given(PROSE, CODE, PROSE)
def test_code_fences_survive(before: str, code: str, after: str) -> None:
    """To the letter, wherever they stand."""
    assert code in out(f"{before}\n\n\n{code}\n\n\n{after}")


@given(PROSE, st.one_of(QUOTE, GERMAN), PROSE)
def test_quotes_survive(before: str, quote: str, after: str) -> None:
    """Also those with blank lines and runs of spaces in them."""
    assert quote in out(f"{before} {quote} {after}")
    assert quote in out(f"{before}\n\n{quote}\n\n\n\n{after}")


@given(PROSE, st.one_of(TABLE, INDENTED, ART, st.just("line  \nbreak"), st.just("key:   value")), PROSE)
def test_whitespace_that_means_something_survives(before: str, block: str, after: str) -> None:
    """Tables, indented lines, columns, hard line breaks."""
    assert block in out(f"{before}\n\n{block}\n\n{after}")


@given(st.text())
def test_text_in_any_language_keeps_its_letters(text: str) -> None:
    """Only spaces, tabs and line ends are ever touched."""
    assert re.sub(r"[ \t\n]", "", text) == re.sub(r"[ \t\n]", "", out(text))


@given(JSON, st.sampled_from([None, 2, "\t"]))
def test_json_in_tool_results_keeps_its_values(value: Any, indent: Any) -> None:
    """It is minified as text, so numbers stay as they are written, and strings too."""
    text = json.dumps(value, indent=indent)
    message = {"role": "tool", "tool_call_id": "1", "content": text}
    shorter = shorten([message]).prompt[0]["content"]
    assert value == json.loads(shorter)
    assert len(shorter) <= len(text)


def test_numbers_and_duplicates_in_json_stay_as_they_are_written() -> None:
    """What a parser would change is not sent through one."""
    text = '{ "a": 1.0, "a": 1e400, "b": 12345678901234567890.10, "c": "x  \\n  y" }'
    shorter = shorten([{"role": "tool", "content": text}]).prompt[0]["content"]
    assert '{"a":1.0,"a":1e400,"b":12345678901234567890.10,"c":"x  \\n  y"}' == shorter


MESSAGES = st.lists(
    st.builds(
        lambda role, text: {"role": role, "content": text}, st.sampled_from(["user", "assistant", "tool"]), TEXTS
    ),
    max_size=6,
)


@given(MESSAGES, st.integers(0, 200), st.integers(0, 60))
def test_a_cached_prefix_and_the_callers_messages_are_never_changed(
    messages: list[Any], cached: int, keep: int
) -> None:
    """Neither by editing nor by leaving out; what is passed in stays as it is."""
    before = copy.deepcopy(messages)
    made = shorten(messages, cached_tokens=cached, keep_tokens=keep)
    assert before == messages
    assert messages[: made.left_alone] == made.prompt[: made.left_alone]


def test_what_stands_before_a_cache_mark_is_left_alone() -> None:
    """It is billed at the rate of a cache read only as long as it is the same."""
    long = "word  " * 20 + "\n\n\n\nend"
    marked = {"role": "user", "content": [{"type": "text", "text": long, "cache_control": {"type": "ephemeral"}}]}
    messages = [{"role": "user", "content": long}, marked, {"role": "user", "content": long}]
    made = shorten(messages)
    assert messages[:2] == made.prompt[:2]
    assert made.prompt[2] != messages[2]
    assert 2 == made.left_alone


def test_history_goes_by_whole_turns_and_never_out_of_the_cache() -> None:
    """No tool's result loses its call; system and last turn stay; what is cached is kept, with a word on it."""
    turn = [
        {"role": "user", "content": "q" * 400},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]},
        {"role": "tool", "tool_call_id": "1", "content": "r" * 400},
        {"role": "assistant", "content": "a" * 400},
    ]
    messages: list[Any] = [{"role": "system", "content": "s"}, *turn, *turn, {"role": "user", "content": "last"}]
    made = shorten(messages, keep_tokens=350)
    assert [messages[0], *turn, messages[-1]] == made.prompt
    assert {"history": 300} == made.by_step
    cached = shorten(messages, keep_tokens=10, cached_tokens=10_000)
    assert messages == cached.prompt
    assert "cached prefix" in cached.notes[0]


def test_phrases_go_from_prose_alone() -> None:
    """Those a user listed, whole words, and not out of code or quotes."""
    text = "Please note that it works.\nIn order to see it, please note that:\n\n```\nplease note that\n```\n"
    assert (
        "It works.\nTo see it, that:\n\n```\nplease note that\n```\n".lower()
        == out(text, phrases={"please note that it": "it", "in order to": "to", "please note": ""}).lower()
    )
    quoted = 'Say "in order to" here.\n'
    assert quoted == out(quoted, phrases=["in order to"])


def test_repeats_are_referred_to() -> None:
    """A long passage that stood before, also in an earlier message, is not sent twice."""
    passage = ("All the rules of the house. " * 30).strip()
    messages = [{"role": "user", "content": passage}, {"role": "user", "content": f"Again:\n\n{passage}\n\nNow?"}]
    assert messages == shorten(messages).prompt
    made = shorten(messages, steps=["repeats"])
    assert messages[0] == made.prompt[0]
    assert made.prompt[1]["content"].startswith("Again:\n\n[the same passage as before, beginning: All the rules")


def test_savings_are_the_difference_of_two_prices() -> None:
    """Tokens before and after, by a tokenizer of the caller's or by rule of thumb, at the model's input price."""
    text = "It was, as far as anybody could tell,  a sunny day in May." + "\n" * 40 + "End."
    made = costguard.compress(text, model="gpt-4o", count=len)
    usage = (costguard.Usage({"input": made.before}), costguard.Usage({"input": made.after}))
    by_hand = [costguard.explain("gpt-4o", one).cost.nano for one in usage]
    assert (len(text), len(made.prompt)) == (made.before, made.after)
    assert by_hand[0] - by_hand[1] == made.saved * 10**9 > 0
    assert (made.before - made.after, False) == (sum(made.by_step.values()), made.estimated)
    assert costguard.compress(text).estimated


@pytest.mark.parametrize(
    ("prompt", "more"),
    [(7, {}), ([7], {}), ("x", {"steps": ["magic"]}), ("x", {"phrases": [""]}), ("x", {"phrases": "x"})],
)
def test_mistakes_are_told(prompt: Any, more: dict[str, Any]) -> None:
    """With what would be allowed."""
    with pytest.raises(ConfigError):
        shorten(prompt, **more)


ROLES = st.sampled_from(["system", "user", "assistant", "tool"])
PARTS = st.lists(st.builds(lambda text: {"type": "text", "text": text}, TEXTS), max_size=2)
OUTPUTS = st.one_of(TEXTS, JSON.map(lambda value: json.dumps(value, indent=2)))
CHATS = st.lists(
    st.builds(lambda role, content: {"role": role, "content": content}, ROLES, st.one_of(OUTPUTS, PARTS)), max_size=4
)
CONTENTS = st.lists(
    st.builds(lambda role, text: {"role": role, "parts": [{"text": text}]}, st.sampled_from(["user", "model"]), TEXTS),
    max_size=3,
)
ITEMS = st.lists(
    st.one_of(
        st.builds(lambda output: {"type": "function_call_output", "call_id": "1", "output": output}, OUTPUTS),
        st.builds(lambda value: {"type": "function_call", "arguments": json.dumps(value, indent=2)}, JSON),
        st.builds(lambda text: {"type": "reasoning", "summary": [{"text": text}]}, TEXTS),
    ),
    max_size=3,
)
BODIES = st.one_of(
    st.builds(lambda messages: {"messages": messages, "tools": [{"a": "b   c"}]}, CHATS),
    st.builds(lambda system, messages: {"system": system, "messages": messages}, st.one_of(TEXTS, PARTS), CHATS),
    st.builds(lambda text, items: {"instructions": text, "input": items or text, "stop": "\n\n\n\n"}, TEXTS, ITEMS),
    st.builds(
        lambda text, contents: {"systemInstruction": {"parts": [{"text": text}]}, "contents": contents}, TEXTS, CONTENTS
    ),
)


@given(BODIES)
def test_calls_lose_whitespace_and_nothing_else(body: dict[str, Any]) -> None:
    """In any provider's shape: the request stays, what the model said stays, and a second time there is nothing left."""
    before, call = copy.deepcopy(body), Call("openai", "gpt-4o")
    compressor = Compressor()
    made = compressor.shorter(call, Request(body=body), {}, lambda _: call)
    assert before == body
    if made is None:
        return
    sent = made.request.body
    assert _bare(body) == _bare(sent)
    for field in ("messages", "contents", "input"):
        if isinstance(body.get(field), list):
            for old, new in zip(body[field], sent[field], strict=True):
                own = old.get("role") in ("assistant", "model") or old.get("type") in ("reasoning", "function_call")
                assert old == new or not own
    assert all(sent[field] == body[field] for field in ("tools", "stop") if field in body)
    assert made.removed > 0
    assert compressor.shorter(call, made.request, {}, lambda _: call) is None


def _bare(value: Any) -> Any:
    """A request without whitespace in its texts."""
    if isinstance(value, dict):
        return {name: _bare(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_bare(item) for item in value]
    return "".join(value.split()) if isinstance(value, str) else value
