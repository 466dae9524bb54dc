"""Files written and followed: each step ends once Envoy's main thread says so.

What the main thread follows it has handed to the threads that serve, in order; the probe, which is
written last, is answered by them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from dosirak.deployment.router.admin import Admin, RouterSilent
from dosirak.deployment.router.files import WatchedFiles
from dosirak.deployment.router.process import EnvoyProcess
from dosirak.deployment.router.resources import Resource
from dosirak.errors import Unavailable

_FOLLOW_S = 15.0


class FileRefused(Unavailable):
    """Envoy refuses a file; it goes on with the one before."""


class Publication:
    """Writes the files of one Envoy.

    Args:
        files: what is on disk.
        admin: of the Envoy that watches them.
        process: of that Envoy, whose log says why.
    """

    def __init__(self, files: WatchedFiles, admin: Admin, process: EnvoyProcess) -> None:
        self._files = files
        self._admin = admin
        self._process = process

    def write(self, name: str, resources: Mapping[str, Resource], version: int) -> bool:
        """Write a file and wait until Envoy follows it; while none runs, write it all the same.

        Returns:
            Whether it changed.

        Raises:
            FileRefused: Envoy refuses it.
            Unavailable: Envoy does not take it up in time.
        """
        refused_before = self._refused()
        changed = self._files.write(name, resources, version)
        if refused_before is not None:
            self._await_followed(name, refused_before)
        return changed

    def _refused(self) -> int | None:
        try:
            return self._admin.followed().rejected
        except RouterSilent:
            return None

    def _await_followed(self, name: str, refused_before: int) -> None:
        word = self._files.word(name)

        def followed() -> bool:
            seen = self._admin.followed()
            if seen.rejected > refused_before:
                raise FileRefused(
                    f"The router refuses its new {name}: {self._process.said(lines=4)}",
                    remedy="Look at the router's log.",
                )
            return seen.words[name] == word and not seen.warming

        try:
            if wait_until(followed, _FOLLOW_S):
                return
        except RouterSilent:
            return  # It has ended; the one after it reads the files.
        raise Unavailable(
            f"The router does not follow its new {name}: {self._process.said(lines=4)}",
            remedy="Look at the router's log.",
        )


def wait_until(holds: Callable[[], bool], within_s: float) -> bool:
    """Look again and again, less and less often; say whether it came to hold."""
    deadline_s = time.monotonic() + within_s
    pause_s = 0.001
    while not holds():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(pause_s)
        pause_s = min(0.05, pause_s * 1.5)
    return True
