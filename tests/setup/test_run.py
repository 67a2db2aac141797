"""`costguard run`: real programs in processes of their own, metered without an edit."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import socket
import subprocess
import sys
import termios
import textwrap
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

from costguard import ConfigError
from costguard.cli import main
from costguard.cli._interpreter import interpreter
from costguard.testing.loopback import LoopbackProvider

ASK = """
import openai

client = openai.OpenAI(max_retries=0)


def ask(times=1):
    refused = 0
    for _ in range(times):
        try:
            client.chat.completions.create(
                model="gpt-4o", max_tokens=100, messages=[{"role": "user", "content": "hi"}]
            )
        except Exception as error:
            refused += type(error).__name__ == "BudgetExceededError"
    return refused
"""
"""A module that knows nothing of costguard. A call costs $0.001005 at the provider below, and may cost a little more."""


@pytest.fixture(scope="module")
def provider() -> Iterator[LoopbackProvider]:
    with LoopbackProvider(input_tokens="measured", output_tokens=100) as provider:
        yield provider


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, provider: LoopbackProvider) -> None:
    """A folder with the module above in it, and the provider where the SDK looks."""
    provider.clear()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "asking.py").write_text(ASK, encoding="utf-8")
    for name, value in provider.env().items():
        monkeypatch.setenv(name, value)
    for name in ("CONFIG", "LEDGER", "MODE", "DISABLED"):
        monkeypatch.delenv(f"COSTGUARD_{name}", raising=False)


def program(text: str, name: str = "app.py") -> str:
    Path(name).write_text(textwrap.dedent(text), encoding="utf-8")
    return name


def start(*words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "costguard", "run", *words]
    return subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


class Runner:
    """`costguard run` in this process; what it runs is in processes of its own."""

    def __init__(self, capfd: pytest.CaptureFixture[str]) -> None:
        self._capfd = capfd

    def __call__(self, *words: str) -> subprocess.CompletedProcess[str]:
        self._capfd.readouterr()
        code = main(["run", *words])
        return subprocess.CompletedProcess(words, code, *self._capfd.readouterr())


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Runner:
    return Runner(capfd)


# -- the job ---------------------------------------------------------------------------------------------------


def test_a_program_is_metered_and_limited_without_an_edit(run: Runner, provider: LoopbackProvider) -> None:
    """Its exit code and output are its own, and one line at the end tells what it spent."""
    program("import asking, sys; print(asking.ask(4)); sys.exit(7)")
    done = run("--budget", "$0.003", "--", sys.executable, "-u", "app.py")
    assert (done.returncode, done.stdout) == (7, "2\n")
    assert len(provider.billed) == 2
    assert done.stderr == (
        "costguard: spent $0.002010 in 2 calls, 2 refused, $0.002010 of the budget of $0.003000 used (67%)\n"
    )


def test_all_processes_of_a_run_share_its_budget(run: Runner, provider: LoopbackProvider) -> None:
    """Forked ones and new interpreters, all at once, also when the program sets itself up anew."""
    program(
        """
        import multiprocessing
        import asking
        import costguard

        if __name__ == "__main__":
            costguard.configure(ledger="memory://", exporters=[], budgets=[costguard.budget("$9")])
            others = [
                multiprocessing.get_context(method).Process(target=asking.ask, args=(3,)) for method in ("fork", "spawn")
            ]
            for other in others:
                other.start()
            asking.ask(3)
            for other in others:
                other.join()
        """
    )
    done = run("--budget", "$0.0052", "--", sys.executable, "app.py")
    assert done.returncode == 0, done.stderr
    assert 3 <= len(provider.billed) <= 5
    assert f"in {len(provider.billed)} calls, {9 - len(provider.billed)} refused" in done.stderr


def test_a_script_of_pips_and_a_module_can_be_run(run: Runner, provider: LoopbackProvider) -> None:
    """`pytest` by the first line of its script, its calls of the feature that is named; and `python -m`."""
    program(
        """
        import costguard

        def test_one():
            costguard.track("gpt-4o", input_tokens=400)
            assert costguard.spend(feature="suite").calls == 1
        """,
        "test_app.py",
    )
    script = Path("pytest-here")
    script.write_text(f"#!{sys.executable}\nimport sys, pytest\nsys.exit(pytest.main())\n", encoding="utf-8")
    script.chmod(0o755)
    options = ("-q", "-p", "no:cacheprovider", "-p", "no:costguard")
    done = run("--feature", "suite", "--", str(script.absolute()), *options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr.endswith("costguard: spent $0.001000 in 1 call\n")
    program("import costguard; costguard.track('gpt-4o', input_tokens=400, feature='own')")
    assert run("--", sys.executable, "-m", "app").stderr == "costguard: spent $0.001000 in 1 call\n"


def test_observing_refuses_nothing(run: Runner, provider: LoopbackProvider) -> None:
    """And says what would have been refused."""
    program("import asking; asking.ask(3)")
    done = run("--observe", "--budget", "$0.0015", "--", sys.executable, "app.py")
    assert len(provider.billed) == 3
    assert "spent $0.003015 in 3 calls, 2 would have been refused" in done.stderr


def test_a_configuration_holds_for_children_in_other_folders(run: Runner, tmp_path: Path) -> None:
    """It is found once, where the run is started; a ledger that it names is the run's."""
    Path("costguard.toml").write_text('environment = "staging"\nledger = "sqlite:books.db"\n', encoding="utf-8")
    program(
        """
        import os, subprocess, sys, costguard
        os.chdir("/")
        code = 'import costguard; costguard.track("gpt-4o", input_tokens=10); print(costguard.spend(environment="staging").calls)'
        subprocess.run([sys.executable, "-c", code], check=True)
        """
    )
    done = run("--budget", "$1", "--", sys.executable, "app.py")
    assert done.stdout == "1\n", done.stderr
    assert "$0.00002500 of the budget of $1.00 used" in done.stderr
    assert (tmp_path / "books.db").exists()


def test_what_a_killed_process_spent_is_in_the_sum(run: Runner) -> None:
    """Each call is noted as it ends; signal n gives 128 + n."""
    program(
        "import costguard, os, signal; costguard.track('gpt-4o', input_tokens=400); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = run("--", sys.executable, "app.py")
    assert done.returncode == 128 + signal.SIGKILL
    assert done.stderr == "costguard: spent $0.001000 in 1 call\n"


def test_signals_reach_the_program() -> None:
    """Who stops `costguard run` stops what it runs, and gets its exit code."""
    program(
        """
        import signal, sys, time
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))
        print("ready", flush=True)
        while True:
            time.sleep(0.1)
        """
    )
    with start("--", sys.executable, "app.py") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 5


def test_a_server_is_stopped_as_always() -> None:
    """uvicorn by its own script: requests are metered, and SIGTERM ends it in good order."""
    program(
        """
        import costguard

        async def app(scope, receive, send):
            if scope["type"] == "http":
                costguard.track("gpt-4o", input_tokens=400)
                await send({"type": "http.response.start", "status": 200, "headers": []})
                await send({"type": "http.response.body", "body": b"served"})
        """
    )
    uvicorn = str(Path(sys.executable).parent / "uvicorn")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        number = listening.fileno()
        command = [sys.executable, "-m", "costguard", "run", "--", uvicorn, "app:app", "--fd", str(number)]
        with subprocess.Popen(command, text=True, stderr=subprocess.PIPE, pass_fds=[number]) as process:
            assert process.stderr is not None
            with socket.create_connection(listening.getsockname(), timeout=60) as connection:
                connection.sendall(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
                assert b"served" in connection.makefile("rb").read()
            process.send_signal(signal.SIGTERM)
            said = process.stderr.read()
            # uvicorn ends in good order and then lets the signal have its way.
            assert process.wait(60) in (0, 128 + signal.SIGTERM)
    assert "Finished server process" in said
    assert said.endswith("costguard: spent $0.001000 in 1 call\n")


def test_the_interrupt_key_interrupts_the_program_once_each_time() -> None:
    """A terminal sends it to everybody in the foreground, so it is not handed on a second time."""
    program(
        """
        import signal, sys, time

        count = iter(range(100))

        def interrupted(*_):
            print("interrupted", next(count), flush=True)

        def ended(*_):
            print("ended", flush=True)
            sys.exit(3)

        signal.signal(signal.SIGINT, interrupted)
        signal.signal(signal.SIGTERM, ended)
        print("ready", flush=True)
        while True:
            time.sleep(0.05)
        """
    )
    keyboard, terminal = pty.openpty()
    command = [sys.executable, "-m", "costguard", "run", "--", sys.executable, "app.py"]
    process = subprocess.Popen(
        command,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - nothing that takes a lock
    )
    os.close(terminal)
    screen = b""

    def wait_for(word: bytes) -> None:
        nonlocal screen
        while word not in screen:
            screen += os.read(keyboard, 1024)

    try:
        wait_for(b"ready")
        for number in range(5):
            os.write(keyboard, b"\x03")
            wait_for(b"interrupted %d" % number)
        process.send_signal(signal.SIGTERM)
        wait_for(b"in 0 calls")
        assert process.wait(60) == 3
    finally:
        process.kill()
        process.wait()
        os.close(keyboard)
    assert screen.count(b"interrupted") == 5


def test_an_existing_sitecustomize_still_runs(run: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, under its own name, and PYTHONPATH is still searched."""
    place = tmp_path / "site"
    place.mkdir()
    (place / "sitecustomize.py").write_text("import builtins; builtins.seen = __file__\n", encoding="utf-8")
    program(
        """
        import sys, sitecustomize
        print(seen == sitecustomize.__file__, sys.path[1], any("_bootstrap" in entry for entry in sys.path))
        """
    )
    monkeypatch.setenv("PYTHONPATH", str(place))
    done = run("--", sys.executable, "app.py")
    assert done.stdout == f"True {place} False\n", done.stderr


# -- refusals --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A Python that has no costguard."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, with_pip=False)
    return str(folder / "bin" / "python")


def test_a_program_that_could_not_be_guarded_is_not_started(bare: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Because its Python has no costguard, would not look for it, or is none: exit code 2."""
    program("print('started')")
    for words, said in (
        ([bare, "app.py"], "No module named 'costguard'"),
        ([sys.executable, "-I", "app.py"], "does not look at PYTHONPATH"),
        (["true"], "neither Python nor a script"),
        (["nowhere-to-be-found"], "there is no such program"),
        ([], "run what?"),
    ):
        assert main(["run", "--", *words]) == 2
        out, err = capfd.readouterr()
        assert (out, err.count("\n")) == ("", 1), err
        assert said in err


def test_a_child_that_could_not_be_guarded_is_told(run: Runner, bare: str) -> None:
    """It runs, because it is most often no business of ours, and the last line says so."""
    program(f"import subprocess; subprocess.run([{bare!r}, '-c', 'print(1)'], check=True)")
    done = run("--budget", "$1", "--", sys.executable, "app.py")
    assert done.stdout == "1\n"
    assert f"1 process ran UNGUARDED ({bare}: ModuleNotFoundError: No module named 'costguard')" in done.stderr


@pytest.mark.parametrize(
    ("options", "env", "said"),
    [
        (["--budget", "5 apples"], {}, "--budget '5 apples': limit: "),
        (["--budget", "$5/run"], {}, "leave out the period"),
        (["--config", "gone.toml"], {}, "gone.toml cannot be read"),
        (["--ledger", "nowhere://"], {}, "nowhere://"),
        ([], {"COSTGUARD_DISABLED": "1"}, "COSTGUARD_DISABLED is set"),
        ([], {"COSTGUARD_MODE": "watch"}, "COSTGUARD_MODE='watch'"),
    ],
)
def test_a_wrong_setting_is_found_before_the_program_starts(
    options: list[str],
    env: dict[str, str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Exit code 2, one line."""
    program("print('started')")
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert main(["run", *options, "--", sys.executable, "app.py"]) == 2
    out, err = capfd.readouterr()
    assert (out, err.count("\n")) == ("", 1), err
    assert said in err


def test_a_program_cannot_count_past_the_budget_in_books_of_its_own(run: Runner, tmp_path: Path) -> None:
    """A ledger of its own would give it the whole budget once more."""
    program(
        """
        import costguard
        try:
            costguard.configure(ledger="sqlite:own.db")
        except costguard.ConfigError as error:
            print(error)
        """
    )
    assert "give run the same one with --ledger" in run("--budget", "$1", "--", sys.executable, "app.py").stdout
    assert run("--budget", "$1", "--ledger", "sqlite:own.db", "--", sys.executable, "app.py").stdout == ""


# -- which Python ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("python app.py -I", "python"),
        ("/opt/bin/python3.13t -u -W error -Xdev app.py", "/opt/bin/python3.13t -u -W error -Xdev"),
        ("python -uc pass", "python -u"),
        ("python -Im pytest -x", "python -I"),
        ("python -Wd -X importtime -m mod", "python -Wd -X importtime"),
        ("python --check-hash-based-pycs never -", "python --check-hash-based-pycs never"),
        ("pypy3 app.py", "pypy3"),
    ],
)
def test_the_options_of_python_itself_are_kept(command: str, expected: str) -> None:
    """They decide on whether it can be guarded; those of the program do not."""
    assert interpreter(command.split()) == expected.split()


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        ("#!/usr/bin/env python3\n", ["python3"]),
        ("#!/usr/bin/env -S python3 -u\n", ["python3", "-u"]),
        ("#!/opt/py/bin/python3.11 -sE\n", ["/opt/py/bin/python3.11", "-sE"]),
        ("#!/bin/sh\n'''exec' \"/a very long/path/python\" \"$0\" \"$@\"\n' '''\n", ["/a very long/path/python"]),
    ],
)
def test_the_first_line_of_a_script_says_which_python(first: str, expected: list[str]) -> None:
    """Also the second one, that pip writes around long paths."""
    script = Path("script").absolute()
    script.write_text(first, encoding="utf-8")
    script.chmod(0o755)
    assert interpreter([str(script), "--flag"]) == expected


@pytest.mark.parametrize("first", ["#!/bin/bash\n", "echo\n", "#!", "#!'\n", "\x7fELF"])
def test_what_is_no_script_of_pythons_is_refused(first: str) -> None:
    """Whether it would start a Python somewhere inside cannot be told."""
    script = Path("script").absolute()
    script.write_text(first, encoding="utf-8")
    script.chmod(0o755)
    with pytest.raises(ConfigError, match="cannot be told whether it would be guarded"):
        interpreter([str(script)])
