"""JSON Schema references, written out, so that a schema can stand anywhere in a larger document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_PREFIX = "#/$defs/"


def inline_references(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema without `$defs`; a type that holds itself is cut off and named."""
    definitions = schema.get("$defs", {})
    rest = {key: value for key, value in schema.items() if key != "$defs"}
    return _inline(rest, definitions, ())


def _inline(node: Any, definitions: Mapping[str, Any], within: tuple[str, ...]) -> Any:
    if isinstance(node, list):
        return [_inline(item, definitions, within) for item in node]
    if not isinstance(node, dict):
        return node
    reference = node.get("$ref")
    if isinstance(reference, str) and reference.startswith(_PREFIX):
        name = reference.removeprefix(_PREFIX)
        if name in within:
            return {"x-dosirak-recursive": name}
        rest = {key: value for key, value in node.items() if key != "$ref"}
        return _inline({**definitions[name], **rest}, definitions, (*within, name))
    return {key: _inline(value, definitions, within) for key, value in node.items()}
