"""OpenAI's images and audio."""

from __future__ import annotations

from .route import Route

ROUTES: list[Route] = []
