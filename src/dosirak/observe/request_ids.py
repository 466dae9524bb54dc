"""Request ids: a caller's own where it is harmless, a random one otherwise.

An id is copied into logs and response headers, so only plain characters of a bounded length pass.
"""

from __future__ import annotations

import re
from uuid import uuid4

_PLAIN = re.compile(r"[A-Za-z0-9._:-]{1,128}", re.ASCII)


def request_id_from(candidate: str | None) -> str:
    """Return `candidate` if it can be used as it is, else a new random id."""
    return candidate if candidate and _PLAIN.fullmatch(candidate) else new_request_id()


def new_request_id() -> str:
    """Return 32 random hexadecimal digits."""
    return uuid4().hex
