"""pydantic models and other types that bring their own validation.

The model itself validates what comes and says how it is written; its own problems keep their paths.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dosirak.errors import FieldProblem
from dosirak.payload.leaf import Leaf
from dosirak.payload.problems import Problem
from dosirak.payload.references import inline_references


class ModelLeaf(Leaf):
    """One pydantic model or pydantic dataclass."""

    kind = "model"

    def __init__(self, model: Any) -> None:
        from pydantic import TypeAdapter

        self._model = model
        self._adapter = TypeAdapter(model)

    def read(self, value: Any) -> Any:
        """Validate with the model."""
        return self._validate(value)

    def write(self, value: Any) -> Any:
        """Return the model's JSON form."""
        model = value if isinstance(value, self._model) else self._validate(value)
        return self._adapter.dump_python(model, mode="json", by_alias=True)

    def schema(self) -> dict[str, Any]:
        """Return pydantic's schema of it."""
        return inline_references(self._adapter.json_schema(by_alias=True))

    def _validate(self, value: Any) -> Any:
        from pydantic import ValidationError

        try:
            return self._adapter.validate_python(value, strict=None)
        except ValidationError as error:
            raise Problem.of(_problems(error)) from error


def _problems(error: Any) -> list[FieldProblem]:
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return [FieldProblem(_path(one["loc"]), one["msg"]) for one in found]


def _path(location: Sequence[str | int]) -> str:
    path = ""
    for step in location:
        path += f"[{step}]" if isinstance(step, int) else f".{step}" if path else step
    return path


def recognise(hint: Any, annotations: Sequence[Any]) -> Leaf | None:
    """Return the leaf of a pydantic type."""
    if not isinstance(hint, type):
        return None
    is_model = hasattr(hint, "__pydantic_validator__") and hasattr(hint, "__pydantic_core_schema__")
    return ModelLeaf(hint) if is_model else None
