"""Virtual environments for the scripts beside this file, made from nothing but python3 and the package index.

A fresh Debian has a python3 without pip and without ensurepip, so neither is taken for granted: the environment is
made without pip, and pip comes from ensurepip where there is one, else as a wheel from the index. From there on uv
installs. An environment is kept in ``.venv`` and used again until ``pyproject.toml`` or this file changes.
"""

from __future__ import annotations

import configparser
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urljoin

ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / ".venv"
OLDEST_PYTHON = (3, 11)

_WHEEL = re.compile(r"""href=["']([^"']*/pip-([0-9.]+)-py3-none-any\.whl)#sha256=([0-9a-f]{64})["']""")


def check_python() -> None:
    """Leave with one sentence when this Python is too old."""
    if sys.version_info < OLDEST_PYTHON:
        wanted, script = ".".join(map(str, OLDEST_PYTHON)), sys.argv[0]
        sys.exit(f"costguard needs Python {wanted} or newer, this is {sys.version.split()[0]}; try python3.12 {script}")


def ready(name: str, *requirements: str, path: Path = HOME) -> Path:
    """The Python of the environment at `path` with this checkout and `requirements` installed, made or used again.

    Args:
        name: what is installed, for the note that says it was; several names may share one environment.
        requirements: arguments of ``uv pip install``.
        path: where the environment is.
    """
    python = path / "bin" / "python"
    note = path / f".ready-{name}"
    key = _key(requirements)
    if _runs(python) and note.is_file() and note.read_text() == key:
        return python
    print(f"Setting up {path.relative_to(ROOT)} for {name} ...", flush=True)
    began = time.monotonic()
    uv = _uv()
    if not _runs(python):
        _run(uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(path))
    _run(uv, "pip", "install", "--quiet", "--upgrade", "--python", str(python), *requirements)
    note.write_text(key)
    print(f"... done in {time.monotonic() - began:.0f} s", flush=True)
    return python


def _key(requirements: tuple[str, ...]) -> str:
    parts = [(ROOT / "pyproject.toml").read_bytes(), Path(__file__).read_bytes(), sys.version.encode()]
    return hashlib.sha256(b"\0".join([*parts, *(one.encode() for one in requirements)])).hexdigest()


def _runs(python: Path) -> bool:
    return python.exists() and subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode == 0


def _run(*command: object) -> None:
    done = subprocess.run([str(part) for part in command], cwd=ROOT, env=_variables(), check=False)
    if done.returncode:
        sys.exit(f"failed: {' '.join(str(part) for part in command)}")


def _variables() -> dict[str, str]:
    """The environment for uv, told of the index that pip was told of."""
    index = _pip_setting("index-url")
    ours = {"UV_LINK_MODE": "copy", "UV_HTTP_TIMEOUT": "120"} | ({"UV_DEFAULT_INDEX": index} if index else {})
    return {**ours, **os.environ}


def _pip_setting(name: str) -> str | None:
    """A setting of pip's, from its variable or its configuration files, without pip."""
    given = os.environ.get("PIP_" + name.upper().replace("-", "_"))
    if given:
        return given
    home = Path.home()
    files = [Path("/etc/pip.conf"), home / ".pip/pip.conf", home / ".config/pip/pip.conf"]
    parser = configparser.RawConfigParser()
    parser.read([*files, Path(os.environ.get("PIP_CONFIG_FILE", os.devnull))])
    return parser.get("global", name, fallback=None)


# -- uv, by way of pip ------------------------------------------------------------------------------------------


def _uv() -> Path:
    """uv in the main environment, which is made for it if it is not there."""
    python, uv = HOME / "bin" / "python", HOME / "bin" / "uv"
    if uv.exists() and _runs(python):
        return uv
    if not _runs(python):
        shutil.rmtree(HOME, ignore_errors=True)
        _run(sys.executable, "-m", "venv", "--without-pip", HOME)
    quiet = ("--quiet", "--disable-pip-version-check")
    if importlib.util.find_spec("ensurepip") is not None:
        _run(python, "-c", "import ensurepip, os; os.dup2(os.open(os.devnull, os.O_WRONLY), 1); ensurepip.bootstrap()")
        _run(python, "-m", "pip", "install", *quiet, "uv")
    else:
        with tempfile.TemporaryDirectory() as folder:
            wheel = _pip_wheel(Path(folder))
            _run(python, wheel / "pip", "install", *quiet, "pip", "uv")
    return uv


def _pip_wheel(folder: Path) -> Path:
    """Download the newest pip; a wheel of pip can be run as it is, without being installed."""
    index = (_pip_setting("index-url") or "https://pypi.org/simple").rstrip("/") + "/pip/"
    links = _WHEEL.findall(_get(index, accept="text/html").decode("utf-8", "replace"))
    found = [(tuple(map(int, version.split("."))), link, digest) for link, version, digest in links]
    if not found:
        sys.exit(f"no pip at {index}. Install it and run this again, on Debian with: apt-get install python3-venv")
    _, link, digest = max(found)
    content = _get(urljoin(index, link))
    if hashlib.sha256(content).hexdigest() != digest:
        sys.exit(f"the pip at {link} is not the one that {index} announces")
    wheel = folder / str(link).rsplit("/", 1)[-1]
    wheel.write_bytes(content)
    return wheel


def _get(url: str, accept: str = "*/*") -> bytes:
    request = urllib.request.Request(url, headers={"Accept": accept})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return bytes(answer.read())
    except (urllib.error.URLError, OSError) as error:
        sys.exit(
            f"this Python has no pip, and fetching it from {url} failed: {error}.\n"
            f"Install it and run this again, on Debian with: apt-get install python3-venv ca-certificates"
        )
