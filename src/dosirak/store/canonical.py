"""One JSON text per value, so that equal content has an equal digest.

Keys sorted by code point, no white space, UTF-8, shortest float form, no NaN or infinity. Whoever
reads such a text encodes it again and compares: any changed bit shows.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)


def canonical_json(value: Any) -> bytes:
    """Encode a JSON value in its one canonical form.

    Raises:
        ValueError: NaN, infinity or a lone surrogate is in it.
        TypeError: something that is no JSON value is in it.
    """
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode()


def digest_of(data: bytes) -> str:
    """Return the sha256 of `data` in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def is_digest(text: object) -> bool:
    """Whether `text` has the form of a digest: 64 lower-case hexadecimal digits."""
    return isinstance(text, str) and _DIGEST.fullmatch(text) is not None
