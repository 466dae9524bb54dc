"""What pydantic found wrong, in the project's words: each field by its path, with a near match."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel

from dosirak.errors import FieldProblem

_UNKNOWN = "extra_forbidden"


def field_problems(
    errors: Iterable[Mapping[str, Any]], model: type[BaseModel] | None, *, within: str = ""
) -> tuple[FieldProblem, ...]:
    """Return a problem for each of pydantic's errors.

    Args:
        errors: as `ValidationError.errors()` gives them.
        model: what was validated; near matches come from its fields. None for none.
        within: the path of what was validated, put before each field.
    """
    return tuple(
        FieldProblem(path_text(error["loc"], within=within), _reason(error, model))
        for error in errors
    )


def path_text(path: Iterable[str | int], *, within: str = "") -> str:
    """Write a path as people do: `scaling.min_replicas`, `hosts[0]`."""
    text = within
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif part != "[key]":
            text += f".{part}" if text else part
    return text


def near(word: str, known: Iterable[str]) -> str:
    """Return the question that helps with a slip of the fingers; empty when nothing is near."""
    found = get_close_matches(word, list(known), n=1)
    return f"did you mean {found[0]!r}?" if found else ""


def _reason(error: Mapping[str, Any], model: type[BaseModel] | None) -> str:
    if error["type"] == _UNKNOWN:
        *above, name = error["loc"]
        question = near(str(name), _fields_at(model, above))
        return f"there is no such field{f'; {question}' if question else ''}"
    text = str(error["msg"]).removeprefix("Value error, ")
    return text[:1].lower() + text[1:]


def _fields_at(model: type[BaseModel] | None, path: Iterable[str | int]) -> list[str]:
    """Return the names of the fields of the part of a model that a path leads to."""
    found: Any = model
    for part in path:
        field = found.model_fields.get(str(part)) if _is_model(found) else None
        if field is None:
            return []
        found = next((kind for kind in _kinds(field.annotation) if _is_model(kind)), None)
    return list(found.model_fields) if _is_model(found) else []


def _kinds(annotation: Any) -> tuple[Any, ...]:
    return (annotation, *get_args(annotation))


def _is_model(candidate: Any) -> bool:
    return isinstance(candidate, type) and issubclass(candidate, BaseModel)
