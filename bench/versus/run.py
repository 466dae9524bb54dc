"""Measure this server and its peers, interleaved, and print tables (see README.md)."""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import load
from environments import output_of, python_with
from figures import ALONE, figures
from served import await_answer, cpu_s, free_port, pss_mib, running
from systems import APPS, SYSTEMS, System
from workloads import CLIENT_CORE, SLOW_CLOSED, SLOW_ROWS, WORKLOADS, Workload

RESULTS = Path(__file__).parent.parent / "results" / "versus.json"
Rounds = dict[str, dict[str, list[dict[str, float]]]]


def measure(system: System, workload: Workload, seconds: float) -> dict[str, float]:
    """Start a server, warm it up, measure it, and end it."""
    port = free_port()
    url = f"http://127.0.0.1:{port}" + system.path.format(workload=workload.app)
    body, content_type = workload.request(multipart=workload.app in system.forms)

    def ask(seconds: float) -> dict[str, float]:
        if workload.rate_per_s is not None:
            return load.measure_open(url, body, content_type, workload.holds,
                                     workload.rate_per_s, seconds, CLIENT_CORE)  # fmt: skip
        return load.measure(url, body, content_type, workload.concurrency, seconds, CLIENT_CORE)

    with running(system, workload, port) as process:
        start_s = await_answer(url, body, content_type, workload.holds)
        idle_mib = pss_mib(process.pid)
        ask(1)
        before_s = cpu_s(process.pid)
        found = ask(seconds)
        used_s = cpu_s(process.pid) - before_s
    return {
        **found,
        "us_per_request": 1e6 * used_s / max(1, found["requests"]),
        "start_s": start_s,
        "idle_mib": idle_mib,
    }


def model_alone(workload: Workload, seconds: float) -> dict[str, float]:
    """Measure the slow model without a server."""
    command = ["taskset", "-c", workload.cores, sys.executable, APPS / "model_alone.py",
               SLOW_ROWS, seconds]  # fmt: skip
    return json.loads(output_of(*command, cwd=APPS))


def table(rounds: Rounds) -> list[str]:
    lines = [
        f"{'workload':26} {'system':11} {'req/s':>10} {'spread':>15} {'p50 ms':>8} {'p99 ms':>8}"
        f" {'us/req':>8} {'start s':>8} {'idle MiB':>9} {'errors':>7}"
    ]
    for workload, systems in rounds.items():
        for system, runs in systems.items():
            if not runs:
                continue
            rates = [run["rate"] for run in runs]
            middle = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
            lines.append(
                f"{workload:26} {system:11} {middle['rate']:10,.0f}"
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
    rounds: Rounds = defaultdict(lambda: defaultdict(list))
    failures: list[dict[str, Any]] = []
    for number in range(options.rounds):
        for label in options.workloads:
            for name in options.systems:
                if WORKLOADS[label].app in SYSTEMS[name].lacks:
                    continue
                print(f"round {number + 1}: {label}: {name}", file=sys.stderr)
                try:
                    found = measure(SYSTEMS[name], WORKLOADS[label], options.seconds)
                    rounds[label][name].append(found)
                except (OSError, ValueError, subprocess.SubprocessError, AttributeError) as error:
                    failures.append({"workload": label, "system": name, "error": str(error)})
                    print(f"  failed: {error}", file=sys.stderr)
                keep(options, versions, rounds, failures)
            if label == SLOW_CLOSED:
                rounds[label][ALONE].append(model_alone(WORKLOADS[label], options.seconds))
    keep(options, versions, rounds, failures)
    print("\n".join(table(rounds)))
    print()
    print("\n".join(map(str, figures(rounds))))
    print(", ".join(f"{name} {version}" for name, version in versions.items()))
    draw(options.output)


def draw(results: Path) -> None:
    """Draw the results beside them."""
    try:
        python = python_with("plot", ("matplotlib",))
        output_of(python, Path(__file__).parent / "plot.py", results, results.with_suffix(".svg"))
    except subprocess.CalledProcessError as error:
        print(f"no picture: {error.stderr}", file=sys.stderr)


def keep(
    options: argparse.Namespace,
    versions: dict[str, str],
    rounds: Rounds,
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
                "figures": [vars(figure) for figure in figures(rounds)],
            },
            indent=1,
        )
        + "\n"
    )  # fmt: skip


if __name__ == "__main__":
    main()
