"""A real browser for tests: the machine's Chromium, or Debian's, installed here."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, sync_playwright

QUIET = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
)  # fmt: skip
"""Containers have no sandbox, and a browser that has just started would look for its maker's hosts."""
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_SECONDS = 300


def binary() -> str:
    """The path of Chromium, which root installs where there is none."""
    found = _found()
    if found is None and shutil.which("apt-get") and os.geteuid() == 0:
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for words in (("update", "-qq"), ("install", "-y", "-qq", "--no-install-recommends", "chromium")):
            subprocess.run(["apt-get", *words], env=quiet, check=False, capture_output=True, timeout=_SECONDS)
        found = _found()
    if found is None:
        # In CI nobody would see that a skipped test no longer runs.
        give_up = pytest.fail if os.environ.get("CI") or os.geteuid() == 0 else pytest.skip
        give_up("a page needs a browser to be looked at: apt-get install chromium")
    return found or ""


def _found() -> str | None:
    return next((path for name in _NAMES if (path := shutil.which(name))), None)


@contextmanager
def browser() -> Iterator[Browser]:
    """Chromium, without a window."""
    path = binary()
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=list(QUIET), timeout=120_000)
        try:
            yield opened
        finally:
            opened.close()
