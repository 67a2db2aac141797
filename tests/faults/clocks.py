"""Hosts that do not know the time: real processes under libfaketime, and with zone data of their own."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from costguard._config import inherited

PROGRAM = """
import json, os, select, sys, time
import costguard

def look():
    costguard.flush()
    return float(costguard.status()["day"].spent)

def set_clock(offset):
    with open(os.environ["FAKETIME_TIMESTAMP_FILE"], "w") as file:
        file.write(offset)

costguard.configure(
    ledger=sys.argv[1], exporters=[],
    budgets=[costguard.budget("$1/day", name="day", timezone=sys.argv[2] if len(sys.argv) > 2 else "UTC")],
)
seen = {"first": look()}
costguard.track("gpt-4o", input_tokens=0, output_tokens=10_000)
seen["spent"] = look()
for offset in sys.argv[3:]:

    set_clock(offset)
    seen[f"{offset} at once"] = look()
    select.poll().poll(6000)  # sleep() under libfaketime fails
    seen[f"{offset} later"] = look()
    set_clock("+0")
    seen[f"{offset} and back"] = look()
print(json.dumps(seen))
"""


@dataclass
class Shown:
    """What was seen, and what of it is wrong."""

    seen: Any
    wrong: list[str] = field(default_factory=list)
    log: str = ""

    def __str__(self) -> str:
        return json.dumps(self.seen)


def leap(folder: Path, ledger: str) -> Shown:
    """Set the clock of a running process ahead and back, by hours and by a day, with libfaketime (Debian: faketime)."""
    offset = folder / "offset"
    offset.write_text("+0")
    seen = _run(
        ledger, _noon(), "-1h", "+1h", "+1d", LD_PRELOAD=_library(), FAKETIME_TIMESTAMP_FILE=str(offset),
        FAKETIME_NO_CACHE="1", FAKETIME_DONT_FAKE_MONOTONIC="1", DONT_FAKE_MONOTONIC="1",
    )  # fmt: skip
    claims = {
        "a clock that was set back opened a window": seen["-1h later"] == seen["spent"],
        "a leap of an hour opened a window": seen["+1h later"] == seen["spent"],
        "a leap of a day opened a window at once": seen["+1d at once"] == seen["spent"],
    }
    return Shown(seen, [words for words, holds in claims.items() if not holds])


def another_day(folder: Path, ledger: str) -> Shown:
    """A process whose clock is a day ahead, and one whose clock is an hour behind, beside one that is right."""
    library = _library()
    shown = {"right": _run(ledger)}
    for offset in ("+1d", "-1h"):
        shown[offset] = _run(ledger, LD_PRELOAD=library, FAKETIME=offset, FAKETIME_DONT_FAKE_MONOTONIC="1")
    shown["right again"] = _run(ledger)
    claims = {
        "the books of today are gone": shown["right again"]["first"] >= shown["right"]["spent"],
        "tomorrow was not begun empty": shown["+1d"]["first"] == 0.0,
    }
    return Shown(shown, [words for words, holds in claims.items() if not holds])


def other_zones(folder: Path, ledger: str) -> Shown:
    """A process that has other data on a zone than the host has."""
    doctored(folder / "zones")
    shown = {
        "the host's data": _run(ledger, "Europe/Berlin"),
        "other data": _run(ledger, "Europe/Berlin", PYTHONTZPATH=str(folder / "zones")),
        "the host's data again": _run(ledger, "Europe/Berlin"),
    }
    claims = {
        "they did not count in windows of their own": shown["other data"]["first"] == 0.0,
        "a window of those that agree was not one": shown["the host's data again"]["first"] == 0.1,
    }
    return Shown(shown, [words for words, holds in claims.items() if not holds])


def doctored(folder: Path) -> None:
    """Zone data in which Berlin is an hour and a half ahead of UTC all year, as it never is."""
    kept = struct.pack(">4sc15x6l", b"TZif", b"\0", 0, 0, 0, 0, 1, 4) + struct.pack(">lBB4s", 5400, 0, 0, b"ODD\0")
    (folder / "Europe").mkdir(parents=True)
    (folder / "Europe" / "Berlin").write_bytes(kept)


def _run(ledger: str, *more: str, **environment: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, ledger, *more], capture_output=True, text=True, check=False,
        env=inherited(COSTGUARD_CONFIG="", **environment), timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def _noon() -> str:
    """A zone in which it is about noon, so that an hour ahead or behind is the same day."""
    return f"Etc/GMT{time.gmtime().tm_hour - 12:+d}"


def _library() -> str:
    for folder in Path("/usr/lib").glob("*/faketime"):
        return str(folder / "libfaketime.so.1")
    raise LookupError("libfaketime is not there; on Debian: apt-get install faketime")
