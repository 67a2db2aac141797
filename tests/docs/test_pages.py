"""What the pages show works: their Python runs, what they say it prints it prints, their commands and links exist."""

from __future__ import annotations

import doctest
import io
import json
import re
import tomllib
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

import costguard
from costguard._config import state
from costguard._own import OwnPrices
from costguard.cli import COMMANDS
from costguard.testing.loopback import LoopbackProvider

from .blocks import EVERY_PAGE, PAGES, ROOT, Block, blocks

_ELLIPSIS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
_LANGUAGES = ("python", "bash", "text", "toml", "json")


def _id(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackProvider]:
    """A provider at the address where the SDKs look, and nothing of costguard left over afterwards."""
    with LoopbackProvider(input_tokens="measured", output_tokens=100) as provider:
        for name in ("GOOGLE_API_KEY", "GOOGLE_GENAI_USE_VERTEXAI", "ANTHROPIC_AUTH_TOKEN", "OPENAI_ORG_ID"):
            monkeypatch.delenv(name, raising=False)
        for name, value in provider.env().items():
            monkeypatch.setenv(name, value)
        costguard.configure(exporters=[], ledger="memory://")
        yield provider
        costguard.uninstrument()
        costguard.configure(exporters=[], ledger="memory://")
        state.catalog._own = OwnPrices()
        state.catalog._sheets.clear()


@pytest.mark.parametrize("page", PAGES, ids=_id)
def test_the_python_of_a_page_runs(
    page: Path, provider: LoopbackProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The blocks of a page are one program, read from top to bottom; where it says what is printed, that is so."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "__main__"}
    try:
        _run(page, names)
    finally:
        # Their connections would be found open by whichever test the garbage is collected in.
        for client in names.values():
            if isinstance(client, openai.OpenAI | anthropic.Anthropic):
                client.close()


def _run(page: Path, names: dict[str, Any]) -> None:
    printed = ""
    for block in blocks(page):
        if block.language == "python" and not block.skipped:
            out = io.StringIO()
            with redirect_stdout(out):
                exec(compile("\n" * (block.line - 1) + block.code, str(page), "exec", dont_inherit=True), names)
            printed = out.getvalue()
        elif block.note == "output":
            assert doctest.OutputChecker().check_output(block.code, printed, _ELLIPSIS), f"{block}:\n{printed}"


@pytest.mark.parametrize("page", PAGES, ids=_id)
def test_every_block_says_what_it_is(page: Path) -> None:
    """Only languages that are checked are used, and what is not run says why."""
    for block in blocks(page):
        assert block.language in _LANGUAGES, f"{block}: {block.language!r}"
        known = not block.note or block.note == "output" or len(block.skipped) > 10
        assert known, f"{block}: {block.note!r} is neither 'output' nor 'not run: ' and a reason"
        assert not block.skipped or block.language == "python", f"{block}: only Python is run"


@pytest.mark.parametrize("page", EVERY_PAGE, ids=_id)
def test_data_and_commands_are_right(page: Path) -> None:
    """TOML and JSON parse; a command is a script of ours, with the options it knows, or a well-known tool."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for block in blocks(page):
        match block.language:
            case "toml":
                tomllib.loads(block.code)
            case "json":
                json.loads(block.code)
            case "bash":
                for line in block.code.splitlines():
                    _check_command(block, line.partition("  #")[0].strip(), extras)


def _check_command(block: Block, line: str, extras: dict[str, Any]) -> None:
    words = [word for word in line.split() if "=" not in word.partition("-")[0]]
    if not words:
        return
    for extra in re.findall(r"costguard-ai\[([a-z,-]+)\]", line):
        assert set(extra.split(",")) <= set(extras), f"{block}: extra {extra}"
    paths = [word for word in words if "/" in word and not word.lstrip("\"'").startswith(("http", "<"))]
    for path in paths:
        assert (ROOT / path).exists(), f"{block}: {path}"
    if words[0] == "costguard":
        assert words[1] in COMMANDS, f"{block}: {line}"
        return
    known = ("pip", "python", "git", "cd", "pytest", "opentelemetry-instrument", "curl")
    assert words[0].startswith("scripts/") or words[0] in known, f"{block}: {line}"


@pytest.mark.parametrize("page", EVERY_PAGE, ids=_id)
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link is a file of this repository, and its fragment a heading of that file."""
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        path, _, fragment = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name}: {target}"
        assert not fragment or fragment in _headings(file), f"{page.name}: {target}"


def _headings(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def test_every_page_can_be_reached_from_the_readme() -> None:
    """A page that nothing links to is read by nobody."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for page in (ROOT / "docs").glob("*.md"):
        assert f"docs/{page.name}" in readme, page.name
