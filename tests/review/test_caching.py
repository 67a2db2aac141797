"""What an exact cache would have answered, counted by hand and by brute force."""

from __future__ import annotations

from costguard.review.caching import caching

from .traffic import bills, made, month


def test_the_same_again_within_its_time_is_a_hit_and_worth_what_it_cost() -> None:
    """Asked at 0, 10 and 400 seconds: in five minutes one hit, in an hour two."""
    calls = [made(f"{second}", 1_790_000_000.0 + second, fingerprint="f") for second in (0, 10, 400)]
    five, hour = caching(bills(calls)(), (300, 3_600)).would
    assert (five.hits, five.saved) == (1, calls[0].cost.nano)
    assert (hour.hits, hour.saved) == (2, 2 * calls[0].cost.nano)
    assert hour.features == (("search", 2, 2 * calls[0].cost.nano),)


def test_what_is_asked_while_the_first_answer_is_made_is_no_hit() -> None:
    """Nothing is in the cache before the answer is complete."""
    calls = [made("a", 0.0, fingerprint="f", duration=5.0), made("b", 4.0, fingerprint="f", duration=5.0)]
    assert caching(bills(calls)()).would[0].hits == 0


def test_a_failed_answer_is_not_kept() -> None:
    """And so the next one is asked for in earnest."""
    calls = [made("a", 0.0, fingerprint="f", outcome="error"), made("b", 9.0, fingerprint="f")]
    assert caching(bills(calls)()).would[0].hits == 0


def test_what_cannot_be_told_apart_is_not_counted_as_known() -> None:
    """A call without a fingerprint is a request of which nothing is known; a refused one is none."""
    found = caching(bills([made("a", 0.0), made("b", 1.0, fingerprint="f"), made("c", 2.0, outcome="refused")])())
    assert (found.requests, found.known) == (2, 1)


def test_what_the_cache_did_answer_counts_as_asked() -> None:
    """Real hits are told with what they saved, and would have been hits too."""
    hit = made("b", 9.0, fingerprint="f", decision="cache_hit", saved=123, usages=())
    hit_cost = hit.cost.nano
    found = caching(bills([made("a", 0.0, fingerprint="f"), hit])())
    assert (found.hits, found.saved) == (1, 123)
    assert (found.would[0].hits, found.would[0].saved) == (1, 123 + hit_cost)


def test_providers_own_caches_are_told_in_tokens() -> None:
    """3,000 of 4,000 tokens were read from one."""
    found = caching(bills([made("a", 0.0, counts={"input": 1_000, "cache_read": 3_000})])())
    assert (found.cached_tokens, found.input_tokens) == (3_000, 4_000)


def test_a_months_hits_are_those_of_looking_back_at_every_call() -> None:
    """For each call, was the same answered by an earlier miss that is not too old? Quadratic, and the same."""
    calls = list(month(800))
    ttl = 86_400
    kept: list[tuple[str, float]] = []
    hits = saved = 0
    for call in calls:
        if any(name == call.fingerprint and 0 <= call.time - since < ttl for name, since in kept):
            hits, saved = hits + 1, saved + call.cost.nano
        elif call.outcome == "ok":
            kept.append((call.fingerprint, call.time + call.duration))
    would = caching(bills(calls)(), (ttl,)).would[0]
    assert hits > 10
    assert (would.hits, would.saved) == (hits, saved)
    assert sum(nano for _, _, nano in would.features) == saved
