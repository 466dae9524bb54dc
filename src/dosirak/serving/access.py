"""The tokens that callers may have, kept as hashes in a file that whoever manages them replaces.

    {"version": 1, "deployment": "NAME", "open": false,
     "tokens": [{"id": "…", "sha256": "<hex>", "expires_at": <seconds since 1970, or null>}]}

While it is `open`, callers need none. The file is looked at twice a second, never for a request.
One that is missing or cannot be read lets nobody in.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from dosirak.errors import Unauthorized
from dosirak.observe.logs import ROOT_LOGGER

# A file that was changed so lately may change again without looking different.
_UNSETTLED_S = 2.0
_VERSION = 1

_log = logging.getLogger(f"{ROOT_LOGGER}.serving.access")


class _Token(msgspec.Struct, frozen=True):
    id: str
    sha256: str
    expires_at: float | None = None


class _File(msgspec.Struct, frozen=True):
    version: int
    tokens: tuple[_Token, ...]
    open: bool = False


_NOBODY = _File(_VERSION, ())


class AccessList:
    """Who may call, as a file says.

    Args:
        path: the file.
        clock: the wall clock.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._clock = clock
        self._tokens: dict[str, _Token] = {}
        self.is_open = False
        self._seen: tuple[int, ...] | None = None
        self._complaint: str | None = None
        self._next_expiry = float("inf")
        self.refresh()

    def check(self, token: str) -> None:
        """Let a token pass.

        Raises:
            Unauthorized: it is unknown, revoked or expired.
        """
        digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
        found = self._tokens.get(digest)
        if found is None or not hmac.compare_digest(found.sha256.lower(), digest):
            raise Unauthorized(
                "The token is wrong, or was revoked.", remedy="Send a token of this deployment."
            )
        if found.expires_at is not None and found.expires_at <= self._clock():
            raise Unauthorized("The token has expired.", remedy="Ask for a new one.")

    def refresh(self) -> bool:
        """Look at the file; return whether other tokens may pass than before."""
        now = self._clock()
        expired = now >= self._next_expiry
        look = self._look(now)
        if look is not None and look == self._seen:
            if expired:
                self._next_expiry = _next_expiry(self._tokens, now)
            return expired
        self._seen = look
        before = self.is_open, self._tokens
        read = self._read()
        self.is_open = read.open
        self._tokens = {token.sha256.lower(): token for token in read.tokens}
        self._next_expiry = _next_expiry(self._tokens, now)
        return expired or before != (self.is_open, self._tokens)

    def _look(self, now: float) -> tuple[int, ...] | None:
        """Return what changes with the file; None while that may not tell."""
        try:
            found = os.stat(self._path)  # noqa: PTH116 - twice a second
        except OSError:
            return None
        if now - found.st_mtime < _UNSETTLED_S:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size, found.st_dev

    def _read(self) -> _File:
        try:
            read = msgspec.json.decode(self._path.read_bytes(), type=_File)
        except OSError as error:
            return self._complain(os.strerror(error.errno or 0))
        except msgspec.DecodeError as error:
            return self._complain(str(error))
        if read.version != _VERSION:
            return self._complain(f"its version is {read.version}")
        self._complaint = None
        return read

    def _complain(self, reason: str) -> _File:
        if reason != self._complaint:
            _log.error("Nobody may call: %s cannot be used: %s.", self._path, reason)
        self._complaint = reason
        return _NOBODY


def open_access(path: str) -> AccessList | None:
    """Return who may call; None when no file says it."""
    return AccessList(Path(path)) if path else None


def _next_expiry(tokens: dict[str, _Token], now: float) -> float:
    times = (token.expires_at for token in tokens.values() if token.expires_at is not None)
    return min((time_s for time_s in times if time_s > now), default=float("inf"))
