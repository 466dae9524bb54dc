"""One JSON text per value, so that equal content has an equal digest.

Keys sorted by code point, no white space, UTF-8, shortest float form, no NaN or infinity, no more
than `MAX_DEPTH` levels. Whoever reads such a text encodes it again and compares: any changed bit
shows.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from typing import Any, cast

# Far more than anybody writes by hand, far less than exhausts the stack of whoever reads it later.
MAX_DEPTH = 200

_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)


def canonical_json(value: Any) -> bytes:
    """Encode a JSON value in its one canonical form.

    Raises:
        ValueError: NaN, infinity or a lone surrogate is in it, or it is nested too deeply.
        TypeError: something that is no JSON value is in it.
    """
    if _is_deep(value):
        raise ValueError(f"it is nested more than {MAX_DEPTH} levels deep")
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode()


def _is_deep(value: Any) -> bool:
    """Whether a value has more than `MAX_DEPTH` levels; one that contains itself has."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [child for parent in level for child in _containers_in(parent)]
        if not level:
            return False
    return True


def _containers_in(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        children = cast("dict[Any, Any]", value).values()
    elif isinstance(value, list | tuple):
        children = cast("list[Any]", value)
    else:
        return iter(())
    return (child for child in children if isinstance(child, dict | list | tuple))


def digest_of(data: bytes) -> str:
    """Return the sha256 of `data` in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def is_digest(text: object) -> bool:
    """Whether `text` has the form of a digest: 64 lower-case hexadecimal digits."""
    return isinstance(text, str) and _DIGEST.fullmatch(text) is not None
