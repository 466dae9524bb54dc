"""What an author says of a model, as JSON values: checked at once, with the key at fault named."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

from dosirak.errors import UsageError

# Less than the store takes: what is said here lies within a manifest.
MAX_DEPTH = 100


def json_value(value: Any, where: str) -> Any:
    """Return `value` as plain JSON values: tuples become lists, numpy scalars become numbers.

    Raises:
        UsageError: something in it has no JSON form; the message names where (the caller's fault).
    """
    return _json_value(value, where, MAX_DEPTH)


def json_object(value: Any, where: str) -> dict[str, Any]:
    """Return a dictionary as plain JSON values; None is an empty one.

    Raises:
        UsageError: it is no dictionary, or something in it has no JSON form (the caller's fault).
    """
    if value is not None and not isinstance(value, Mapping):
        raise UsageError(
            f"{where} is a {type(value).__name__}, not a dictionary.",
            remedy="Give a dictionary with text for keys: {'accuracy': 0.97}.",
        )
    return json_value(cast("Mapping[Any, Any]", value or {}), where)


def _json_value(value: Any, where: str, depth: int) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | str):
        return int(value) if isinstance(value, int) else _text(value, where)
    if isinstance(value, float):
        return _number(float(value), where)
    if isinstance(value, Mapping):
        return _object(cast("Mapping[Any, Any]", value), where, _deeper(depth, where))
    if isinstance(value, list | tuple):
        items = cast("list[Any] | tuple[Any, ...]", value)
        within = _deeper(depth, where)
        return [_json_value(item, f"{where}[{index}]", within) for index, item in enumerate(items)]
    if _is_numpy_scalar(value) and type(value.item()) is not type(value):
        return _json_value(value.item(), where, depth)
    raise UsageError(
        f"{where} is a {type(value).__name__}, which has no JSON form.",
        remedy="Use text, numbers, true, false, null, lists and dictionaries of them.",
    )


def _object(value: Mapping[Any, Any], where: str, depth: int) -> dict[str, Any]:
    for key in value:
        if not isinstance(key, str):
            raise UsageError(
                f"The key {key!r} in {where} is not text.", remedy="Use text for every key."
            )
    return {
        _text(key, f"a key in {where}"): _json_value(item, f"{where}[{key!r}]", depth)
        for key, item in value.items()
    }


def _deeper(depth: int, where: str) -> int:
    if depth == 1:
        raise UsageError(
            f"{where.partition('[')[0]} is nested more than {MAX_DEPTH} levels deep, or contains"
            " itself.",
            remedy="Write it flatter.",
        )
    return depth - 1


def _text(value: str, where: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise UsageError(
            f"{where} holds half a character (a lone surrogate).", remedy="Use valid text."
        ) from error
    return str(value)


def _number(value: float, where: str) -> float:
    if not math.isfinite(value):
        raise UsageError(
            f"{where} is {value}, which JSON cannot hold.",
            remedy="Leave it out, or write it as text.",
        )
    return value


def _is_numpy_scalar(value: Any) -> bool:
    return type(value).__module__ == "numpy" and getattr(value, "shape", None) == ()
