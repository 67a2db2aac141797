"""What ``costguard doctor`` says of the SDKs that are installed, and of others that look at the same calls."""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import distributions, packages_distributions, requires, version
from importlib.util import find_spec
from typing import Final

from .._patch import Patches
from ..ports import Provider
from ..providers import load_providers
from ._checks import Found, Patient

UNSEEN: Final = {
    "litellm": "it sends many providers' requests itself, past their SDKs",
    "mistralai": "it is no SDK that costguard knows",
    "cohere": "it is no SDK that costguard knows",
    "groq": "it is no SDK that costguard knows",
    "together": "it is no SDK that costguard knows",
    "ollama": "it is no SDK that costguard knows",
    "google-cloud-aiplatform": "its generative models are no SDK that costguard knows",
}
"""Packages through which calls may be made that are not metered."""

BESIDE: Final = re.compile(
    r"opentelemetry-instrumentation-(?:genai-)?(?:openai|anthropic|google-?gen|google-?gemini|vertexai|bedrock).*"
    r"|openinference-instrumentation-.+|langfuse|logfire|ddtrace|openlit|agentops|traceloop-sdk|sentry-sdk|langsmith"
    r"|shekel|agentbudget|budget-guard-llm|agentguard47|llm-toll|burnmap",
)
"""Packages that wrap or trace the same calls."""


def sdks(_: Patient) -> Iterator[Found]:
    """Each SDK that is installed, and whether every place where it is wrapped is there."""
    by_module = packages_distributions()
    least = _least()
    found = 0
    for provider in load_providers():
        root = _root(provider)
        if find_spec(root.partition(".")[0]) is None or not _there(root):
            continue
        found += 1
        names = _owners(root, by_module)
        name = names[0] if names else root
        number = version(name) if names else "(version unknown)"
        yield _wrapped(provider, f"{name} {number}")
        if name in least and _numbers(number) < _numbers(least[name]):
            said = f"{name} {number} is older than any that costguard is tested with"
            yield Found("sdks", "finding", said, f"pip install '{name}>={least[name]}'")
    if not found:
        yield Found("sdks", "note", "none is installed here: openai, anthropic, google-genai, google-generativeai")


def _wrapped(provider: Provider, name: str) -> Found:
    """Wrap an SDK for a moment, as `instrument` would, and see which of its seams that reached.

    Versions of an SDK have one module or another; what a module that is there lacks is not metered.
    """
    absent: set[str] = set()
    broken: dict[str, str] = {}
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        for module in dict.fromkeys(seam.module for seam in provider.seams):
            try:
                import_module(module)
            except ModuleNotFoundError as error:
                absent.add(module)
                if not module.startswith(str(error.name)):
                    broken[module] = f"{type(error).__name__}: {error}"
            except Exception as error:
                broken[module] = f"{type(error).__name__}: {error}"
        patches = Patches(lambda: None)
        patches.install([provider])
        installed = set(patches.installed())
        patches.uninstall()
    expected = [seam for seam in provider.seams if not seam.optional and seam.module not in absent]
    missing = [f"{seam.module}.{seam.attribute}" for seam in expected if seam not in installed]
    fix = "upgrade costguard-ai, or use a version of the SDK that the README names"
    if broken:
        module, why = next(iter(broken.items()))
        return Found("sdks", "finding", f"{name}: {module} cannot be imported, {why}", "see whether it is whole")
    if missing or not installed:
        first = missing[0] if missing else "any of them"
        return Found("sdks", "finding", f"{name}: calls are not metered in {len(missing)} places, first {first}", fix)
    return Found("sdks", "ok", f"{name}: would be metered, in {len(installed)} places")


def _root(provider: Provider) -> str:
    """The package that all seams of a provider are in."""
    parts = [seam.module.split(".") for seam in provider.seams]
    same = [names[0] for names in zip(*parts, strict=False) if len(set(names)) == 1]
    return ".".join(same[:2]) if same[:1] == ["google"] else same[0]


def _there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ImportError:
        return False


def _owners(module: str, by_module: object) -> list[str]:
    """The distributions that a package is from; of those that share a namespace, the one called like it."""
    assert isinstance(by_module, dict)  # so says importlib.metadata
    names = sorted(set(by_module.get(module.partition(".")[0], [])))
    if "." not in module:
        return names
    wanted = module.replace(".", "-").replace("_", "-")
    return [name for name in names if name.lower().replace("_", "-").startswith(wanted)]


def _least() -> dict[str, str]:
    """The oldest version of each SDK that our own metadata names."""
    found = (re.match(r"([A-Za-z0-9._-]+)>=([0-9.]+)", line) for line in requires("costguard-ai") or ())
    return {match[1]: match[2] for match in found if match}


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"[0-9]+", text)[:3])


def beside(_: Patient) -> Iterator[Found]:
    """Who else wraps or traces the same calls, and through what calls would not be seen."""
    installed = {(one.metadata["Name"] or "").lower().replace("_", "-"): one.version for one in distributions()}
    others = [f"{name} {number}" for name, number in sorted(installed.items()) if BESIDE.fullmatch(name)]
    said = f"installed: {', '.join(others)}; they work beside costguard" if others else "none is installed"
    yield Found("others", "note" if others else "ok", said)
    for name, why in UNSEEN.items():
        if name in installed:
            yield Found("others", "note", f"{name} {installed[name]}: calls through it are not metered, {why}")
