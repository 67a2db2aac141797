"""The schema at ``/openapi.json``: FastAPI's, with the problems and the tokens that all routes have in common."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

_PROBLEM: Final[Mapping[str, Any]] = {
    "type": "object", "description": "RFC 9457", "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"}, "title": {"type": "string"}, "status": {"type": "integer"},
        "detail": {"type": "string", "description": "what happened, and what to do"},
    },
}  # fmt: skip
_ALL: Final = {
    "400": "The host's name is not one of this server's, or the body is not what it says it is",
    "413": "The body is too large", "415": "The body is packed in a way that is not known here",
    "503": "The ledger or the journal is away; send it again",
}  # fmt: skip
_WITH_TOKENS: Final = {"401": "No token, or an unknown one", "403": "The token is for something else"}
_OPEN: Final = "health"
"""The tag of routes that want no token."""


def describe(app: FastAPI) -> None:
    """Have an application's schema say what all of its routes may answer, and whether they want a token now."""

    def schema() -> dict[str, Any]:
        made = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        return _completed(made, app.state.closed or bool(app.state.tokens))

    app.openapi = schema  # type: ignore[method-assign] # FastAPI's documented way


def _completed(schema: dict[str, Any], wanted: bool) -> dict[str, Any]:
    components = schema.setdefault("components", {})
    components.setdefault("schemas", {})["Problem"] = _PROBLEM
    components["securitySchemes"] = {
        "token": {"type": "http", "scheme": "bearer", "description": "see `costguard tokens`"}
    }
    for operation in _operations(schema):
        answers = operation["responses"]
        answers |= {status: {"description": words} for status, words in _ALL.items()}
        if wanted and _OPEN not in operation.get("tags", ()):
            operation["security"] = [{"token": []}]
            answers |= {status: {"description": words} for status, words in _WITH_TOKENS.items()}
        for status in [one for one in answers if one >= "4"]:
            answers[status]["content"] = {
                "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}
            }
    for unused in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(unused, None)
    return schema


def _operations(schema: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for path in schema["paths"].values():
        yield from path.values()
