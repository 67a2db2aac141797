"""What ``costguard doctor`` looks at. Each check is a function that tells what it found; it never ends the others."""

from __future__ import annotations

import difflib
import sys
import time
import zoneinfo
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from importlib.metadata import PackageNotFoundError, distributions, version
from itertools import pairwise
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from .._budget import budget
from .._config import environment, inherited, settings
from .._environment import VARIABLES
from .._setup import Arguments, Setup, resolve
from .._shield import bugs
from .._snapshot import load
from .._types import Balance
from ..errors import ConfigError, CostguardError
from ..exporters import open_exporter
from ..journals import Group, Selection, open_journal
from ..ledgers import open_ledger

State = Literal["ok", "note", "finding"]

OLD: Final = 90
"""Days after which the price list is too old to be relied on."""
_PREFIX: Final = "COSTGUARD_"
_DAY: Final = 86400


@dataclass(frozen=True, slots=True)
class Found:
    """One line of the doctor's report.

    Attributes:
        check: what was looked at.
        state: ``finding`` is what should be mended.
        said: what was seen.
        fix: how to mend it.
    """

    check: str
    state: State
    said: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Patient:
    """What is examined: the set-up that a program started here would get, or why it would get none."""

    setup: Setup | None
    file: str
    error: str

    @classmethod
    def here(cls, config: str | None) -> Patient:
        """Of this directory and this environment."""
        file = ""
        try:
            env = environment()
            read = settings(env, config)
            file = read.file
            return cls(resolve(Arguments(), env, read), file, "")
        except ConfigError as error:
            return cls(None, file, str(error))


Check = Callable[[Patient], Iterator[Found]]


def safe(value: object) -> str:
    """A setting without the password that may be in it."""
    text = str(value)
    parts = urlsplit(text) if "://" in text else None
    if parts is None or parts.password is None:
        return text
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=f"{parts.username or ''}:***@{host}").geturl()


def _why(error: Exception, url: str) -> str:
    """What an error says, without the password of the URL that it is about."""
    password = urlsplit(url).password
    said = str(error).replace(url, safe(url))
    return f"{safe(url)}: {said.replace(password, '***') if password else said}"


def distribution(_: Patient) -> Iterator[Found]:
    """Which package `import costguard` really gives."""
    names = [(one.metadata["Name"] or "", one.version) for one in distributions()]
    ours = [number for name, number in names if name.lower().replace("_", "-") == "costguard-ai"]
    if any(name.lower() == "costguard" for name, _number in names):
        yield Found(
            "package",
            "finding",
            "the other package called costguard is installed too, and they overwrite each other's files",
            "pip uninstall costguard costguard-ai, then pip install costguard-ai",
        )
    elif len(set(ours)) > 1:
        yield Found("package", "finding", f"several versions are on the path: {', '.join(ours)}", "keep one of them")
    else:
        python = ".".join(map(str, sys.version_info[:3]))
        yield Found("package", "ok", f"costguard-ai {ours[0] if ours else '(not installed)'}, Python {python}")


def configuration(patient: Patient) -> Iterator[Found]:
    """The file, and variables that nobody reads."""
    if patient.setup is None:
        yield Found("configuration", "finding", patient.error, "correct what the line above names")
    elif patient.file:
        yield Found("configuration", "ok", patient.file)
    else:
        yield Found("configuration", "note", "no file: neither costguard.toml nor a [tool.costguard] was found upwards")
    for name in sorted(inherited()):
        meant = _meant(name)
        if meant:
            said = f"the variable {name} is not read, did you mean {meant}?"
            yield Found("configuration", "finding", said, "rename or unset it")
    if environment_disabled():
        yield Found("configuration", "finding", "COSTGUARD_DISABLED is set: nothing is metered", "unset it")


def _meant(name: str) -> str:
    """The variable of ours that another one is a misspelling of. Another product's begin as ours do."""
    if not name.startswith(_PREFIX) or name in VARIABLES:
        return ""
    known = [one.removeprefix(_PREFIX) for one in VARIABLES]
    close = difflib.get_close_matches(name.removeprefix(_PREFIX), known, n=1, cutoff=0.75)
    return _PREFIX + close[0] if close else ""


def environment_disabled() -> bool:
    """Whether `instrument` would leave the SDKs alone."""
    try:
        return environment().disabled
    except ConfigError:
        return False


def ledger(patient: Patient) -> Iterator[Found]:
    """Whether the ledger answers."""
    if patient.setup is None:
        return
    url = str(patient.setup.ledger)
    leg = budget("$1", name="costguard doctor").leg({}, time.time(), "")
    try:
        opened = open_ledger(url)
        try:
            began = time.perf_counter()
            opened.balances([leg])
            took = (time.perf_counter() - began) * 1000
            twice = counted_twice(opened.windows(time.time()))
        finally:
            opened.close()
    except CostguardError as error:
        yield Found("ledger", "finding", _why(error, url), "start it, correct its URL, or install what is missing")
        return
    if opened.inline:
        yield Found("ledger", "note", f"{url} counts for one process; limits are not shared and end with it")
    else:
        yield Found("ledger", "ok", f"{safe(url)} answers in {took:.1f} ms")
    for name in twice:
        yield Found(
            "ledger",
            "note",
            f"{name!r} is counted in two windows at once, each with the whole limit",
            "its period or timezone was changed, or hosts have different zone data: pip install --upgrade tzdata",
        )


def counted_twice(present: Sequence[Balance]) -> list[str]:
    """The budgets whose calendar windows overlap: those who share the ledger do not agree on when they begin."""
    legs = [one.leg for one in present if not one.leg.slots and one.leg.ends is not None]
    legs.sort(key=lambda leg: (leg.budget, leg.starts))
    return list(
        dict.fromkeys(
            after.budget
            for before, after in pairwise(legs)
            if before.budget == after.budget and before.ends is not None and after.starts < before.ends
        )
    )


def exporters(patient: Patient) -> Iterator[Found]:
    """Whether each exporter can be made."""
    for name, options in patient.setup.exporters if patient.setup else ():
        try:
            open_exporter(name, options).close()
        except CostguardError as error:
            yield Found("exporters", "finding", str(error), "correct its name or options, or install what is missing")
        else:
            yield Found("exporters", "ok", str(name))


def journal(patient: Patient) -> Iterator[Found]:
    """Whether it can be read, and which models it has seen without a price of their own."""
    if patient.setup is None:
        return
    if patient.setup.journal is None:
        yield Found("journal", "note", "none, so which models went without a price cannot be told")
        return
    url = str(patient.setup.journal)
    try:
        opened = open_journal(url)
        try:
            groups = opened.sums(Selection(since=time.time() - 30 * _DAY), by=("provider", "model"))
        finally:
            opened.close()
    except CostguardError as error:
        yield Found("journal", "finding", _why(error, url), "correct its URL, or install what is missing")
        return
    calls = sum(group.sums.calls for group in groups)
    yield Found("journal", "ok", f"{safe(url)}: {calls:,} calls in 30 days")
    yield from _prices_missing(groups)


def _prices_missing(groups: Any) -> Iterator[Found]:
    listed: list[Group] = list(groups)
    for group in listed:
        name, sums = "/".join(group.key), group.sums
        provider, model = (*group.key, "")[:2]
        fix = f"costguard.prices.add({model!r}, provider={provider!r}, input=..., output=...), or [[prices.add]]"
        if sums.unpriced:
            yield Found("prices", "finding", f"{name}: {sums.unpriced:,} calls have a part without any price", fix)
        elif sums.estimated:
            yield Found("prices", "finding", f"{name}: {sums.estimated:,} calls were priced as a guess", fix)


def catalog(_: Patient) -> Iterator[Found]:
    """How old the prices are."""
    checked = {name: str((load(name) or {}).get("checked", "")) for name in ("openai", "anthropic", "google")}
    oldest = min(checked.values())
    age = (datetime.now(UTC).date() - date.fromisoformat(oldest)).days
    if age > OLD:
        yield Found(
            "prices", "finding", f"last checked on {oldest}, {age} days ago", "pip install --upgrade costguard-ai"
        )
    else:
        yield Found("prices", "ok", f"last checked on {oldest}, {max(age, 0)} days ago")


def clock(_: Patient) -> Iterator[Found]:
    """Whether the host knows the time, and the time zones."""
    built = str((load("openai") or {}).get("built", "1970-01-01"))
    now = datetime.now(UTC)
    if now.date() < date.fromisoformat(built):
        yield Found(
            "clock",
            "finding",
            f"it says {now:%Y-%m-%d %H:%M} UTC, which is before this release was made",
            "set the host's clock: windows of budgets and dated prices go by it",
        )
    else:
        yield Found("clock", "ok", f"{now:%Y-%m-%d %H:%M} UTC")
    try:
        zoneinfo.ZoneInfo("Europe/Berlin")
    except zoneinfo.ZoneInfoNotFoundError:
        yield Found("clock", "finding", "there are no time zones on this host", "pip install tzdata")
    else:
        yield Found("clock", "ok", f"time zones are there ({_zones()})")


def _zones() -> str:
    try:
        return f"tzdata {version('tzdata')}"
    except PackageNotFoundError:
        return "the host's"


def examine(patient: Patient, checks: tuple[Check, ...]) -> Iterator[Found]:
    """What all checks find. One that fails itself is a finding."""
    for check in checks:
        try:
            yield from check(patient)
        except Exception as error:
            if bugs.loud:
                raise
            yield Found(check.__name__, "finding", f"this check failed: {type(error).__name__}: {error}", "tell us")
