"""Writes what API functions return as JSON, in the forms classic clients know.

numpy scalars and arrays become numbers and lists, tables become records, bytes become text or
`{"b64": …}`, and anything unknown becomes `{"unknown_obj": …}`. NaN and infinities, which JSON
cannot hold, become null.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from typing import Any, cast

B64_KEY = "b64"


def json_text(value: Any, *, ensure_ascii: bool = False) -> str:
    """Return `value` as JSON text.

    Raises:
        TypeError: a dict has keys that JSON cannot hold.
        ValueError: the value contains itself.
    """
    try:
        return json.dumps(value, default=_plain, ensure_ascii=ensure_ascii, allow_nan=False)
    except ValueError:
        # The slow way, only for values with NaN or infinities in them.
        finite = _finite(json.loads(json.dumps(value, default=_plain)))
        return json.dumps(finite, ensure_ascii=ensure_ascii, allow_nan=False)


def _plain(value: Any) -> Any:
    """Turn what `json` does not know into what it does."""
    if isinstance(value, bytes):
        return _bytes_value(value)
    if type(value).__module__.partition(".")[0] == "pandas" and hasattr(value, "to_json"):
        orient = "records" if value.ndim == 2 else "values"
        return json.loads(value.to_json(orient=orient))
    # numpy arrays and scalars, torch and tensorflow tensors: by what they offer, so that no
    # library is imported only to ask.
    for method in ("tolist", "numpy", "item"):
        if callable(found := getattr(value, method, None)):
            return found()
    return {"unknown_obj": str(value)}


def _bytes_value(value: bytes) -> Any:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return {B64_KEY: base64.b64encode(value).decode("ascii")}


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in cast(Mapping[str, Any], value).items()}
    if isinstance(value, list):
        return [_finite(item) for item in cast(list[Any], value)]
    return value
