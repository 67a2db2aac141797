"""Which Python a command will run in, and whether what ``costguard run`` puts in its environment reaches it."""

from __future__ import annotations

import os.path
import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from ..errors import ConfigError

_PYTHON: Final = re.compile(r"(?:python|pypy)[0-9.]*[a-z]?(?:-dbg)?(?:\.exe)?")
_PROBE: Final = "import sys; print('guarded' if 'costguard._run' in sys.modules else 'not')"


def interpreter(command: Sequence[str]) -> list[str]:
    """The words that start the same Python, with the same options, as `command` does.

    Raises:
        ConfigError: it is no command of Python's, as far as can be told.
    """
    if _is_python(command[0]):
        return [command[0], *_options(command[1:])]
    path = shutil.which(command[0])
    if path is None:
        raise ConfigError(f"{command[0]}: there is no such program, or it may not be executed")
    words = _first_line(Path(path))
    if not words or not _is_python(words[0]):
        raise ConfigError(
            f"{command[0]}: this is neither Python nor a script that says it runs in Python, so it cannot be told "
            f"whether it would be guarded; put `costguard run --` in front of the Python command inside it"
        )
    return [words[0], *_options(words[1:])]


def check(words: Sequence[str], env: Mapping[str, str]) -> None:
    """Start that Python and see that it meters itself.

    Raises:
        ConfigError: it does not; the message says why.
    """
    command = [*words, "-c", _PROBE]
    try:
        done = subprocess.run(  # noqa: S603 - to run what the user says is the job
            command, env=env, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
        )
    except OSError as error:
        raise ConfigError(f"{words[0]} cannot be started: {error.strerror or error}") from None
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"]
        raise ConfigError(said[-1].removeprefix("costguard run: "))
    if "guarded" not in done.stdout.split():
        raise ConfigError(
            f"{shlex.join(words)} does not look at PYTHONPATH, so the program would run unguarded; "
            f"leave out the options -I, -E and -S"
        )


def _is_python(word: str) -> bool:
    return _PYTHON.fullmatch(os.path.basename(word)) is not None


def _options(words: Sequence[str]) -> list[str]:
    """The options of the interpreter itself, up to the program."""
    kept: list[str] = []
    rest = iter(words)
    for word in rest:
        if not word.startswith("-") or word == "-":
            break
        if word.startswith("--"):
            kept += [word, next(rest, "")] if word == "--check-hash-based-pycs" else [word]
            continue
        flags = re.match(r"-[^cmWX]*", word)
        assert flags is not None  # it begins with a dash
        letter = word[flags.end() : flags.end() + 1]
        if letter in ("W", "X"):
            kept += [word] if len(word) > flags.end() + 1 else [word, next(rest, "")]
            continue
        kept += [flags[0]] if len(flags[0]) > 1 else []
        if letter:
            break
    return kept


def _first_line(path: Path) -> list[str]:
    """The command that a script's first line names; for one that pip wrote around a long path, its second line."""
    try:
        with path.open("rb") as file:
            lines = file.read(4096).decode("utf-8", "replace").splitlines()
    except OSError:
        return []
    if not lines or not lines[0].startswith("#!"):
        return []
    line = lines[0][2:]
    if len(lines) > 1 and lines[1].startswith("'''exec'"):
        line = lines[1].removeprefix("'''exec'")
    try:
        words = shlex.split(line)
    except ValueError:
        return []
    if words and os.path.basename(words[0]) == "env":
        words = words[1:]
        while words and (words[0].startswith("-") or "=" in words[0]):
            words = words[1:]
    return [word for word in words if not word.startswith("$")]
