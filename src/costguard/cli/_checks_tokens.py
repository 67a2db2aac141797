"""What ``costguard doctor`` says of tokenizers, where they are asked for."""

from __future__ import annotations

from collections.abc import Iterator

from .._config import state
from .._tokens import VOCABULARIES, missing
from ..errors import MissingExtraError
from ._checks import Found, Patient


def tokenizers(patient: Patient) -> Iterator[Found]:
    """Whether inputs can be counted exactly."""
    if patient.setup is None or not patient.setup.tokenizer:
        return
    try:
        state.tokenizers.check()
    except MissingExtraError as error:
        yield Found("tokenizer", "finding", "tiktoken is not installed", str(error).rpartition(": ")[2])
        return
    for vocabulary in VOCABULARIES:
        path = state.tokenizers.find(vocabulary)
        if path is not None:
            yield Found("tokenizer", "ok", f"{vocabulary.name} is read from {path}")
            continue
        fetch = f"python -c \"import tiktoken; tiktoken.get_encoding('{vocabulary.name}')\""
        fix = f"{fetch} fetches it; TIKTOKEN_CACHE_DIR names a folder for it that is copied along"
        yield Found("tokenizer", "finding", f"{missing(vocabulary)}, so bytes are counted", fix)
