"""The fenced blocks of a Markdown page, each with what an HTML comment above it says of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])
_OTHERS = [ROOT / "CHANGELOG.md", ROOT / "examples/README.md", *(ROOT / "docs/decisions").glob("*.md")]
EVERY_PAGE = sorted([*PAGES, *_OTHERS])

_FENCE = re.compile(
    r"(?:^<!-- (?P<note>[^\n]*?) -->\n)?^(?P<indent> *)```(?P<language>[^\n]*)\n(?P<code>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block.

    Attributes:
        page, line: where its code begins.
        language: ``python``, ``bash``, ``text``...
        note: the comment above it: ``not run: why``, ``output`` for what the block before prints, or empty.
    """

    page: Path
    line: int
    language: str
    code: str
    note: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def skipped(self) -> str:
        """Why it is not run, or nothing."""
        return self.note.removeprefix("not run: ") if self.note.startswith("not run: ") else ""


def blocks(page: Path) -> list[Block]:
    """Every block of a page, in order."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(
            page,
            text.count("\n", 0, match.start("code")) + 1,
            match["language"].strip(),
            "\n".join(line.removeprefix(match["indent"]) for line in match["code"].split("\n")),
            match["note"] or "",
        )
        for match in _FENCE.finditer(text)
    ]
