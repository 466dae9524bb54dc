"""One server on its cores: started, asked, weighed and ended with its whole tree."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil
from systems import APPS, System
from workloads import Workload


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def running(system: System, workload: Workload, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Start a server on its cores; end its whole tree."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(APPS),
        "BENTOML_DO_NOT_TRACK": "true",
        "VERSUS_WORKERS": str(workload.workers),
        "VERSUS_WORKLOAD": workload.app,
    }
    if not system.requirements:
        environment["PYTHONPATH"] = os.environ.get("PYTHONPATH", "")
    # As installed: nobody compiles its libraries at every start.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    process = subprocess.Popen(
        ["taskset", "-c", workload.cores,
         *system.arguments(workload.app, port, workload.workers)],
        cwd=APPS, env=environment, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield process
    finally:
        tree = [process, *_tree(process.pid)]
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
        for member in tree:
            with suppress(psutil.Error, ProcessLookupError):
                member.kill()
        process.wait()


def cpu_s(pid: int) -> float:
    """Return the CPU time that the tree has used."""
    total = 0.0
    for process in [psutil.Process(pid), *_tree(pid)]:
        with suppress(psutil.Error):
            times = process.cpu_times()
            total += times.user + times.system
    return total


def pss_mib(pid: int) -> float:
    """Return the memory of the tree, what is shared counted once."""
    total = 0
    for process in [psutil.Process(pid), *_tree(pid)]:
        with suppress(psutil.Error):
            total += process.memory_full_info().pss
    return total / 2**20


def await_answer(
    url: str, body: bytes, content_type: str, holds: bytes, within_s: float = 60.0
) -> float:
    """Return the seconds until the first right answer."""
    began_s = time.monotonic()
    while True:
        try:
            answer = _ask(url, body, content_type)
            if holds not in answer:
                raise ValueError(f"{url} answered {answer[:100]!r}")
            return time.monotonic() - began_s
        except (urllib.error.URLError, OSError) as error:
            if time.monotonic() - began_s > within_s:
                raise TimeoutError(f"{url} does not answer: {error}") from error
            time.sleep(0.02)


def _ask(url: str, body: bytes, content_type: str) -> bytes:
    request = urllib.request.Request(url, data=body, headers={"Content-Type": content_type})
    with urllib.request.urlopen(request, timeout=5) as answer:
        return answer.read()


def _tree(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return []
