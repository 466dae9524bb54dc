"""Measure this server and its peers, interleaved, and print a table (see README.md)."""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import defaultdict
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).parent))

import load
from systems import APPS, SYSTEMS, System
from workloads import WORKLOADS, Workload, tensor_body

RESULTS = Path(__file__).parent.parent / "results" / "versus.json"
SERVER_CORE, CLIENT_CORE = 0, 1


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def running(system: System, workload: Workload, port: int):
    """Start a server on its core; end its whole tree."""
    environment = {**os.environ, "PYTHONPATH": str(APPS), "BENTOML_DO_NOT_TRACK": "true"}
    if not system.requirements:
        environment["PYTHONPATH"] = os.environ.get("PYTHONPATH", "")
    process = subprocess.Popen(
        ["taskset", "-c", str(SERVER_CORE), *system.arguments(workload.app, port)],
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


def _tree(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return []


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


def ask(url: str, workload: Workload) -> bytes:
    request = urllib.request.Request(
        url, data=workload.body, headers={"Content-Type": workload.content_type}
    )
    with urllib.request.urlopen(request, timeout=5) as answer:
        return answer.read()


def await_answer(url: str, workload: Workload, within_s: float = 60.0) -> float:
    """Return the seconds until the first right answer."""
    began_s = time.monotonic()
    while True:
        try:
            body = ask(url, workload)
            if workload.holds not in body:
                raise SystemExit(f"{url} answered {body[:100]!r}")
            return time.monotonic() - began_s
        except (urllib.error.URLError, OSError) as error:
            if time.monotonic() - began_s > within_s:
                raise TimeoutError(f"{url} does not answer: {error}") from error
            time.sleep(0.02)


def measure(system: System, workload: Workload, seconds: float) -> dict[str, float]:
    port = free_port()
    url = f"http://127.0.0.1:{port}" + system.path.format(workload=workload.app)
    with running(system, workload, port) as process:
        start_s = await_answer(url, workload)
        idle_mib = pss_mib(process.pid)
        load.measure(url, workload.body, workload.content_type, workload.concurrency, 1,
                     CLIENT_CORE)  # fmt: skip
        before_s = cpu_s(process.pid)
        found = load.measure(
            url, workload.body, workload.content_type, workload.concurrency, seconds, CLIENT_CORE
        )
        used_s = cpu_s(process.pid) - before_s
    return {
        **found,
        "us_per_request": 1e6 * used_s / max(1, found["requests"]),
        "start_s": start_s,
        "idle_mib": idle_mib,
    }


def table(rounds: dict[str, dict[str, list[dict[str, float]]]]) -> list[str]:
    lines = [
        f"{'workload':24} {'system':10} {'req/s':>10} {'spread':>15} {'p50 ms':>8} {'p99 ms':>8}"
        f" {'us/req':>8} {'start s':>8} {'idle MiB':>9} {'errors':>7}"
    ]
    for workload, systems in rounds.items():
        for system, runs in systems.items():
            if not runs:
                continue
            rates = [run["rate"] for run in runs]
            middle = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
            lines.append(
                f"{workload:24} {system:10} {middle['rate']:10,.0f}"
                f" {f'{min(rates):,.0f}–{max(rates):,.0f}':>15} {middle['p50_ms']:8.2f}"
                f" {middle['p99_ms']:8.2f} {middle['us_per_request']:8.1f}"
                f" {middle['start_s']:8.2f} {middle['idle_mib']:9.0f} {middle['errors']:7.0f}"
            )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=list(WORKLOADS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    # A benchmark that is ended leaves no server behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    versions = {name: SYSTEMS[name].version() for name in options.systems}
    rounds: dict[str, dict[str, list[dict[str, float]]]] = defaultdict(lambda: defaultdict(list))
    failures: list[dict[str, Any]] = []
    for number in range(options.rounds):
        for label in options.workloads:
            workload = WORKLOADS[label]
            if workload.app == "tensor":
                workload = Workload(**{**vars(workload), "body": tensor_body()})
            for name in options.systems:
                if workload.app in SYSTEMS[name].lacks:
                    continue
                print(f"round {number + 1}: {label}: {name}", file=sys.stderr)
                try:
                    rounds[label][name].append(measure(SYSTEMS[name], workload, options.seconds))
                except (TimeoutError, subprocess.SubprocessError, AttributeError) as error:
                    failures.append({"workload": label, "system": name, "error": str(error)})
                    print(f"  failed: {error}", file=sys.stderr)
                keep(options, versions, rounds, failures)
    print("\n".join(table(rounds)))
    print(", ".join(f"{name} {version}" for name, version in versions.items()))


def keep(
    options: argparse.Namespace,
    versions: dict[str, str],
    rounds: dict[str, dict[str, list[dict[str, float]]]],
    failures: list[dict[str, Any]],
) -> None:
    """Write what is known so far: a run that is cut short is not lost."""
    options.output.write_text(
        json.dumps(
            {
                "machine": {"cores": os.cpu_count(), "system": platform.platform(),
                            "python": platform.python_version(),
                            "load_average": os.getloadavg()},
                "versions": versions,
                "seconds": options.seconds,
                "rounds": rounds,
                "failures": failures,
            },
            indent=1,
        )
        + "\n"
    )  # fmt: skip


if __name__ == "__main__":
    main()
