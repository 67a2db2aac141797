"""The pytest plugin, run by pytest in a process of its own, over the real OpenAI SDK and a provider that counts."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from textwrap import dedent

import pytest

from costguard._budget import clean_tags
from costguard.pytest_plugin._books import tag_of
from costguard.testing.loopback import LoopbackProvider, Reply

from . import warm

pytest_plugins = ["pytester"]

CALL = """
import openai
import pytest

def call(model="gpt-4o-mini", tokens=1000, **options):
    client = openai.OpenAI(max_retries=0)
    return client.chat.completions.create(
        model=model, max_tokens=tokens, messages=[{"role": "user", "content": "hi"}], **options
    )
"""
"""A call of 1,000 tokens each way, which gpt-4o-mini bills with $0.00075."""

PLUGINS = ("pytest_asyncio.plugin", "xdist", "costguard.pytest_plugin")

Run = Callable[..., pytest.RunResult]


@pytest.fixture
def run(pytester: pytest.Pytester, provider: LoopbackProvider, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Write a test module after the helper `call` and run pytest on it."""
    # Only the plugins that are named: the others would double the time of each run.
    for name, value in {**provider.env(), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}.items():
        monkeypatch.setenv(name, value)

    def go(code: str, *args: str, conftest: str = "", ini: str = "") -> pytest.RunResult:
        pytester.makepyfile(helper=CALL)
        pytester.makepyfile(test_it="from helper import *\n" + dedent(code))
        pytester.makeconftest(dedent(conftest))
        pytester.makeini(f"[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n{ini}")
        return warm.run(pytester.path, [*(f"-p{name}" for name in PLUGINS), *args])

    return go


def rows(result: pytest.RunResult) -> dict[str, str]:
    """The summary's lines by the name at their end."""
    found = {}
    for line in result.outlines:
        match = re.match(r"\s*(?P<figures>(?:>= |~)?\$\S+ +[\d,]+ +[\d,]+ +[\d,]+)  (?P<name>.+)", line)
        if match is not None:
            found[match["name"]] = " ".join(match["figures"].split())
    return found


# -- off -----------------------------------------------------------------------------------------------------------


def test_without_being_asked_it_touches_and_prints_nothing(run: Run, provider: LoopbackProvider) -> None:
    """A run that uses no option, marker or fixture finds its SDKs untouched and its output unchanged."""
    result = run("""
        import wrapt
        from openai._base_client import SyncAPIClient

        def test_a():
            call()
            assert not isinstance(vars(SyncAPIClient)["request"], wrapt.FunctionWrapper)
            from costguard._config import state
            assert state._guard is None
    """)  # fmt: skip
    result.assert_outcomes(passed=1)
    assert provider.count == 1
    assert "costguard" not in result.stdout.str()


def test_the_module_imports_no_sdk_and_no_more_of_costguard_than_its_door(run: Run) -> None:
    """Loading the plugin imports its own module and what `import costguard` does, and no SDK."""
    result = run(
        """
        import sys

        def test_a():
            plugin = sorted(name for name in sys.modules if name.startswith("costguard.pytest_plugin"))
            assert plugin == ["costguard.pytest_plugin"]
            assert "anthropic" not in sys.modules
        """
    )
    result.assert_outcomes(passed=1)


def test_it_only_names_its_marker_options_and_fixture(run: Run) -> None:
    """`--markers`, `--help` and `--fixtures` explain what there is."""
    assert "@pytest.mark.budget(limit" in run("", "--markers").stdout.str()
    assert "--costguard-budget=LIMIT" in run("", "--help").stdout.str()
    assert "costguard_ledger" in run("", "--fixtures").stdout.str()


# -- the marker ----------------------------------------------------------------------------------------------------


def test_a_test_over_its_budget_fails_before_the_money_is_spent(run: Run, provider: LoopbackProvider) -> None:
    """The call that could pass the limit raises and is never sent."""
    result = run("""
        @pytest.mark.budget("$0.002", clamp=False)
        def test_a():
            for _ in range(10):
                call()
    """)  # fmt: skip
    result.assert_outcomes(failed=1)
    assert provider.count == 2
    result.stdout.fnmatch_lines(["*BudgetExceededError: budget 'test_it.py::test_a': $0.0015* of $0.002* is spent*"])
    assert "2 refused" not in result.stdout.str()


def test_a_test_within_its_budget_passes_and_is_listed(run: Run, provider: LoopbackProvider) -> None:
    """The summary shows what a marked test did cost."""
    result = run("""
        @pytest.mark.budget("$0.05")
        def test_a():
            call()
            call()
    """)  # fmt: skip
    result.assert_outcomes(passed=1)
    assert dict.fromkeys(("test_it.py::test_a", "total of 1 test"), "$0.001500 2 2,000 2,000") == rows(result)
    assert provider.count == 2


def test_a_test_that_swallows_the_refusal_fails_all_the_same(run: Run, provider: LoopbackProvider) -> None:
    """Catching the error does not make an overspending test pass; the failure says how many calls were refused."""
    result = run("""
        @pytest.mark.budget("$0.0001", clamp=False)
        def test_a():
            for _ in range(2):
                try:
                    call()
                except Exception:
                    pass
    """)  # fmt: skip
    result.assert_outcomes(failed=1)
    assert provider.count == 0
    result.stdout.fnmatch_lines(["costguard: 2 calls of this test were refused before being sent*test_it.py::test_a*"])


def test_a_soft_budget_fails_the_test_afterwards(run: Run, provider: LoopbackProvider) -> None:
    """`enforcement="soft"` lets the calls through and fails the test that spent more than its limit."""
    result = run("""
        @pytest.mark.budget("$0.001", enforcement="soft")
        def test_a():
            call()
            call()

        @pytest.mark.budget("$0.001", enforcement="soft")
        def test_b():
            call()
    """)  # fmt: skip
    result.assert_outcomes(failed=1, passed=1)
    assert provider.count == 3
    result.stdout.fnmatch_lines(["costguard: this test spent $0.0015*; its budget is $0.001*"])


def test_a_budget_of_a_feature_counts_its_calls_only(run: Run, provider: LoopbackProvider) -> None:
    """Tags restrict a marker to the calls that carry them."""
    result = run("""
        import costguard

        @pytest.mark.budget("$0.001", clamp=False, feature="search")
        def test_a():
            call()
            call()
            with costguard.budgeted(feature="search"):
                call()
                with pytest.raises(ZeroDivisionError):
                    call()
    """)  # fmt: skip
    result.assert_outcomes(failed=1)
    assert provider.count == 3
    result.stdout.fnmatch_lines(["*budget 'test_it.py::test_a, feature=search'*"])


def test_the_nearest_marker_of_a_scope_holds(run: Run, provider: LoopbackProvider) -> None:
    """A marker on the function goes before the one on its class."""
    result = run("""
        @pytest.mark.budget("$0.0001", clamp=False)
        class TestThings:
            @pytest.mark.budget("$0.01")
            def test_a(self):
                call()

            def test_b(self):
                call()
    """)  # fmt: skip
    result.assert_outcomes(failed=1, passed=1)
    assert provider.count == 1


def test_a_test_may_test_its_own_limits(run: Run, provider: LoopbackProvider) -> None:
    """A refusal by a budget of the program under test is no fault of the test."""
    result = run("""
        import costguard

        @pytest.mark.budget("$1")
        def test_a():
            with pytest.raises(costguard.BudgetExceededError):
                with costguard.budgeted(limit="$0.0001", clamp=False):
                    call()
    """)  # fmt: skip
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*test_it.py::test_a*1 refused*"])


BAD = {
    '"5 pounds"': "limit: '5 pounds' is no amount of US dollars*",
    "": "give one limit*",
    '"$1", "$2"': "give one limit*",
    '"$1/day"': "the limit is for one run of the test; leave the period out",
    '"$1", period="day"': "period= has no place here*",
    '"$1", enforcement="none"': "enforcement='none': allowed are*",
    '"$1", feature=7': "tag feature=7*",
    '"$1", limit="$2"': "limit= has no place here*",
    '"$1", wait="long"': "wait='long': give seconds*",
}


def test_a_marker_that_cannot_be_read_is_an_error_of_its_test(run: Run) -> None:
    """The collection names the test, the marker and what is allowed; the tests beside it are collected."""
    tests = [f"@pytest.mark.budget({arguments})\ndef test_bad{n}(): pass" for n, arguments in enumerate(BAD)]
    result = run("\n".join([*tests, "def test_good(): pass"]), "--continue-on-collection-errors")
    result.assert_outcomes(errors=len(BAD), passed=1)
    for n, problem in enumerate(BAD.values()):
        result.stdout.fnmatch_lines([f"test_it.py::test_bad{n}: @pytest.mark.budget(*): {problem}"])
    assert "INTERNALERROR" not in result.stdout.str() + result.stderr.str()


def test_a_marker_added_while_collecting_holds(run: Run, provider: LoopbackProvider) -> None:
    """A conftest may put a budget on every test."""
    conftest = """
        import pytest

        def pytest_collection_modifyitems(items):
            for item in items:
                item.add_marker(pytest.mark.budget("$0.0001", clamp=False))
    """
    run("def test_a(): call()", conftest=conftest).assert_outcomes(failed=1)
    assert provider.count == 0


# -- the run -------------------------------------------------------------------------------------------------------


TEN = """
@pytest.mark.parametrize("n", range(10))
def test_a(n):
    call()
"""


def test_the_runs_budget_refuses_what_is_beyond_it(run: Run, provider: LoopbackProvider) -> None:
    """With --costguard-budget exhausted, the tests that go on calling fail with a sentence that says so."""
    result = run(TEN, "--costguard-budget=$0.003")
    assert 3 <= provider.count <= 4
    result.assert_outcomes(passed=provider.count, failed=10 - provider.count)
    result.stdout.fnmatch_lines(["*BudgetExceededError: budget '--costguard-budget': $0.00* of $0.003* is spent*"])
    result.stdout.fnmatch_lines(["--costguard-budget: $0.00* of $0.003* spent, *%"])


def test_the_runs_budget_may_stand_in_the_ini_file(run: Run, provider: LoopbackProvider) -> None:
    """`costguard_budget` is the option's default, and the option goes before it."""
    run(TEN, ini="costguard_budget = $0.0001").assert_outcomes(failed=10)
    assert provider.count == 0
    run(TEN, "--costguard-budget=$1", ini="costguard_budget = $0.0001").assert_outcomes(passed=10)


@pytest.mark.parametrize("limit", ["a lot", "$1/day"])
def test_a_limit_that_cannot_be_read_stops_the_run(run: Run, limit: str) -> None:
    """A malformed --costguard-budget is a usage error."""
    result = run(TEN, f"--costguard-budget={limit}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: --costguard-budget={limit}: *"])


def test_metering_alone_refuses_nothing_and_lists_the_dearest_first(run: Run) -> None:
    """--costguard lists the dearest tests, as many as asked for, and a total of all."""
    result = run(
        """
        def test_cheap(): call()
        def test_dear(): [call() for _ in range(3)]
        def test_middle(): [call() for _ in range(2)]
        def test_free(): pass
        """,
        "--costguard",
        "--costguard-top=2",
    )
    result.assert_outcomes(passed=4)
    assert list(rows(result)) == [
        "test_it.py::test_dear",
        "test_it.py::test_middle",
        "total of 3 tests, 1 of them not listed",
    ]
    assert rows(result)["test_it.py::test_dear"] == "$0.002250 3 3,000 3,000"


def test_a_run_without_calls_says_so_when_asked(run: Run) -> None:
    """--costguard on a suite that calls no model prints one line."""
    assert "no metered call was made" in run("def test_a(): pass", "--costguard").stdout.str()


def test_guesses_are_marked(run: Run) -> None:
    """Estimated and unpriced calls are shown as such, next to the figure they blur."""
    result = run(
        """
        def test_estimated(): call(model="gpt-9-of-tomorrow")

        def test_unpriced():
            import costguard
            costguard.track("a-model-of-ours", provider="us", input_tokens=7)
        """,
        "--costguard",
    )
    result.stdout.fnmatch_lines(["*~$*test_it.py::test_estimated*1 estimated*"])
    result.stdout.fnmatch_lines(["*>= $0.00*test_it.py::test_unpriced*1 unpriced and not in the cost*"])


def test_metering_switched_off_by_the_environment_is_said(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """COSTGUARD_DISABLED wins, and the summary does not pretend that a limit was enforced."""
    monkeypatch.setenv("COSTGUARD_DISABLED", "1")
    result = run(TEN, "--costguard-budget=$0.0001")
    result.assert_outcomes(passed=10)
    result.stdout.fnmatch_lines(["COSTGUARD_DISABLED is set: nothing was metered*"])


# -- the fixture ---------------------------------------------------------------------------------------------------


def test_the_fixture_gives_the_books_of_the_test(run: Run) -> None:
    """`costguard_ledger` counts the calls of its test, by model and by tag, and knows what was refused."""
    result = run("""
        from decimal import Decimal
        import costguard

        def test_before(): call()

        def test_a(costguard_ledger):
            assert costguard_ledger.spent == 0
            assert costguard_ledger.calls == []
            call()
            with costguard.budgeted(feature="search"):
                call("gpt-4o")
            assert costguard_ledger.by_model() == {"gpt-4o": Decimal("0.0125"), "gpt-4o-mini": Decimal("0.00075")}
            assert costguard_ledger.by("feature") == {"search": Decimal("0.0125"), "": Decimal("0.00075")}
            assert costguard_ledger.spent == Decimal("0.01325")
            assert [event.model for event in costguard_ledger.calls] == ["gpt-4o-mini", "gpt-4o"]
            assert costguard_ledger.calls[0].tags["test"] == "test_it.py::test_a"
            with pytest.raises(costguard.BudgetExceededError), costguard.budgeted(limit="$0.00001", clamp=False):
                call()
            assert len(costguard_ledger.refused) == 1
            assert len(costguard_ledger.calls) == 2
            assert costguard_ledger.held == 0
            assert repr(costguard_ledger) == "<costguard_ledger: $0.01325 in 2 calls>"
    """)  # fmt: skip
    result.assert_outcomes(passed=2)


@pytest.mark.parametrize("marker", ["", '@pytest.mark.budget("$1")'])
def test_the_fixture_shows_what_calls_in_flight_hold(run: Run, marker: str) -> None:
    """While a stream is open its worst case is held; afterwards it is spent."""
    result = run(f"""
        {marker}
        def test_a(costguard_ledger):
            stream = call(stream=True)
            next(iter(stream))
            assert costguard_ledger.held > 0
            assert costguard_ledger.spent == 0
            for _ in stream: pass
            assert costguard_ledger.held == 0
            assert costguard_ledger.spent > 0
    """)  # fmt: skip
    result.assert_outcomes(passed=1)


def test_the_fixture_asked_for_by_name_switches_metering_on(run: Run) -> None:
    """`request.getfixturevalue` works where nothing else asked for metering."""
    result = run("""
        def test_a(request):
            ledger = request.getfixturevalue("costguard_ledger")
            call()
            assert len(ledger.calls) == 1

        def test_b():
            call()
    """)  # fmt: skip
    result.assert_outcomes(passed=2)
    assert {"test_it.py::test_a", "test_it.py::test_b"} < set(rows(result))


# -- whose call it is ----------------------------------------------------------------------------------------------


def test_coroutines_threads_and_executors_count_on_their_test(run: Run, provider: LoopbackProvider) -> None:
    """A call belongs to the running test, in whatever task or thread it is made."""
    # As much as is held for it: however the threads take turns, three calls fit.
    provider.reply = Reply(input_tokens=10, output_tokens=1000)
    result = run("""
        import asyncio, threading
        from concurrent.futures import ThreadPoolExecutor

        @pytest.mark.budget("$0.01")
        async def test_async(costguard_ledger):
            client = openai.AsyncOpenAI()
            await asyncio.gather(*(
                client.chat.completions.create(
                    model="gpt-4o-mini", max_tokens=1000, messages=[{"role": "user", "content": "hi"}])
                for _ in range(3)))
            assert len(costguard_ledger.calls) == 3

        def test_thread(costguard_ledger):
            thread = threading.Thread(target=call)
            thread.start()
            thread.join()
            assert len(costguard_ledger.calls) == 1

        @pytest.mark.budget("$0.002", clamp=False)
        def test_executor():
            with ThreadPoolExecutor(4) as pool:
                [one.result() for one in [pool.submit(call) for _ in range(8)]]
    """)  # fmt: skip
    result.assert_outcomes(passed=2, failed=1)
    assert provider.count == 3 + 1 + 3


@pytest.mark.parametrize("scope", ["module", "session"])
def test_an_event_loop_that_outlives_a_test_attributes_to_the_running_one(run: Run, scope: str) -> None:
    """A loop of a wider scope keeps no test's attribution for the next."""
    result = run(f"""
        pytestmark = pytest.mark.asyncio(loop_scope="{scope}")

        async def one():
            await openai.AsyncOpenAI().chat.completions.create(
                model="gpt-4o-mini", max_tokens=1000, messages=[{{"role": "user", "content": "hi"}}])

        async def test_a(costguard_ledger):
            await one()
            assert len(costguard_ledger.calls) == 1

        async def test_b(costguard_ledger):
            await one()
            await one()
            assert len(costguard_ledger.calls) == 2
    """)  # fmt: skip
    result.assert_outcomes(passed=2)


def test_a_shared_fixture_counts_on_the_test_that_sets_it_up(run: Run) -> None:
    """Calls of a module's fixture belong to the first test that uses it, those of its teardown to the last."""
    result = run(
        """
        @pytest.fixture(scope="module")
        def answer():
            call()
            yield "hi"
            call()
            call()

        def test_first(answer, costguard_ledger): assert len(costguard_ledger.calls) == 1
        def test_second(answer, costguard_ledger): assert costguard_ledger.calls == []
        """,
        "--costguard",
    )
    result.assert_outcomes(passed=2)
    assert [rows(result)[f"test_it.py::test_{n}"].split()[1] for n in ("first", "second")] == ["1", "2"]


def test_a_fixture_that_overspends_fails_where_it_calls(run: Run, provider: LoopbackProvider) -> None:
    """A refused call in a setup is an error of the setup; one that a teardown swallows is an error of the teardown."""
    result = run("""
        @pytest.fixture
        def answer():
            return call()

        @pytest.fixture
        def late():
            yield
            try:
                call()
            except Exception:
                pass

        @pytest.mark.budget("$0.0001", clamp=False)
        def test_a(answer): pass

        @pytest.mark.budget("$0.0001", clamp=False)
        def test_b(late): pass
    """)  # fmt: skip
    result.assert_outcomes(passed=1, errors=2)
    assert provider.count == 0


def test_calls_outside_any_test_are_listed_as_such(run: Run) -> None:
    """What a module spends while it is imported is in the total, and on no test."""
    result = run("call()\ndef test_a(): pass", "--costguard")
    assert rows(result)["(outside any test)"] == "$0.0007500 1 1,000 1,000"


def test_a_long_or_odd_node_id_still_makes_a_tag(run: Run) -> None:
    """Node ids beyond a tag's length, or with unprintable characters, are shortened and stay distinct."""
    result = run("""
        @pytest.mark.parametrize("n", [pytest.param(n, id="x" * 400 + n) for n in "12"])
        def test_a(n, costguard_ledger):
            call()
            (event,) = costguard_ledger.calls
            assert len(event.tags["test"]) == 256
    """)  # fmt: skip
    result.assert_outcomes(passed=2)


# -- programs that use costguard themselves ------------------------------------------------------------------------


def test_a_program_that_configures_costguard_stays_limited(run: Run, provider: LoopbackProvider) -> None:
    """`configure` inside a test replaces the guard; what was left of the limits goes on in the new books."""
    code = """
        import costguard

        @pytest.mark.budget("$0.002", clamp=False)
        def test_a(costguard_ledger):
            call()
            costguard.configure(tags={"environment": "test"}, ledger="memory://")
            call()
            assert len(costguard_ledger.calls) == 2
            assert costguard_ledger.calls[1].tags["environment"] == "test"
            costguard.configure(ledger="memory://")
            call()
    """
    result = run(code)
    result.assert_outcomes(failed=1)
    assert provider.count == 2
    provider.clear()
    run(code.replace('@pytest.mark.budget("$0.002", clamp=False)', ""), "--costguard-budget=$0.0007")
    assert provider.count == 1


def test_a_program_that_takes_the_seams_away_is_metered_in_the_next_test(run: Run) -> None:
    """`uninstrument` in one test does not blind the plugin in the tests after it."""
    result = run("""
        import costguard

        def test_a(costguard_ledger):
            costguard.uninstrument()

        def test_b(costguard_ledger):
            call()
            assert len(costguard_ledger.calls) == 1
    """)  # fmt: skip
    result.assert_outcomes(passed=2)


def test_everything_is_restored_at_the_end(run: Run) -> None:
    """After the run the SDK is untouched, and no budget, tag, exporter or follower is left."""
    conftest = """
        def pytest_configure(config):
            config.add_cleanup(look)

        def look():
            import wrapt
            from openai._base_client import SyncAPIClient
            from costguard._config import state
            assert not isinstance(vars(SyncAPIClient)["request"], wrapt.FunctionWrapper)
            guard = state.guard
            assert (state.followers, guard.exporters, guard.tags, guard.admission.budgets) == ([], [], {}, {})
            print("all restored")
    """
    result = run('@pytest.mark.budget("$1")\ndef test_a(): call()', "--costguard-budget=$1", conftest=conftest)
    result.stdout.fnmatch_lines(["*all restored*"])


def test_what_a_program_instrumented_stays_instrumented(run: Run) -> None:
    """Seams that were in place before the plugin came are none of its business."""
    conftest = """
        import costguard
        costguard.instrument()

        def pytest_configure(config):
            config.add_cleanup(look)

        def look():
            from costguard._config import state
            print("still" if state.instrumented else "gone")
    """
    result = run('@pytest.mark.budget("$1")\ndef test_a(): call()', conftest=conftest)
    result.stdout.fnmatch_lines(["*still*"])


# -- pytest-xdist --------------------------------------------------------------------------------------------------


def test_workers_report_what_each_test_spent(run: Run) -> None:
    """Under xdist the summary is printed once, by the controller, and complete."""
    result = run(TEN, "--costguard", "-n", "2", "--costguard-top=0")
    result.assert_outcomes(passed=10)
    assert result.stdout.str().count("costguard: what the tests spent") == 1
    assert {f"test_it.py::test_a[{n}]" for n in range(10)} < set(rows(result))
    assert "10 10,000 10,000" in rows(result)["total of 10 tests"]


def test_workers_share_the_runs_budget(run: Run, provider: LoopbackProvider) -> None:
    """The workers together spend no more than --costguard-budget, of which each has an equal share."""
    result = run(TEN, "--costguard-budget=$0.0046", "-n", "2", "--dist=load")
    assert Decimal("0.00075") * provider.count <= Decimal("0.0046")
    assert 4 <= provider.count <= 6
    result.assert_outcomes(passed=provider.count, failed=10 - provider.count)
    result.stdout.fnmatch_lines(["--costguard-budget: * of $0.0046* spent, *; each of 2 workers had $0.0023*"])


def test_markers_and_fixtures_work_in_workers(run: Run, provider: LoopbackProvider) -> None:
    """A marked test fails, a bad marker is an error, and the controller lists costs though no option was given."""
    result = run(
        """
        @pytest.mark.budget("$0.0001", clamp=False)
        def test_refused(): call()

        def test_books(costguard_ledger):
            call()
            assert len(costguard_ledger.calls) == 1

        @pytest.mark.budget("lots")
        def test_bad(): pass
        """,
        "-n", "2", "--continue-on-collection-errors",
    )  # fmt: skip
    assert provider.count == 1
    assert "test_it.py::test_books" in rows(result)
    result.stdout.fnmatch_lines(["*test_bad: @pytest.mark.budget('lots')*"])


def test_a_worker_that_replaces_a_crashed_one_may_spend_nothing(run: Run, provider: LoopbackProvider) -> None:
    """Nobody knows what a crashed worker spent, so its share counts as gone."""
    result = run(
        """
        import os

        @pytest.mark.parametrize("n", range(8))
        def test_a(n):
            call()
            if n in (0, 1, 2, 3):
                os._exit(1)
        """,
        "--costguard-budget=$0.0046", "-n", "2",
    )  # fmt: skip
    assert Decimal("0.00075") * provider.count <= Decimal("0.0046")
    assert result.ret != 0


@pytest.mark.parametrize("nodeid", ["a.py::test_b[1]", "x" * 256, "x" * 257, "x" * 256 + "y", "a\nb", "a\tb", ""])
def test_every_node_id_makes_a_tag_of_its_own(nodeid: str) -> None:
    """A tag is valid and distinct whatever the node id; one that is valid as it is stays as it is."""
    others = {tag_of(other) for other in ("x" * 258, "a\rb", "b")}
    tag = tag_of(nodeid)
    assert clean_tags({"test": tag}) == {"test": tag}
    assert tag not in others
    assert (tag == nodeid) == (nodeid.isprintable() and 0 < len(nodeid) <= 256)
