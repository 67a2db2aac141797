"""The smallest value that a JSON schema accepts, so that structured output parses without a script."""

from __future__ import annotations

from typing import Any

_LEAVES: dict[str, Any] = {"string": "text", "integer": 1, "number": 1.0, "boolean": True, "null": None}


def example(schema: Any, root: Any = None, depth: int = 0) -> Any:
    """An instance of the schema: required properties only, the first of any alternatives."""
    root = schema if root is None else root
    if not isinstance(schema, dict) or depth > 20:
        return None
    if "$ref" in schema:
        return example(_resolved(schema["$ref"], root), root, depth + 1)
    if "const" in schema or "enum" in schema:
        return schema["const"] if "const" in schema else schema["enum"][0]
    for several in ("anyOf", "oneOf", "allOf"):
        if several in schema:
            return example(schema[several][0], root, depth + 1)
    return _typed(schema, root, depth)


def _typed(schema: dict[str, Any], root: Any, depth: int) -> Any:
    named = schema.get("type", "object")
    kind = str(named[0] if isinstance(named, list) else named).lower()
    if kind == "array":
        return [example(schema.get("items"), root, depth + 1)] if "items" in schema else []
    if kind == "object":
        properties = schema.get("properties", {})
        required = schema.get("required", list(properties))
        return {key: example(properties.get(key), root, depth + 1) for key in required}
    return _LEAVES.get(kind)


def _resolved(reference: str, root: Any) -> Any:
    node = root
    for step in reference.removeprefix("#/").split("/"):
        node = node.get(step, {}) if isinstance(node, dict) else {}
    return node
