"""Asking replicas without waiting for a slow one."""

from __future__ import annotations

import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from dosirak.targets.readiness import ReadinessProbes


class Replica:
    """Answers as it is told."""

    def __init__(self, path: Path, *, silent: bool = False) -> None:
        self.path = path
        self.status = 200
        self.asked = 0
        self._silent = silent
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(16)
        self._held: list[socket.socket] = []
        self._thread = Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.asked += 1
            if self._silent:
                self._held.append(connection)
                continue
            with connection:
                connection.recv(4096)
                head = f"HTTP/1.1 {self.status} X\r\ncontent-type: application/json\r\n\r\n"
                connection.sendall(head.encode() + b'{"reason": "as told"}')

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        for connection in self._held:
            connection.close()


@pytest.fixture
def folder() -> Iterator[Path]:
    place = Path(tempfile.mkdtemp(prefix="dsk-"))
    yield place
    shutil.rmtree(place)


@pytest.fixture
def probes() -> Iterator[ReadinessProbes]:
    probes = ReadinessProbes()
    yield probes
    probes.close()


def _until_known(probes: ReadinessProbes, replica: Replica, *, ready: bool) -> None:
    end_s = time.monotonic() + 30
    while probes.look([("a", replica.path)])["a"].ready is not ready:
        assert time.monotonic() < end_s
        time.sleep(0.02)


def test_one_that_is_ready_is_not_asked_each_time(folder: Path, probes: ReadinessProbes) -> None:
    replica = Replica(folder / "a")
    _until_known(probes, replica, ready=True)
    asked = replica.asked
    for _ in range(20):
        known = probes.look([("a", replica.path)])["a"]
    replica.close()

    assert (known.ready, known.ever, known.reason) == (True, True, "as told")
    assert replica.asked == asked


def test_one_that_says_no_is_not_ready(folder: Path, probes: ReadinessProbes) -> None:
    replica = Replica(folder / "a")
    replica.status = 503
    end_s = time.monotonic() + 30
    while not (known := probes.look([("a", replica.path)])["a"]).reason:
        assert time.monotonic() < end_s
    replica.close()

    assert not known.ready


def test_one_that_was_ready_is_so_until_it_misses_several_questions(
    folder: Path,
) -> None:
    now_s = [0.0]
    probes = ReadinessProbes(lambda: now_s[0])
    replica = Replica(folder / "a")
    _until_known(probes, replica, ready=True)
    replica.close()
    for misses, ready in ((1, True), (2, True), (3, False)):
        now_s[0] += 10
        end_s = time.monotonic() + 30
        while (known := probes.look([("a", replica.path)])["a"]).misses != misses:
            assert time.monotonic() < end_s
        assert known.ready is ready
    probes.close()


def test_a_silent_one_keeps_nobody_from_being_seen(folder: Path, probes: ReadinessProbes) -> None:
    silent = [Replica(folder / f"s{number}", silent=True) for number in range(3)]
    well = Replica(folder / "a")
    sockets = [(replica.path.name, replica.path) for replica in (*silent, well)]
    end_s = time.monotonic() + 30
    while not (known := probes.look(sockets))["a"].ready:
        assert time.monotonic() < end_s
    for replica in (*silent, well):
        replica.close()

    assert not any(known[replica.path.name].ready for replica in silent)


def test_one_without_a_socket_is_not_ready(folder: Path, probes: ReadinessProbes) -> None:
    assert not probes.look([("a", folder / "nothing")])["a"].ready
