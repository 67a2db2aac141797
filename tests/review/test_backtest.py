"""Recorded calls under another policy, beside what a plain loop over them says."""

from __future__ import annotations

from costguard import budget
from costguard.review._ladders import Rungs, written
from costguard.review.backtest import Policy, backtest

from .traffic import CATALOG, at, made, month

DAY = 86_400


def test_a_daily_limit_stops_what_comes_after_it_and_tells_when() -> None:
    """$0.01 a day and calls of $0.0045: the third of each day would have been refused."""
    calls = [made(f"{day}-{hour}", at(f"2026-10-0{day}") + 3_600 * hour) for day in (1, 2) for hour in (1, 2, 3, 4)]
    found = backtest(calls, Policy((budget("$0.01/day", name="day"),)), CATALOG)
    one = 4_500_000
    assert (found.calls, found.cost, found.would_cost) == (8, 8 * one, 4 * one)
    assert (found.blocked, found.blocked_nano) == (4, 4 * one)
    assert [(stop.budget, stop.first, stop.calls) for stop in found.stops] == [
        ("day", calls[2].time, 2),
        ("day", calls[6].time, 2),
    ]
    assert found.stops[0].features == (("search", 2),)


def test_a_months_limit_over_a_feature_is_a_running_sum() -> None:
    """Where answers may be shortened and nothing overlaps, what passes is what still fits."""
    calls = [made(id=call.id, time=call.time, model=call.model, provider=call.call.provider,
                  counts=dict(call.usages[0].counts), tags=dict(call.tags), duration=0.0)
             for call in month(500)]  # fmt: skip
    limit = sum(call.cost.nano for call in calls if call.tags.get("feature") == "search") // 2
    found = backtest(calls, Policy((budget(limit / 10**9, period="month", feature="search", name="s"),)), CATALOG)
    spent = blocked = 0
    for call in calls:
        if call.tags.get("feature") == "search":
            if spent + call.cost.nano <= limit:
                spent += call.cost.nano
            else:
                blocked += 1
    assert blocked > 10
    assert found.blocked == blocked
    assert found.would_cost == found.cost - found.blocked_nano
    assert found.shortened > 0


def test_without_shortening_the_whole_hold_has_to_fit() -> None:
    """The call cost half of what was held for it: it passes only where the answer may be shortened."""
    calls = [made("a", "2026-10-03")]
    limit = calls[0].cost.nano * 3 / 2 / 10**9
    assert backtest(calls, Policy((budget(limit, clamp=False),)), CATALOG).blocked == 1
    gentle = backtest(calls, Policy((budget(limit),)), CATALOG)
    assert (gentle.blocked, gentle.shortened) == (0, 1)


def test_calls_in_flight_count() -> None:
    """Two at once do not fit where one after the other would."""
    limit = budget(0.014, clamp=False)
    for gap, blocked in ((0.5, 1), (2.0, 0)):
        calls = [made(str(index), 1_790_000_000 + gap * index) for index in range(2)]
        assert backtest(calls, Policy((limit,)), CATALOG).blocked == blocked


def test_a_limit_that_only_warns_stops_nothing() -> None:
    """It says how many calls would have been told."""
    calls = [made(str(hour), at("2026-10-01") + 3_600 * hour) for hour in range(4)]
    for gentle in (budget("$0.01", on_exceeded="warn"), budget("$0.01", enforcement="soft")):
        found = backtest(calls, Policy((gentle,)), CATALOG)
        assert (found.blocked, found.warned, found.would_cost) == (0, 2, found.cost)


def test_on_a_ladder_a_refused_call_goes_to_the_next_model() -> None:
    """Two fit at gpt-4o's price; the others cost what gpt-4o-mini would have."""
    calls = [made(str(hour), at("2026-10-01") + 3_600 * hour) for hour in range(4)]
    policy = Policy((budget("$0.01/day"),), ladders=written(["openai/gpt-4o, openai:gpt-4o-mini"]))
    found = backtest(calls, policy, CATALOG)
    mini = 1_000 * 150 + 200 * 600
    assert (found.blocked, found.downgraded) == (0, 2)
    assert found.would_cost == 2 * 4_500_000 + 2 * mini
    assert found.downgraded_saved == 2 * (4_500_000 - mini)
    others = Policy(policy.budgets, (Rungs(policy.ladders[0].models, frozenset({"other"})),))
    assert backtest(calls, others, CATALOG).downgraded == 0, "it is for another feature"


LADDER = ("openai/gpt-4o", "openai/gpt-4o-mini")
FULL, MINI = 4_500_000, 1_000 * 150 + 200 * 600


def test_downgrade_at_spares_a_budget_before_its_limit() -> None:
    """At half of $0.02 three calls of $0.0045 have gone to gpt-4o; all after that cost what gpt-4o-mini would have."""
    calls = [made(str(hour), at("2026-10-01") + 3_600 * hour) for hour in range(10)]
    sparing = budget("$0.02/day", downgrade_at=50, name="spared")
    found = backtest(calls, Policy((sparing,), (Rungs(LADDER),)), CATALOG)
    assert (found.blocked, found.downgraded, found.early) == (0, 7, 7)
    assert found.would_cost == 3 * FULL + 7 * MINI
    [stop] = found.stops
    assert (stop.what, stop.budget, stop.first, stop.calls) == ("downgraded", "spared", calls[3].time, 7)
    assert (stop.nano, stop.saved) == (7 * FULL, 7 * (FULL - MINI))
    assert backtest(calls, Policy((sparing,)), CATALOG).downgraded == 0, "there is no ladder to step down"
    later = [made("next", at("2026-10-02T01:00"))]
    assert backtest(calls + later, Policy((sparing,), (Rungs(LADDER),)), CATALOG).downgraded == 7, "a new day"


def test_a_spared_budget_that_fills_all_the_same_refuses_as_it_says() -> None:
    """$0.0099: two at gpt-4o's price, from half on three at gpt-4o-mini's, and nothing more fits."""
    calls = [made(str(hour), at("2026-10-01") + 3_600 * hour) for hour in range(10)]
    policy = Policy((budget("$0.0099/day", downgrade_at=50),), (Rungs(LADDER),))
    found = backtest(calls, policy, CATALOG)
    fit = (9_900_000 - 2 * FULL) // MINI
    assert (found.downgraded, found.blocked) == (fit, 8 - fit)
    assert [stop.what for stop in found.stops] == ["downgraded", "refused"]


def test_a_program_s_ladder_is_for_budgets_that_downgrade() -> None:
    """As in a program: at a limit that raises it stands by, at one that downgrades it steps in."""
    calls = [made(str(hour), at("2026-10-01") + 3_600 * hour) for hour in range(4)]
    for knob, blocked, downgraded in (("raise", 2, 0), ("downgrade", 0, 2)):
        limit = budget("$0.0105/day", on_exceeded=knob)  # type: ignore[arg-type]
        found = backtest(calls, Policy((limit,), (Rungs(LADDER),)), CATALOG)
        assert (found.blocked, found.downgraded, found.early) == (blocked, downgraded, 0), knob


def test_a_ladder_steps_only_to_what_is_cheaper_for_the_call() -> None:
    """Upside down it is of no use."""
    calls = [made(str(hour), at("2026-10-01") + 3_600 * hour, "gpt-4o-mini") for hour in range(4)]
    limit = budget(2.5 * MINI / 10**9, on_exceeded="downgrade")
    found = backtest(calls, Policy((limit,), (Rungs(LADDER[::-1], always=True),)), CATALOG)
    assert (found.blocked, found.downgraded) == (2, 0)


def test_a_cache_answers_what_was_asked_before() -> None:
    """Three equal questions in an hour cost one answer."""
    calls = [made(str(minute), at("2026-10-01") + 60 * minute, fingerprint="f") for minute in range(3)]
    found = backtest(calls, Policy(cache_ttl=3_600), CATALOG)
    assert (found.hits, found.hits_saved, found.would_cost) == (2, 2 * 4_500_000, 4_500_000)
    [stop] = found.stops
    assert (stop.what, stop.first, stop.calls, stop.saved) == ("cached", calls[1].time, 2, 2 * 4_500_000)
    assert backtest(calls, Policy(cache_ttl=3_600, cached=frozenset({"other"})), CATALOG).hits == 0


def test_each_user_has_a_limit_of_its_own() -> None:
    """A budget per user stops one and not the other."""
    calls = [made(f"{who}{hour}", at("2026-10-01") + 3_600 * hour, tags={"user": who})
             for hour in range(3) for who in ("a", "b")][:-1]  # fmt: skip
    found = backtest(calls, Policy((budget("$0.01", per="user", name="each"),)), CATALOG)
    assert [(stop.budget, stop.calls) for stop in found.stops] == [("each, user=a", 1)]


def test_what_was_refused_then_is_not_replayed() -> None:
    """Nothing is known of what it would have cost."""
    found = backtest([made("a", "2026-10-01", outcome="refused")], Policy(), CATALOG)
    assert (found.calls, found.not_replayed) == (0, 1)


def test_the_same_calls_give_the_same_figures() -> None:
    """Twice the same, and without a policy nothing changes."""
    calls = list(month(300))
    policy = Policy((budget("$0.50/day"), budget("$0.10/24h", feature="search")), cache_ttl=DAY)
    assert backtest(calls, policy, CATALOG) == backtest(calls, policy, CATALOG)
    plain = backtest(calls, Policy(), CATALOG)
    assert (plain.would_cost, plain.blocked, plain.stops) == (plain.cost, 0, ())
