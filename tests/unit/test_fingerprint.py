"""Fingerprints: the same for equal requests, silent about what they are made of."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from costguard._fingerprint import KEY_BYTES, Fingerprints, machine_key
from costguard.ports import Request

PRINTS = Fingerprints(b"k" * KEY_BYTES)


def request(**body: Any) -> Request:
    return Request(path="/v1/chat/completions", host="api.openai.com", body=body)


ONE = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}


def test_equal_requests_have_equal_fingerprints() -> None:
    """The order of fields does not matter, nor who asks and whether the answer is streamed."""
    first = PRINTS.of("openai", request(**ONE))
    again = PRINTS.of("openai", request(stream=True, user="u-17", messages=ONE["messages"], model="gpt-4o"))
    assert first == again
    assert 32 == len(first)


@pytest.mark.parametrize(
    "other",
    [{"model": "gpt-4o-mini"}, {"messages": [{"role": "user", "content": "Hullo"}]}, {"temperature": 0}],
)
def test_what_changes_the_answer_changes_the_fingerprint(other: dict[str, Any]) -> None:
    """Another model, another text, another setting."""
    assert PRINTS.of("openai", request(**ONE)) != PRINTS.of("openai", request(**{**ONE, **other}))


def test_a_whole_fingerprint_tells_streams_and_users_apart() -> None:
    """For who wants to know exactly what was sent."""
    plain, streamed = (PRINTS.of("openai", request(**ONE, **more), whole=True) for more in ({}, {"stream": True}))
    assert plain != streamed


def test_another_key_makes_other_fingerprints() -> None:
    """So prompts cannot be tried against a journal that was copied from its machine."""
    assert PRINTS.of("openai", request(**ONE)) != Fingerprints(b"x" * KEY_BYTES).of("openai", request(**ONE))


def test_what_can_be_read_only_once_is_left_alone() -> None:
    """An iterator belongs to the SDK: there is no fingerprint then."""
    parts = iter(["a", "b"])
    assert "" == PRINTS.of("openai", request(model="m", input=parts))
    assert ["a", "b"] == list(parts)
    assert "" == PRINTS.of("openai", Request(body=ONE, files=[("file", b"x")]))


def test_bytes_and_odd_containers_are_plain_data() -> None:
    """Images as bytes tell requests apart."""
    one, two = (PRINTS.of("google", request(image=image, kinds={"b", "a"})) for image in (b"1", b"2"))
    assert one
    assert one != two
    assert one == PRINTS.of("google", request(image=b"1", kinds={"a", "b"}))


def test_the_key_is_made_once_and_kept_private(tmp_path: Path) -> None:
    """Also when many processes or threads want it at the same moment."""
    folder = tmp_path / "state"
    found: list[bytes] = []
    threads = [threading.Thread(target=lambda: found.append(machine_key(folder))) for _ in range(16)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert {machine_key(folder)} == set(found)
    assert ["fingerprint.key"] == os.listdir(folder)
    assert 0o600 == (folder / "fingerprint.key").stat().st_mode & 0o777


def test_a_key_that_cannot_be_kept_is_the_process_s_own(tmp_path: Path) -> None:
    """A read-only disk stops nothing."""
    (tmp_path / "file").write_text("")
    assert KEY_BYTES == len(machine_key(tmp_path / "file" / "state"))


def test_a_damaged_key_is_made_anew(tmp_path: Path) -> None:
    """Half a key is none."""
    (tmp_path / "fingerprint.key").write_bytes(b"half")
    assert machine_key(tmp_path) == machine_key(tmp_path)
