"""What in a text is plain prose: everything else is left alone by whoever edits it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final

_FENCE: Final = re.compile(r" {0,3}(`{3,}|~{3,})")
_SPECIAL: Final = re.compile(r"[ \t>]|[-*+] {2,}|\d+[.)] {2,}|.*`|.*<[A-Za-z/!]|[A-Za-z_][\w.-]*:(?: |$)")
"""Beginnings of lines that may be code, quotes, markup or YAML: indented ones, block quotes, aligned list items, lines
with code or tags in them, keys."""
_QUOTES: Final = (('"', '"'), ("\u201c", "\u201d"), ("\u201e", "\u201c"), ("\u00ab", "\u00bb"), ("\u300c", "\u300d"))
_OPENS: Final = re.compile(r"(?<!\w)'(?=\S)")
_CLOSES: Final = re.compile(r"(?<=\S)'(?!\w)")


def prose(text: str, edit: Callable[[str], str]) -> str:
    """`text` with its stretches of prose edited, and all else as it was."""
    begin, end = quoted(text)
    out = []
    place = 0
    for plain, run in _runs(text):
        untouched = begin < end and place < end and begin < place + len(run)
        out.append(edit(run) if plain and not untouched else run)
        place += len(run)
    return "".join(out)


def quoted(text: str) -> tuple[int, int]:
    """The stretch from the first quotation mark to the last: what lies in it may be quoted, however they pair."""
    opening = [place for mark, _ in _QUOTES if (place := text.find(mark)) >= 0]
    closing = [place for _, mark in _QUOTES if (place := text.rfind(mark)) >= 0]
    opened, closed = _OPENS.search(text), [found.start() for found in _CLOSES.finditer(text)]
    if opened is not None and closed and closed[-1] > opened.start():
        opening.append(opened.start())
        closing.append(closed[-1])
    if not opening or not closing:
        return 0, 0
    # From the line before to the end of the line: an edit at the edge could reach over a line's end.
    begin = text.rfind("\n", 0, min(opening)) + 1
    end = text.find("\n", max(closing))
    return begin, len(text) if end < 0 else end


def _runs(text: str) -> Iterator[tuple[bool, str]]:
    """Stretches of whole lines, and whether they are prose. A blank line goes with what stands before it."""
    fence = ""
    plain, run = True, list[str]()
    pre = False
    for line in text.splitlines(keepends=True):
        mark = _FENCE.match(line)
        inside = bool(fence) or pre
        if mark is not None and (not fence or line.strip() == fence or line.strip().startswith(fence)):
            fence = "" if fence else mark[1]
            is_prose = False
        else:
            pre = _pre(line, pre)
            blank = not line.strip()
            is_prose = not inside and not pre and (plain if blank else _SPECIAL.match(line) is None)
        if is_prose != plain and run:
            yield plain, "".join(run)
            run = []
        plain = is_prose
        run.append(line)
    if run:
        yield plain, "".join(run)


def _pre(line: str, inside: bool) -> bool:
    opened, closed = line.rfind("<pre"), line.rfind("</pre")
    return inside if opened == closed == -1 else opened > closed
