"""The rules of the house that no linter knows."""

from __future__ import annotations

import ast
import inspect
import json
import pkgutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

import costguard
from costguard import budgets, exporters, journals, ledgers, ports, prices, providers
from costguard.errors import CostguardError

ROOT = Path(__file__).resolve().parent.parent.parent
SOURCE = ROOT / "src" / "costguard"
FILES = sorted(SOURCE.rglob("*.py"))
SDKS = ("openai", "anthropic", "google.genai", "google.generativeai", "google.ai", "grpc")
HEAVY = ("pydantic", "httpx", "httpx2", "requests", "aiohttp", "urllib3", "urllib.request", "http.client", "pytest")


def _id(path: Path) -> str:
    return str(path.relative_to(SOURCE))


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _imported_after(code: str) -> set[str]:
    """What a fresh interpreter, without any `.pth` file of ours or others, has imported after `code`."""
    path = json.dumps([str(SOURCE.parent), *(entry for entry in sys.path if entry.endswith("site-packages"))])
    script = f"import sys, json; sys.path += {path}; {code}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-S", "-c", script], capture_output=True, text=True, check=True, timeout=60)
    return set(json.loads(done.stdout))


# -- the door --------------------------------------------------------------------------------------------------


def test_the_door_has_exactly_these_names() -> None:
    """Adding a public name is a decision, so it shows up in a diff of `__all__`."""
    here = {
        name
        for name, value in vars(costguard).items()
        if not name.startswith("_")
        and (not isinstance(value, ModuleType) or value in (budgets, prices))
        and name != "annotations"
    }
    assert here == set(costguard.__all__)


def test_every_public_name_has_a_docstring() -> None:
    """Of its own, not one inherited from `object` or made by `dataclass`."""
    for name in costguard.__all__:
        value = getattr(costguard, name)
        doc = inspect.getdoc(value) or f"{name}("
        assert not doc.startswith(f"{name}("), name
        for member, function in vars(value).items() if inspect.isclass(value) else ():
            assert member.startswith("_") or not inspect.isfunction(function) or function.__doc__, f"{name}.{member}"


def test_every_protocol_and_its_methods_have_docstrings() -> None:
    """`ports` is the whole extension story."""
    for name, value in vars(ports).items():
        if inspect.isclass(value) and value.__module__ == ports.__name__:
            assert value.__doc__, name
            for member, function in vars(value).items():
                if not member.startswith("_") and inspect.isfunction(function):
                    assert function.__doc__, f"{name}.{member}"


def test_the_version_is_that_of_the_distribution() -> None:
    """It is read from the metadata, so it cannot drift."""
    from importlib.metadata import version

    assert costguard.__version__ == version("costguard-ai")


def test_an_unknown_name_is_an_attribute_error() -> None:
    """The lazy `__version__` does not swallow typos."""
    with pytest.raises(AttributeError, match="no attribute 'budgetted'"):
        _ = costguard.budgetted


def test_the_map_of_errors_is_complete() -> None:
    """The tree drawn in `errors` names every error there is."""
    from costguard import errors

    tree = errors.__doc__ or ""
    for name, value in vars(errors).items():
        if inspect.isclass(value) and issubclass(value, CostguardError):
            assert name in tree, name
            assert value is CostguardError or name in costguard.__all__


# -- what is imported ------------------------------------------------------------------------------------------


def test_importing_costguard_imports_no_sdk_and_nothing_heavy() -> None:
    """It costs a program's start next to nothing."""
    loaded = _imported_after("import costguard")
    assert sorted(name for name in (*SDKS, *HEAVY) if name in loaded) == []


def test_instrumenting_imports_no_sdk() -> None:
    """An SDK is wrapped when the program imports it, not before."""
    loaded = _imported_after("import costguard; costguard.instrument()")
    assert sorted(name for name in SDKS if name in loaded) == []


def test_every_module_can_be_imported_alone() -> None:
    """No module relies on another one having been imported first, and none needs an SDK."""
    for module in pkgutil.walk_packages([str(SOURCE)], "costguard."):
        if module.name != "costguard.__main__":
            __import__(module.name)


REGISTERED = [*providers.BUILTIN, *ledgers.SCHEMES.values(), *journals.SCHEMES.values(), *exporters.BUILTIN.values()]


@pytest.mark.parametrize("path", REGISTERED)
def test_every_registry_line_can_be_imported_without_its_extra(path: str) -> None:
    """Optional dependencies are imported where they are first used."""
    package = path.partition(":")[0]
    loaded = _imported_after(f"import pkgutil; pkgutil.resolve_name({path!r})")
    assert package in loaded
    assert sorted(name for name in SDKS if name in loaded) == []


def test_inside_the_package_imports_are_relative() -> None:
    """So that it can be vendored under another name. The faces, which only use the door, may name it."""
    faces = ("demo.py", "__main__.py", "pytest_plugin/", "_bootstrap/")
    inside = [path for path in FILES if not _id(path).startswith(faces)]
    absolute = [f"{_id(path)}:{line}" for path in inside for line in _own_imports(_tree(path))]
    assert absolute == []


def _own_imports(tree: ast.Module) -> Iterator[int]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").startswith("costguard"):
            yield node.lineno


# -- what is written -------------------------------------------------------------------------------------------


def _found(look: Callable[[ast.Module], Iterator[object]], but: tuple[str, ...] = ()) -> list[str]:
    """Where in the package `look` finds something, except in the files named."""
    return [f"{_id(path)}: {what}" for path in FILES if _id(path) not in but for what in look(_tree(path))]


def test_the_environment_is_read_in_one_place() -> None:
    """`_config` reads it. The demo sets it for the SDKs it calls, and puts it back; where `costguard run` begins in a
    process, costguard may not even be importable."""

    def reads(tree: ast.Module) -> Iterator[int]:
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv", "environb"):
                yield node.lineno

    assert _found(reads, but=("_config.py", "demo.py", "_bootstrap/sitecustomize.py")) == []


def test_there_is_no_global_statement() -> None:
    """State has an owner."""
    assert _found(lambda tree: (node.lineno for node in ast.walk(tree) if isinstance(node, ast.Global))) == []


def test_no_name_says_nothing() -> None:
    """No `utils`, no `helpers`, no Manager: a thing that has a job has a name."""

    def vague(tree: ast.Module) -> Iterator[str]:
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and node.name.endswith(("Manager", "Helper", "Util", "Utils")):
                yield node.name

    assert [_id(path) for path in FILES if path.stem.strip("_") in ("utils", "util", "helpers", "common", "misc")] == []
    assert _found(vague) == []


def test_every_module_says_what_it_is() -> None:
    """In its first sentence."""
    assert _found(lambda tree: iter(() if ast.get_docstring(tree) else ("no docstring",))) == []


def test_nothing_is_swallowed_in_silence() -> None:
    """A broad handler re-raises, returns something or goes through `shielded`."""

    def swallowed(tree: ast.Module) -> Iterator[int]:
        for node in ast.walk(tree):
            if isinstance(node, ast.ExceptHandler) and all(isinstance(step, ast.Pass) for step in node.body):
                caught = {name.id for name in ast.walk(node.type) if isinstance(name, ast.Name)} if node.type else {""}
                if caught & {"Exception", "BaseException", ""}:
                    yield node.lineno

    assert _found(swallowed) == []


def test_functions_are_short() -> None:
    """At most forty lines of body, the docstring not counted."""

    def long(tree: ast.Module) -> Iterator[str]:
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                first = node.body[1] if ast.get_docstring(node) is not None and len(node.body) > 1 else node.body[0]
                lines = (node.end_lineno or 0) - first.lineno + 1
                if lines > 40:
                    yield f"{node.name} has {lines} lines"

    assert _found(long) == []
