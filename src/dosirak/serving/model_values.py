"""A model that refuses the values of rows which a request brought: nulls, nothing at all, text.

    what the library says ∧ what the arguments hold ─▶ the caller's 400, naming the parameter

A bare model answers so by itself (`models.features.taking_rows`). In a written service the author's
code stands between, and may have made the gap itself; so the arguments are looked at, and only what
they show is the caller's to correct. Pure, and run only after a call has failed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from dosirak.errors import FieldProblem, InvalidInput
from dosirak.serving.model_columns import library_of

_ROWS = frozenset({"table", "ndarray", "tensor", "series"})
_LONGEST_REASON = 200


def row_parameters(description: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the paths of an api's parameters that are tables, arrays, tensors or series.

    Args:
        description: what the api's codec says of itself.
    """
    return tuple(
        "" if parameter.get("root") else str(parameter["name"])
        for parameter in description.get("parameters", ())
        if _is_rows(parameter.get("schema") or {})
    )


def _is_rows(schema: Mapping[str, Any]) -> bool:
    return schema.get("x-dosirak-type") in _ROWS or any(map(_is_rows, schema.get("anyOf", ())))


def refused_values(
    error: BaseException, arguments: Iterable[Any], parameters: tuple[str, ...]
) -> InvalidInput | None:
    """Return the caller's error where a model refused values that the `arguments` hold."""
    words = str(error)
    rules = _RULES.get(library_of(error), ())
    holds = next((holds for pattern, holds in rules if pattern.match(words)), None)
    given = [value for value in arguments if hasattr(value, "shape")]
    if holds is None or not any(map(holds, given)):
        return None
    reason = words.partition("\n")[0].strip().rstrip(".:")[:_LONGEST_REASON]
    # Of several parameters nobody can say which one it was.
    at = parameters[0] if len(parameters) == 1 else ""
    return InvalidInput(
        f"The model cannot take these rows: {reason}.",
        remedy="Send rows like those the model was trained on.",
        fields=[FieldProblem(at, reason)],
    )


def _is_empty(value: Any) -> bool:
    return any(size == 0 for size in value.shape)


def _has_gaps(value: Any) -> bool:
    """Whether a value is missing or no finite number somewhere; what cannot be read has none."""
    try:
        if hasattr(value, "isna") and bool(value.isna().to_numpy().any()):
            return True
        if hasattr(value, "isna") and hasattr(value, "select_dtypes"):
            value = value.select_dtypes("number")
        values = value.to_numpy() if hasattr(value, "to_numpy") else value
        # NaN alone does not equal itself, whichever library holds it.
        unequal = bool((values != values).any())  # noqa: PLR0124
        return unequal or bool((abs(values) == math.inf).any())
    except Exception:
        return False


def _is_any(_value: Any) -> bool:
    return True


def _rule(pattern: str, holds: Callable[[Any], bool]) -> tuple[re.Pattern[str], Any]:
    return re.compile(pattern), holds


_RULES: Mapping[str, tuple[tuple[re.Pattern[str], Callable[[Any], bool]], ...]] = {
    "sklearn": (
        _rule(r"Input (?:X )?contains (?:NaN|infinity)", _has_gaps),
        _rule(r"Found array with 0 (?:sample|feature)\(s\)", _is_empty),
        _rule(r"Found unknown categories ", _is_any),
    ),
    "lightgbm": (
        _rule(r"Input data must be 2 dimensional and non empty", _is_empty),
        _rule(r"pandas dtypes must be int, float or bool", _is_any),
    ),
    "xgboost": (_rule(r"DataFrame\.dtypes for data must be", _is_any),),
    "catboost": (_rule(r"Bad value for num_feature", _is_any),),
}
