"""Google's usage shapes in disjoint units: no token is counted twice and none is lost."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from costguard._types import Call
from costguard.ports import Request, Unmetered
from costguard.providers._google_errors import was_billed
from costguard.providers._google_request import read_call
from costguard.providers._google_usage import (
    ContentReader,
    EmbeddingReader,
    ImageReader,
    InteractionReader,
    usage_counts,
)
from costguard.providers.google_generativeai import _with_thoughts

CALL = Call("google", "gemini-2.5-flash")
STREAM = Call("google", "gemini-2.5-flash", stream=True)


def details(**tokens: int) -> list[dict[str, Any]]:
    return [{"modality": name.upper(), "tokenCount": count} for name, count in tokens.items()]


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"promptTokenCount": 10, "candidatesTokenCount": 5}, {"input": 10, "output": 5}),
        ({"promptTokenCount": 10, "cachedContentTokenCount": 4}, {"input": 6, "cache_read": 4}),
        ({"promptTokenCount": 10, "toolUsePromptTokenCount": 7}, {"input": 17}),
        (
            {"promptTokenCount": 10, "candidatesTokenCount": 5, "thoughtsTokenCount": 9},
            {"input": 10, "output": 5, "reasoning": 9},
        ),
        ({"promptTokenCount": 10, "cachedContentTokenCount": 40}, {"cache_read": 10}),
        (
            {"promptTokenCount": 100, "promptTokensDetails": details(text=50, audio=30, image=15, video=5)},
            {"input": 50, "input_audio": 30, "input_image": 15, "input_video": 5},
        ),
        (
            {
                "promptTokenCount": 100,
                "cachedContentTokenCount": 40,
                "promptTokensDetails": details(text=60, audio=40),
                "cacheTokensDetails": details(text=20, audio=20),
            },
            {"input": 40, "input_audio": 20, "cache_read": 20, "cache_read_audio": 20},
        ),
        (
            {
                "promptTokenCount": 1,
                "candidatesTokenCount": 1300,
                "candidatesTokensDetails": details(image=1290, text=10),
            },
            {"input": 1, "output": 10, "output_image": 1290},
        ),
        ({"promptTokenCount": 5, "promptTokensDetails": details(audio=50)}, {"input_audio": 5}),
        (
            {"promptTokenCount": 5, "promptTokensDetails": [{"modality": 4, "tokenCount": 2}]},
            {"input": 3, "input_audio": 2},
        ),
        ({"promptTokenCount": 5, "promptTokensDetails": None, "cachedContentTokenCount": None}, {"input": 5}),
    ],
)
def test_usage_is_split_into_disjoint_units(usage: dict[str, Any], expected: dict[str, int]) -> None:
    """Caches are part of the prompt, tools and thoughts come on top, media are taken out of the whole."""
    assert expected == usage_counts(usage)


GARBAGE = (
    {}, {"promptTokenCount": None}, {"promptTokenCount": -1}, {"promptTokenCount": "7"},
    {"promptTokenCount": 1, "candidatesTokenCount": 1.5}, "usage", 7, [], None,
)  # fmt: skip


@pytest.mark.parametrize("usage", GARBAGE)
@pytest.mark.parametrize("call", [CALL, STREAM])
def test_garbage_leaves_the_reader_incomplete(usage: Any, call: Call) -> None:
    """What makes no sense is never an error, and never taken for a zero."""
    reader = ContentReader(call)
    reader.feed({"candidates": [{"finishReason": "STOP"}], "usageMetadata": usage})
    assert not reader.complete
    assert not reader.usages()


ODD = (
    None, 7, "", "{", b"", [], SimpleNamespace(body=None), SimpleNamespace(body="[1]"), {"candidates": 3},
    {"candidates": [None, 4, {"content": {"parts": "x"}}]},
)  # fmt: skip


@pytest.mark.parametrize("part", ODD)
def test_odd_answers_are_no_error(part: Any) -> None:
    """Readers are fed whatever the SDK hands out."""
    for reader in (ContentReader(CALL), EmbeddingReader(CALL), ImageReader(CALL), InteractionReader(CALL)):
        reader.feed(part)
        assert not reader.complete


def chunk(text: str = "", finish: str | None = None, **usage: int) -> dict[str, Any]:
    candidate: dict[str, Any] = {"index": 0, "content": {"parts": [{"text": text}]}}
    if finish:
        candidate["finishReason"] = finish
    return {
        "candidates": [candidate],
        "modelVersion": "gemini-2.5-flash",
        **({"usageMetadata": usage} if usage else {}),
    }


def test_the_last_running_total_of_a_stream_counts() -> None:
    """Chunks are not summed, and the stream is complete when its candidate is."""
    reader = ContentReader(STREAM)
    reader.feed(chunk("a", promptTokenCount=10, candidatesTokenCount=3))
    assert not reader.complete
    reader.feed(chunk("b", "STOP", promptTokenCount=10, candidatesTokenCount=8))
    assert reader.complete
    assert [usage.counts for usage in reader.usages()] == [{"input": 10, "output": 8}]


def test_text_after_the_last_running_total_is_what_is_left_to_estimate() -> None:
    """A stream that ends early is charged what it reported, and an estimate of what came after."""
    reader = ContentReader(STREAM)
    reader.feed(chunk("aaaa", promptTokenCount=10, candidatesTokenCount=3))
    assert reader.text_bytes == 0
    reader.feed(chunk("bbb", "STOP"))
    assert reader.text_bytes == 3
    assert not reader.complete


def test_a_stream_is_complete_when_every_candidate_is() -> None:
    """One of two candidates being done is not the end."""
    reader = ContentReader(STREAM)
    usage = {"promptTokenCount": 1, "candidatesTokenCount": 2}
    reader.feed({"candidates": [{"index": 0, "finishReason": "STOP"}, {"index": 1}], "usageMetadata": usage})
    assert not reader.complete
    reader.feed({"candidates": [{"index": 1, "finishReason": "STOP"}], "usageMetadata": usage})
    assert reader.complete


def test_a_blocked_prompt_is_complete_without_candidates() -> None:
    """Its input is billed."""
    reader = ContentReader(STREAM)
    reader.feed({"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 4}})
    assert reader.complete
    assert reader.usages()[0].counts == {"input": 4}


@pytest.mark.parametrize(("model", "fee"), [("gemini-2.5-pro", 1), ("gemini-3.8-flash", 2), ("gemini-4-argon", 2)])
def test_searches_are_counted_as_the_model_bills_them(model: str, fee: int) -> None:
    """Up to Gemini 2 the grounded prompt is billed, from 3 on each search; repeats in later chunks are no more."""
    reader = ContentReader(STREAM)
    grounding = {"webSearchQueries": ["a", "b", ""], "groundingChunks": [{"maps": {}}, {"web": {}}]}
    body = {
        "candidates": [{"groundingMetadata": grounding, "finishReason": "STOP"}],
        "usageMetadata": {"promptTokenCount": 1},
    }
    reader.feed({**body, "modelVersion": model})
    reader.feed({**body, "modelVersion": model})
    assert {"input": 1, "web_searches": fee, "maps_queries": 1} == reader.usages()[0].counts


@pytest.mark.parametrize(
    ("usage", "headers", "asked", "tier"),
    [
        ({}, {}, "standard", "standard"),
        ({"trafficType": "ON_DEMAND"}, {}, "priority", "standard"),
        ({"trafficType": "ON_DEMAND_PRIORITY"}, {}, "standard", "on_demand_priority"),
        ({"trafficType": "PROVISIONED_THROUGHPUT"}, {}, "standard", "standard"),
        ({}, {"X-Gemini-Service-Tier": "flex"}, "standard", "flex"),
        ({}, {}, "flex", "flex"),
    ],
)
def test_the_tier_is_the_one_served(usage: dict[str, Any], headers: dict[str, str], asked: str, tier: str) -> None:
    """Vertex tells it in the usage, Gemini's API in a header; else the tier asked for is assumed."""
    body = json.dumps({"usageMetadata": {"promptTokenCount": 1, **usage}})
    reader = ContentReader(Call("google", "gemini-2.5-flash", tier=asked))
    reader.feed(SimpleNamespace(headers=headers, body=body))
    assert tier == reader.usages()[0].tier


def test_the_region_is_the_hosts() -> None:
    """Vertex's regional endpoints have prices of their own."""
    reader = ContentReader(Call("google-vertex", "gemini-2.5-flash", host="europe-west1-aiplatform.googleapis.com"))
    reader.feed({"usageMetadata": {"promptTokenCount": 1}})
    assert reader.usages()[0].region == "europe-west1"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"usageMetadata": {"promptTokenCount": 7}}, {"input": 7}),
        ({"predictions": [{"embeddings": {"statistics": {"token_count": 3.0}}}] * 2}, {"input": 6}),
        ({"predictions": [{"embeddings": {}}]}, None),
        ({"embeddings": [{"values": [0.5]}]}, None),
    ],
)
def test_embeddings(body: dict[str, Any], expected: dict[str, int] | None) -> None:
    """Three shapes of usage, and none."""
    reader = EmbeddingReader(Call("google", "gemini-embedding-001", "embeddings"))
    reader.feed(body)
    assert [expected] * reader.complete == [usage.counts for usage in reader.usages()]
    assert reader.complete == (expected is not None)


def test_older_embedding_models_are_billed_by_the_character() -> None:
    """Where Vertex counts characters, they are what is billed."""
    reader = EmbeddingReader(Call("google-vertex", "text-embedding-005", "embeddings"))
    reader.feed({"metadata": {"billableCharacterCount": 12}, "predictions": []})
    assert reader.usages()[0].counts == {"characters": 12}


def test_filtered_images_are_not_billed() -> None:
    """Three were asked for, one was held back."""
    reader = ImageReader(Call("google-vertex", "imagen-3.0-generate-001", "image_generation", bound={"images": 3}))
    made = {"bytesBase64Encoded": "AA=="}
    reader.feed({"predictions": [made, {"raiFilteredReason": "no"}, made]})
    assert reader.usages()[0].counts == {"images": 2}


def test_the_older_sdks_thoughts_are_what_is_left_of_the_total() -> None:
    """Its usage has no field for them."""
    usage = {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 22}
    assert usage_counts(_with_thoughts(usage)) == {"input": 10, "output": 5, "reasoning": 7}
    assert usage_counts(_with_thoughts({**usage, "totalTokenCount": 15})) == {"input": 10, "output": 5}


# -- requests ------------------------------------------------------------------------------------------------------


def read(path: str, body: dict[str, Any] | None = None, method: str = "POST") -> Any:
    return read_call(Request(method, path, "generativelanguage.googleapis.com", body or {}))


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "models/gemini-2.5-flash"), ("DELETE", "cachedContents/1"), ("PATCH", "models/x"), ("POST", "models/m:countTokens"),
        ("POST", "projects/p/locations/l/publishers/google/models/m:computeTokens"), ("POST", "upload/v1beta/files"),
        ("POST", "batches/1:cancel"), ("POST", "auth_tokens"), ("POST", "projects/p/models/veo:fetchPredictOperation"),
    ],
)  # fmt: skip
def test_free_requests(method: str, path: str) -> None:
    """Reading, counting, uploading and cancelling cost nothing."""
    assert read(path, method=method) is None


@pytest.mark.parametrize(
    ("path", "endpoint"),
    [
        ("models/veo-3.1:predictLongRunning", "POST predictLongRunning"), ("cachedContents", "POST cachedContents"),
        ("models/m:batchGenerateContent", "POST batchGenerateContent"), ("tuningJobs", "POST tuningJobs"),
        ("projects/p/locations/l/batchPredictionJobs", "POST batchPredictionJobs"), ("v1beta/decisions", "POST decisions"),
        ("fileSearchStores/s:importFile", "POST importFile"), ("something/new", "POST new"),
    ],
)  # fmt: skip
def test_unmetered_requests(path: str, endpoint: str) -> None:
    """What is billed and cannot be seen is counted under a name without ids in it."""
    assert Unmetered(endpoint) == read(path)


def test_what_a_request_tells() -> None:
    """The model is in the path, the rest in the body."""
    settings = {"maxOutputTokens": 50, "candidateCount": 2, "responseModalities": ["TEXT", "IMAGE"]}
    call = read(
        "models/gemini-2.5-flash-image:generateContent",
        {"contents": [{"parts": [{"text": "é"}]}], "generationConfig": settings},
    )
    assert (call.provider, call.model, call.max_output, call.choices) == ("google", "gemini-2.5-flash-image", 50, 2)
    assert (call.output_unit, call.cap, call.input_known) == ("output_image", "maxOutputTokens", True)
    vertex = read("projects/p/locations/l/publishers/google/models/gemini-2.5-pro:streamGenerateContent")
    assert (vertex.provider, vertex.model) == ("google-vertex", "gemini-2.5-pro")


@pytest.mark.parametrize(
    "body",
    [
        {"cachedContent": "cachedContents/1"}, {"tools": [{"urlContext": {}}]}, {"tools": [{"googleSearch": {}}]},
        {"contents": [{"parts": [{"fileData": {"fileUri": "gs://x"}}]}]},
        {"contents": [{"parts": [{"inlineData": {"mimeType": "application/pdf", "data": "AA=="}}]}]},
    ],
)  # fmt: skip
def test_input_that_is_not_in_the_request_is_unbounded(body: dict[str, Any]) -> None:
    """It is then reserved for the whole context window."""
    assert not read("models/gemini-2.5-flash:generateContent", body).input_known


def test_media_are_bounded_by_the_providers_formula() -> None:
    """Images by their tiles, sound by the longest it can be."""
    parts = [
        {"inlineData": {"mimeType": "image/png", "data": "A" * 400}},
        {"inlineData": {"mimeType": "audio/wav", "data": "A" * 4000}},
    ]
    bound = read("models/gemini-2.5-flash:generateContent", {"contents": [{"parts": parts}]}).bound
    assert {unit: bound[unit] for unit in ("input_image", "input_audio")} == {"input_image": 7740, "input_audio": 49}


def test_a_thinking_budget_of_the_callers_own_is_not_cut() -> None:
    """A cap below it would cut the answer before its first word."""
    settings = {"thinkingConfig": {"thinkingBudget": 2000}}
    assert read("models/gemini-2.5-flash:generateContent", {"generationConfig": settings}).cap is None


# -- errors --------------------------------------------------------------------------------------------------------


def error(*names: str, **fields: Any) -> Exception:
    """An error of classes with these names, the last one's own."""
    cls: type[Exception] = Exception
    for name in names:
        cls = type(name, (cls,), fields)
    return cls("boom")


@pytest.mark.parametrize(
    ("raised", "billed"),
    [
        (error("APIError", "ClientError"), False),
        (error("TransportError", "ConnectError"), False),
        (error("TransportError", "TimeoutException", "ReadTimeout"), None),
        (error("TransportError", "RemoteProtocolError"), None),
        (error("ClientConnectionError", "ClientConnectorError"), False),
        (error("ClientConnectionError", "ServerDisconnectedError"), None),
        (TimeoutError(), None),
        (KeyboardInterrupt(), None),
        (ValueError("a bad argument"), False),
        (error("GoogleAPIError", "GoogleAPICallError", "ServiceUnavailable"), False),
        (error("GoogleAPIError", "GatewayTimeout", "DeadlineExceeded"), None),
        (error("GoogleAPIError", "Cancelled"), None),
    ],
)
def test_what_an_error_says_of_the_bill(raised: BaseException, billed: bool | None) -> None:
    """Refused or never sent is not billed; lost on the way may have been."""
    assert billed is was_billed(raised)


@pytest.mark.parametrize(
    ("message", "billed"),
    [("failed to connect to all addresses", False), ("Socket closed", None), ("The model is overloaded", False)],
)
def test_grpcs_unavailable_is_told_apart_by_its_message(message: str, billed: bool | None) -> None:
    """The same status stands for a lost connection and for an overloaded model."""
    cls = type("ServiceUnavailable", (type("GoogleAPIError", (Exception,), {}),), {"grpc_status_code": 14})
    assert billed is was_billed(cls(message))
