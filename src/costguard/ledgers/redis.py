"""One book for many hosts, in Redis or Valkey 6.2 or newer.

Each step is one Lua script, which Redis runs alone: it reads every window it needs, then changes all of them or none.
The scripts (beside this file) do what `costguard._book` does, and are checked against it. All keys of a namespace
carry one hash tag, so a script finds them on one node.

What must be set up on the server: ``maxmemory-policy noeviction``, and ``appendonly yes``. A server that loses writes
it had acknowledged would hand out money again, so each client remembers the ledger's epoch and the number of its last
write; when they are gone or go back it refuses to reserve until `RedisLedger.accept_loss`.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Sequence
from math import ceil
from typing import Any, Final, Literal
from urllib.parse import parse_qsl, urlencode

from .._book import IdempotencyConflictError, windows
from .._outbox import PATIENCE
from .._outbox import key_of as key_of_alert
from .._shield import log
from .._terms import PLAIN, amend, check, in_force, with_limit
from .._types import Amendment, Balance, Crossing, Granted, Hold, Leg, Nano, Refusal, Refused
from ..errors import ConfigError, LedgerUnavailableError
from ._records import amendment_as_json, amendment_from_json, legs_from_json, terms_as_text, terms_from_text
from ._redis_link import Ask, Link, Script
from ._redis_told import (
    NOTHING,
    STATES,
    Told,
    alert_field,
    amounts,
    crossing_of,
    described,
    pairs,
    row_of,
    slots,
    told,
    told_of,
)  # fmt: skip
from ._redis_words import pack
from ._stepped import REMEMBERED

Clock = Literal["server", "client"]

KEPT: Final = 7 * 86400.0
"""Seconds that a window's books are kept after its end."""
BATCH: Final = 200
"""Holds that are charged, and windows that are forgotten, in one round trip of the reaper."""
ROUNDS: Final = 50
"""Round trips of the reaper, at most, before it lets others work."""
OWN: Final = 10_000
"""Open holds of this process whose legs are remembered, which spares their end a round trip."""
LARGEST: Final = 2**53
"""Redis compares doubles, exact up to here; limits are below it."""

_NAMESPACE = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_RESERVE, _EXTEND = Script("_hold", "reserve"), Script("_hold", "extend")
_FINISH, _ADJUST = Script("_end", "finish"), Script("_end", "adjust")
_AMEND, _DUE, _FORGET = Script("amend"), Script("due"), Script("forget")
_UNTOLD = Script("untold")
_GRANTED: Final = Granted()
_NONE: Final = "0 -"
"""What is known of a ledger's history before it was asked: the number of its last write, and its epoch."""
_LOST: Final = (
    "the ledger {where} lost writes that it had acknowledged (it was flushed, restarted without appendonly, or failed"
    " over): its books say less than was spent; check them, then call RedisLedger.accept_loss() or restart"
)


class RedisLedger:
    """Counts in Redis, shared by every process of every host that names the same server and namespace.

    Args:
        url: ``redis://``, ``rediss://`` or ``unix://``, with redis-py's options.
        namespace: names the books; each has its own, on one node of a cluster.
        clock: whose clock ends leases. With ``server`` a lease is a length of time that the server counts, so a client
            whose clock is wrong neither loses its holds nor charges those of others; with ``client`` the reaper goes
            by the instant it is given, for tests and replays.
        keep: seconds that a window's books are kept after its end.

    Raises:
        MissingExtraError: redis-py is not installed.
        ConfigError: the URL, an option of it or the namespace is malformed.
    """

    inline = False

    def __init__(self, url: str, *, namespace: str = "default", clock: Clock = "server", keep: float = KEPT) -> None:
        if not _NAMESPACE.fullmatch(namespace):
            raise ConfigError(f"namespace={namespace!r}: use up to 64 letters, digits and . _ -")
        if clock not in ("server", "client"):
            raise ConfigError(f"clock={clock!r}: allowed are 'server' and 'client'")
        self._link = Link(url)
        # The number is that of the layout: books in another one are left alone.
        self._prefix = f"cg2:{{{namespace}}}:"
        books = [self._prefix + name for name in ("books", "leases", "windows", "terms", "alerts")]
        self._rows, _, self._windows, self._terms, self._alerts = books
        self._amendments = f"{self._prefix}amendments"
        self._books = pack(*books)
        self._clock = clock
        self._keep = keep
        self._own: dict[str, Told] = {}
        self._orphans: dict[str, Told] = {}
        # The ledger's epoch and the number of its last write, as last seen.
        self._history = _NONE
        self._lost = False

    def reserve(self, hold: Hold) -> Granted | Refused:
        """See `costguard.ports.Ledger.reserve`."""
        _check(hold.amount)
        self._open()
        return self._reserve(hold, self._history)

    def extend(self, id: str, amount: Nano) -> Granted | Refused:
        """See `costguard.ports.Ledger.extend`."""
        _check(amount)
        self._open()
        legs, word, history = self._own.get(id, NOTHING), secrets.token_hex(8), self._history
        reply = self._grow(_EXTEND, id, legs, *history.split(" "), amount, word, self._keep, id)
        if reply[0] == "legs":
            legs = told(legs_from_json(reply[2]))
            reply = self._grow(_EXTEND, id, legs, *history.split(" "), amount, word, self._keep, id)
        if reply[0] == "unknown" and id in self._orphans:
            raise LedgerUnavailableError(f"hold {id} is gone with what the ledger lost")
        if reply[0] == "conflict":
            raise IdempotencyConflictError(f"hold {id} is {STATES[reply[2]]}, so it cannot be extended")
        return self._answer(id, reply, legs, amount)

    def settle(self, id: str, actual: Nano) -> Granted:
        """See `costguard.ports.Ledger.settle`."""
        _check(actual)
        return self._finish(id, "settled", actual)

    def release(self, id: str) -> Granted:
        """See `costguard.ports.Ledger.release`."""
        return self._finish(id, "released", 0)

    def adjust(self, id: str, correction: str, actual: Nano) -> Granted:
        """See `costguard.ports.Ledger.adjust`."""
        _check(actual)
        legs = self._own.get(id, NOTHING)
        reply = self._link.run(self._correction(id, legs, correction, actual))[0]
        if reply[0] == "legs":
            legs = told(legs_from_json(reply[3]))
            reply = self._link.run(self._correction(id, legs, correction, actual))[0]
        self._note(reply)
        if reply[0] == "unknown":
            raise KeyError(f"no hold {id}")
        if reply[0] == "open":
            raise IdempotencyConflictError(f"hold {id} is open, so it has no charge that could be corrected")
        if reply[0] == "conflict":
            raise IdempotencyConflictError(f"correction {correction} of {id} was {reply[3]} before, now {actual}")
        return _granted(reply, legs)

    def amend(self, amendment: Amendment) -> None:
        """See `costguard.ports.Ledger.amend`."""
        check(amendment)
        self._open()
        text = amendment_as_json(amendment)
        while True:
            before = self._link.ask(("HGET", self._terms, amendment.budget))[0] or ""
            after = amend(terms_from_text(before) if before else PLAIN, amendment)
            args = (*self._history.split(" "), amendment.id, amendment.budget, text, before, terms_as_text(after))
            words = pack(self._amendments, *args, secrets.token_hex(8))
            reply = self._link.run(Ask(_AMEND, 6, (self._books, words)))[0]
            if reply[0] != "again":
                break
        if reply[0] == "lost":
            raise self._loss()
        self._saw(reply[1])
        if reply[0] == "known" and (known := amendment_from_json(reply[2])) != amendment:
            raise IdempotencyConflictError(f"amendment {amendment.id} was another one before: {known}")

    def amendments(self, budget: str | None = None) -> Sequence[Amendment]:
        """See `costguard.ports.Ledger.amendments`."""
        kept = [text.partition(" ") for _, text in pairs(self._link.ask(("HGETALL", self._amendments))[0])]
        every = [amendment_from_json(text) for _, _, text in sorted(kept, key=lambda one: int(one[0]))]
        return [one for one in every if budget is None or one.budget == budget]

    def balances(self, legs: Sequence[Leg], at: float = 0.0) -> Sequence[Balance]:
        """See `costguard.ports.Ledger.balances`."""
        if not legs:
            return []
        names = sorted({name for leg in legs for name in (leg.budget, leg.group) if name})
        wanted = [slots(leg) for leg in legs]
        read = ("HMGET", self._rows, *[name for each in wanted for name in each])
        found, row = self._link.ask(("MULTI",), ("HMGET", self._terms, *names), read, ("EXEC",))[-1]
        terms = {name: terms_from_text(text) for name, text in zip(names, found, strict=True) if text}
        balances, rest = [], iter(row)
        for leg, each in zip(legs, wanted, strict=True):
            leg, paused = in_force(leg, terms, at)
            spent, held = map(sum, zip(*[amounts(next(rest)) for _ in each], strict=True))
            balances.append(Balance(leg, spent, held, paused))
        return balances

    def windows(self, at: float) -> Sequence[Balance]:
        """See `costguard.ports.Ledger.windows`."""
        names = self._link.ask(("ZRANGEBYSCORE", self._windows, f"({at!r}", "+inf"))[0]
        if not names:
            return []
        read = ("HMGET", self._rows, *[field for name in names for field in (name, described(name))])
        texts, found = self._link.ask(("MULTI",), ("HGETALL", self._terms), read, ("EXEC",))[-1]
        terms = {name: terms_from_text(text) for name, text in pairs(texts)}
        rows = [row_of(*each) for each in zip(names, found[::2], found[1::2], strict=True)]
        return windows(dict([row for row in rows if row]), terms, at)

    def reap(self, now: float) -> Sequence[Granted]:
        """See `costguard.ports.Ledger.reap`. The server's clock decides what is over, unless ``clock="client"``."""
        at = "-" if self._clock == "server" else repr(now)
        charged: list[Granted] = []
        for _ in range(ROUNDS):
            ids, over = self._link.run(Ask(_DUE, 5, (self._books, pack(at, self._keep, BATCH))))[0]
            charged += self._expire(ids, at)
            forgotten = self._forget(over, at) if over else 0
            if len(ids) < BATCH and (len(over) < BATCH or not forgotten):
                break
        return charged

    def undelivered(self, now: float) -> Sequence[Crossing]:
        """See `costguard.ports.Ledger.undelivered`. The server's clock counts, unless ``clock="client"``."""
        at = "-" if self._clock == "server" else repr(now)
        overdue = [crossing_of(text) for text in self._link.run(Ask(_UNTOLD, 5, (self._books, pack(at, PATIENCE))))[0]]
        return sorted(overdue, key=key_of_alert)

    def delivered(self, crossings: Sequence[Crossing]) -> None:
        """See `costguard.ports.Ledger.delivered`."""
        if crossings:
            fields = [alert_field(one) for one in crossings]
            self._link.ask(("HDEL", self._alerts, *fields))

    def close(self) -> None:
        """Close the connections; the next step opens them again."""
        self._link.close()

    def accept_loss(self) -> None:
        """Go on with the books as they are, after the ledger lost writes it had acknowledged.

        Until then reservations raise `LedgerUnavailableError`. Correct the books first if more was spent than they
        say; calls of this process that are still open are booked again when they end. Each process accepts for itself.
        """
        self._history = _NONE
        self._lost = False

    # -- inner

    def _reserve(self, hold: Hold, history: str) -> Granted | Refused:
        legs = told(hold.legs)
        anew = secrets.token_hex(8) if history == _NONE else "-"
        lease, at = "-", repr(hold.at)
        if self._clock == "server":
            lease, at = str(ceil(hold.expires - time.time())), "-"
        how = f"{history} {anew} {hold.amount} {hold.expires!r} {lease} {self._keep} {at} {hold.id}"
        reply = self._grow(_RESERVE, hold.id, legs, how)
        if reply[0] == "conflict":
            raise IdempotencyConflictError(f"hold {hold.id} was made with other figures before")
        return self._answer(hold.id, reply, legs, hold.amount)

    def _answer(self, id: str, reply: Sequence[Any], legs: Told, amount: Nano) -> Granted | Refused:
        match reply[0]:
            case "granted":
                if len(self._own) >= OWN:
                    self._own.clear()
                self._own[id] = legs
                return _GRANTED
            case "refused":
                return Refused(tuple(
                    Refusal(with_limit(legs.legs[int(at)], int(limit)), int(p), int(h), amount, paused == "1")
                    for at, p, h, limit, paused in reply[2]
                ))  # fmt: skip
            case "unknown":
                raise KeyError(f"no hold {id}")
            case _:
                raise self._loss()

    def _finish(self, id: str, to: str, actual: Nano) -> Granted:
        legs = self._own.get(id, NOTHING)
        reply = _words(self._link.run(self._end(id, legs, to, actual))[0])
        if reply[0] == "legs":
            legs = told(legs_from_json(reply[3]))
            reply = _words(self._link.run(self._end(id, legs, to, actual))[0])
        self._note(reply)
        if reply[0] == "unknown":
            return self._book_anew(id, to, actual)
        if reply[0] == "conflict" and STATES[reply[3]] == to == "settled":
            raise IdempotencyConflictError(f"hold {id} was settled at {reply[4]} before, now {actual}")
        if reply[0] == "conflict":
            raise IdempotencyConflictError(f"hold {id} is {STATES[reply[3]]}; it cannot become {to}")
        assert reply[0] == "granted"
        self._own.pop(id, None)
        self._orphans.pop(id, None)
        return _granted(reply, legs)

    def _book_anew(self, id: str, to: str, actual: Nano) -> Granted:
        """End a hold that the ledger does not know: one it lost is made again, at zero, which nothing refuses."""
        legs = self._orphans.get(id)
        if legs is None:
            raise KeyError(f"no hold {id}")
        if to == "released":
            self._orphans.pop(id, None)
            return Granted()
        self._reserve(Hold(id, 0, legs.legs, time.time() + REMEMBERED), _NONE)
        return self._finish(id, to, actual)

    def _expire(self, ids: Sequence[str], at: str) -> list[Granted]:
        if not ids:
            return []
        legs = [told_of(text) for text in self._link.ask(*[("GET", f"{self._prefix}hold:{id}") for id in ids])]
        ends = [self._end(id, own, "expired", 0, at) for id, own in zip(ids, legs, strict=True)]
        replies = [_words(reply) for reply in self._link.run(*ends)]
        for reply in replies:
            self._note(reply)
        return [_granted(reply, own) for reply, own in zip(replies, legs, strict=True) if reply[0] == "granted"]

    def _forget(self, over: Sequence[str], at: str) -> int:
        forgotten: int = self._link.run(Ask(_FORGET, 5, (self._books, pack(at, self._keep, *over))))[0]
        return forgotten

    def _grow(self, script: Script, id: str, legs: Told, *args: object) -> Sequence[Any]:
        """Hold more, and remember what the ledger says of its history."""
        words = pack(f"{self._prefix}hold:{id}", *args)
        reply = _words(self._link.run(Ask(script, 6, (self._books, words, legs.held)))[0])
        if reply[0] != "lost":
            self._saw(reply[1])
        return reply

    def _end(self, id: str, legs: Told, to: str, actual: Nano, at: str = "-") -> Ask:
        how = f"{self._history} {to[0]} {actual} {self._keep} {REMEMBERED:.0f} {at} {id}"
        return Ask(_FINISH, 6, (self._books, pack(f"{self._prefix}hold:{id}", how), legs.ended))

    def _correction(self, id: str, legs: Told, correction: str, actual: Nano) -> Ask:
        # They outlive a hold that was corrected before its own late end.
        args = (*self._history.split(" "), correction, actual, int(2 * REMEMBERED))
        words = pack(f"{self._prefix}hold:{id}", f"{self._prefix}corrections:{id}", *args)
        return Ask(_ADJUST, 7, (self._books, words, legs.ended))

    # -- what the ledger lost

    def _open(self) -> None:
        if self._lost:
            raise self._loss()

    def _note(self, reply: Sequence[Any]) -> None:
        if reply[2]:
            self._loss()
        else:
            self._saw(reply[1])

    def _saw(self, history: str) -> None:
        if not self._lost:
            self._history = history

    def _loss(self) -> LedgerUnavailableError:
        """Reserve nothing more, and remember whose holds may be gone."""
        error = LedgerUnavailableError(_LOST.format(where=self._link.where))
        if not self._lost:
            self._lost = True
            self._orphans |= self._own
            log.error("%s", error)
        return error


def _check(amount: Nano) -> None:
    if amount < 0:
        raise ValueError(f"{amount} nano-dollars: an amount of money is never negative")
    if amount > LARGEST:
        raise ValueError(f"{amount} nano-dollars: Redis counts amounts up to {LARGEST}")


def _words(reply: Any) -> Sequence[Any]:
    """A reply in parts. A plain grant comes as nothing but the history after it, which is read faster."""
    return ("granted", reply, 0, ()) if isinstance(reply, str) else reply


def _granted(reply: Sequence[Any], told: Told) -> Granted:
    if not reply[3]:
        return _GRANTED
    crossings = [
        (with_limit(told.legs[int(leg)], int(limit)), int(mark), int(spent)) for leg, mark, spent, limit in reply[3]
    ]
    return Granted(tuple(Crossing(leg, leg.marks[mark][0], spent) for leg, mark, spent in crossings))


def open_redis(url: str) -> RedisLedger:
    """Open ``redis://host:6379/0``, ``rediss://`` or ``unix:///path``, with ``?namespace=acme`` and redis-py's options.

    Raises:
        MissingExtraError: redis-py is not installed.
        ConfigError: it is malformed.
    """
    server, _, query = url.partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    namespace = options.pop("namespace", "default")
    return RedisLedger(f"{server}?{urlencode(options)}", namespace=namespace)
