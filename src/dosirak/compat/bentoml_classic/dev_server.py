"""Serves a saved copy of a service in a child process, for trying it out in a notebook."""

from __future__ import annotations

import atexit
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from dosirak.compat.bentoml_classic.exceptions import FailedPrecondition

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
_POLL_S = 0.05


class DevServer:
    """At most one server process, ended at the latest with this process."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._scratch: tempfile.TemporaryDirectory[str] | None = None

    def start(self, save_to: Callable[[str], None], *, port: int, debug: bool) -> None:
        """Save the service aside, serve it and wait until the port answers.

        Raises:
            FailedPrecondition: the server runs already, or did not start.
        """
        if self._is_running():
            raise FailedPrecondition(
                "The dev server runs already.", remedy="Call stop_dev_server() first."
            )
        self._scratch = tempfile.TemporaryDirectory()
        bundle = Path(self._scratch.name) / "bundle"
        save_to(str(bundle))
        command = [sys.executable, "-m", "dosirak.compat.bentoml_classic", "serve", str(bundle)]
        output = None if debug else subprocess.DEVNULL
        self._process = subprocess.Popen(
            [*command, "--port", str(port)], stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
        atexit.register(self.stop)
        self._wait_until_open(port)

    def stop(self) -> None:
        """End the process and remove the saved copy."""
        atexit.unregister(self.stop)
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        if self._scratch is not None:
            self._scratch.cleanup()
            self._scratch = None

    def _is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _wait_until_open(self, port: int) -> None:
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline_s and self._is_running():
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
            except OSError:
                time.sleep(_POLL_S)
            else:
                return
        self.stop()
        raise FailedPrecondition(
            f"The dev server did not start on port {port}.",
            remedy="Try another port, or debug=True to see why.",
        )
