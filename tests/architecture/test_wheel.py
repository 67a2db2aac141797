"""What is delivered: the wheel that the build makes, opened."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("hatchling")

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel, built as an index would get it."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120)
    (built,) = folder.glob("costguard_ai-*.whl")
    return zipfile.ZipFile(built)


def test_it_carries_the_package_whole(wheel: zipfile.ZipFile) -> None:
    """The types marker, every price file, every module and script, and no other package."""
    inside = {name for name in wheel.namelist() if ".dist-info/" not in name}
    source = ROOT / "src"
    files = [path for path in (source / "costguard").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    expected = {str(path.relative_to(source)) for path in files}
    assert {"costguard/py.typed", "costguard/prices/openai.json"} <= inside
    assert inside == expected


def test_it_names_what_it_needs_and_whose_prices_it_carries(wheel: zipfile.ZipFile) -> None:
    """Few dependencies, no SDK among them; licence and notice travel along."""
    (metadata,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    needed = [line for line in wheel.read(metadata).decode().splitlines() if line.startswith("Requires-Dist:")]
    always = sorted(line.split()[1].split(">")[0].split("<")[0] for line in needed if "extra ==" not in line)
    assert always == ["opentelemetry-api", "wrapt"]
    names = [name.rsplit("/", 1)[-1] for name in wheel.namelist() if ".dist-info/licenses/" in name]
    assert sorted(names) == ["LICENSE", "NOTICE"]


def test_pytest_finds_the_plugin(wheel: zipfile.ZipFile) -> None:
    """By the entry point, which must name a module that is there."""
    (points,) = (name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    assert "costguard = costguard.pytest_plugin" in wheel.read(points).decode()
    assert any(name.startswith("costguard/pytest_plugin") for name in wheel.namelist())
