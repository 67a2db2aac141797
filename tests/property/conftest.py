"""Registers the Hypothesis profiles."""

from __future__ import annotations

from . import profiles  # noqa: F401 - importing registers them
