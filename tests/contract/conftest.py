"""Registers the Hypothesis profiles."""

from __future__ import annotations

from ..property import profiles  # noqa: F401 - importing registers them
