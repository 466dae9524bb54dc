"""The access log's file: one JSON object a line, written by Envoy, put aside when it is long."""

from __future__ import annotations

import contextlib
from pathlib import Path

from dosirak.deployment.router.admin import Admin, RouterSilent
from dosirak.deployment.router.file_names import ACCESS_LOG


class AccessLogFile:
    """The log of one Envoy, and the one before it.

    Args:
        folder: where it is.
        admin: opens it again.
        most_bytes: size at which it is put aside.
    """

    def __init__(self, folder: Path, admin: Admin, most_bytes: int) -> None:
        self._file = folder / ACCESS_LOG
        self._admin = admin
        self._most_bytes = most_bytes

    def bound(self) -> None:
        """Put it aside if it is long enough; what Envoy still writes goes with it."""
        with contextlib.suppress(OSError, RouterSilent):
            if self._file.stat().st_size >= self._most_bytes:
                self._file.replace(self._file.with_name(f"{ACCESS_LOG}.1"))
                self._admin.tell("/reopen_logs")
