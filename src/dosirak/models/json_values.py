"""What an author says of a model, as JSON values: checked at once, with the key at fault named."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

from dosirak.errors import UsageError


def json_value(value: Any, where: str) -> Any:
    """Return `value` as plain JSON values: tuples become lists, numpy scalars become numbers.

    Raises:
        UsageError: something in it has no JSON form; the message names where (the caller's fault).
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | str):
        return int(value) if isinstance(value, int) else _text(value, where)
    if isinstance(value, float):
        return _number(float(value), where)
    if isinstance(value, Mapping):
        return _object(cast("Mapping[Any, Any]", value), where)
    if isinstance(value, list | tuple):
        items = cast("list[Any] | tuple[Any, ...]", value)
        return [json_value(item, f"{where}[{index}]") for index, item in enumerate(items)]
    if _is_numpy_scalar(value):
        return json_value(value.item(), where)
    raise UsageError(
        f"{where} is a {type(value).__name__}, which has no JSON form.",
        remedy="Use text, numbers, true, false, null, lists and dictionaries of them.",
    )


def _object(value: Mapping[Any, Any], where: str) -> dict[str, Any]:
    for key in value:
        if not isinstance(key, str):
            raise UsageError(
                f"The key {key!r} in {where} is not text.", remedy="Use text for every key."
            )
    return {
        _text(key, f"a key in {where}"): json_value(item, f"{where}[{key!r}]")
        for key, item in value.items()
    }


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
