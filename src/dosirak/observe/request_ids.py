"""Request ids: a caller's own where it is harmless, a random one otherwise.

An id is copied into logs and response headers, so only plain characters of a bounded length pass.
"""

from __future__ import annotations

import itertools
import re
from uuid import uuid4

_PLAIN = re.compile(r"[A-Za-z0-9._:-]{1,128}", re.ASCII)


def request_id_from(candidate: str | None) -> str:
    """Return `candidate` if it can be used as it is, else a new random id."""
    return candidate if candidate and is_plain(candidate) else new_request_id()


def is_plain(candidate: str) -> bool:
    """Whether an id can be copied into logs and headers as it is."""
    return _PLAIN.fullmatch(candidate) is not None


def new_request_id() -> str:
    """Return 32 random hexadecimal digits."""
    return uuid4().hex


class RequestIds:
    """Ids of 32 hexadecimal digits: a random beginning and a number, which costs less.

    The beginning is this object's own, so that ids of two fronts do not meet.
    """

    def __init__(self) -> None:
        self._beginning = uuid4().hex[:20]
        self._numbers = itertools.count(1)

    def next(self) -> str:
        """Return an id that was not returned before."""
        return f"{self._beginning}{next(self._numbers):012x}"
