"""What the server turns away, with words, and without being hurt: on one server for all of it."""

from __future__ import annotations

import gzip
import json
import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import httpx2
import pytest

import costguard

from .serving import serving
from .test_api import CALL, configured


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx2.Client]:
    """A client of a server on which nothing stays that another test would notice."""
    folder = tmp_path_factory.mktemp("server")
    configured(folder)
    with serving(folder) as url, httpx2.Client(base_url=url, timeout=60) as client:
        yield client
    costguard.configure(ledger="memory://", exporters=[])


@pytest.mark.parametrize(
    "body",
    [
        {"model": "gpt-4o"},
        {"model": "gpt-4o", "input_tokens": 5, "text": "both"},
        {"model": "nobody-knows-it", "provider": "nobody", "input_tokens": 5},
        {"model": "", "input_tokens": 5},
        {"model": "gpt-4o", "input_tokens": 5, "metadata": {"a b": "no tag"}},
    ],
)
def test_a_reservation_without_a_bound_is_refused_with_words(body: dict[str, Any], client: httpx2.Client) -> None:
    """What cannot be bounded cannot be limited."""
    answer = client.post("/ai-spend/reserve", json=body)
    assert answer.status_code == 422
    assert len(answer.json()["detail"]) > 10


@pytest.mark.parametrize("ticket", ["x", "e30", "bnVsbA", "ey" * 50, "é"])
def test_a_reservation_that_was_never_granted_ends_nothing(ticket: str, client: httpx2.Client) -> None:
    """Garbage is told so, and is no bug."""
    assert client.post("/ai-spend/settle", json={"reservation": ticket}).status_code == 422
    assert client.post("/ai-spend/release", json={"reservation": ticket}).status_code == 422


@pytest.mark.parametrize(
    "body",
    [{}, {"monthly_limit": -1}, {"monthly_limit": 5, "limit": "$5/day"}, {"limit": "$5/fortnight"},
     {"monthly_limit": 5, "scope": {"limit": "x"}}, {"monthly_limit": 5, "timezone": "Nowhere/Land"},
     {"monthly_limit": 5, "alert_at": 0}, {"monthly_limit": 5, "on_limit": "explode"}],
)  # fmt: skip
def test_a_budget_that_is_none_is_refused_with_words(body: dict[str, Any], client: httpx2.Client) -> None:
    """The message says what is allowed."""
    answer = client.post("/ai-spend/budget", json=body)
    assert answer.status_code == 422
    assert len(answer.json()["detail"]) > 10


def test_a_page_of_a_stranger_gets_nowhere(client: httpx2.Client) -> None:
    """A name that resolves to this machine is not one of its names, and no other origin may read an answer."""
    stranger = client.get("/ai-spend/budget", headers={"host": "evil.example"})
    assert (stranger.status_code, stranger.json()["title"]) == (400, "Bad request")
    answer = client.get("/ai-spend/budget", headers={"origin": "https://evil.example"})
    assert "access-control-allow-origin" not in answer.headers
    assert "default-src 'none'" in answer.headers["content-security-policy"]


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"x" * (2**20 + 1), {}, 413),
        (gzip.compress(b"x" * 50_000_000), {"content-encoding": "gzip"}, 413),
        (b"no gzip", {"content-encoding": "gzip"}, 400),
        (gzip.compress(b"{}")[:-6], {"content-encoding": "gzip"}, 400),
        (b"{}", {"content-encoding": "br"}, 415),
        (b"{", {}, 422),
        (json.dumps("x").encode(), {}, 422),
    ],
    ids=["large", "grows", "no gzip", "cut off", "unknown coding", "no JSON", "no object"],
)
def test_bodies_are_bounded_and_read_with_care(
    body: bytes, headers: dict[str, str], status: int, client: httpx2.Client
) -> None:
    """Also as unpacked: a small body that grows without end is cut off."""
    answer = client.post("/ai-spend/track", content=body, headers={"content-type": "application/json", **headers})
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")


def test_a_head_that_does_not_end_is_cut_off(client: httpx2.Client) -> None:
    """Before it fills the memory, whether it is one header or many; a large body after a small head is none."""
    for piece in (b"a" * 2**15, b"a: " + b"b" * 2**15 + b"\r\n"):
        with socket.create_connection((client.base_url.host, client.base_url.port or 80), timeout=60) as line:
            line.sendall(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nx: ")
            with suppress(OSError):  # it hangs up while this is being sent
                for _ in range(100):
                    line.sendall(piece)
            with suppress(ConnectionResetError):
                assert line.recv(12) in (b"HTTP/1.1 400", b"")
                while line.recv(2**16):
                    pass
    events = [{**CALL, "id": str(number)} for number in range(1000)]
    for _ in range(2):
        assert client.post("/ai-spend/track", json={"events": events}).status_code == 200


@pytest.mark.parametrize(("format", "kind"), [("json", "json"), ("csv", "csv"), ("html", "html"), ("md", "markdown")])
def test_a_report_has_what_was_told(format: str, kind: str, client: httpx2.Client) -> None:
    """In each format."""
    client.post("/ai-spend/track", json={**CALL, "metadata": {"feature": "a-feature"}})
    answer = client.get("/ai-spend/report", params={"period": "monthly", "group_by": "feature", "format": format})
    assert (answer.status_code, kind in answer.headers["content-type"]) == (200, True)
    assert "a-feature" in answer.text
