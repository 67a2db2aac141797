"""What ``costguard run`` puts on the path: every Python started below it imports this before the program begins."""

from __future__ import annotations

import os
import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec

HERE = os.path.dirname(os.path.abspath(__file__))


def begin() -> None:
    """Meter this process, or refuse it; then let the `sitecustomize` run that is found without us."""
    # Processes started by this one find the folder through PYTHONPATH; this one has no more use for it.
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) != HERE]
    try:
        from costguard._run import join

        join()
    except Exception as error:  # whatever it is, the process is not guarded
        _refuse(error)
    spec = PathFinder.find_spec("sitecustomize", sys.path)
    if spec is not None and spec.loader is not None:
        module = module_from_spec(spec)
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)


def _refuse(error: Exception) -> None:
    """End the program that was to be run; of others below it, which are often no business of ours, take a note."""
    why = f"{type(error).__name__}: {error}"
    folder = os.environ.get("COSTGUARD_RUN", "")
    try:
        with open(os.path.join(folder, "runner"), encoding="utf-8") as file:
            direct = int(file.read()) == os.getppid()
    except (OSError, ValueError):
        direct = True  # the run is over, and with it the budget that this process would count on
    if direct:
        sys.stderr.write(f"costguard run: {sys.executable} would run unguarded and was not started: {why}\n")
        sys.stderr.flush()
        os._exit(2)
    with open(os.path.join(folder, "unguarded"), "a", encoding="utf-8") as file:
        file.write(f"{sys.executable}: {why}\n".replace("\n", " ").strip() + "\n")


# Anything that merely imports this file, such as a tool that looks at every module, starts nothing.
if __name__ == "sitecustomize":
    begin()
