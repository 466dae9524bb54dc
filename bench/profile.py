"""Where the time of one core goes while a server is asked as much as it can answer.

`python -m bench profile`, or `python -m bench.profile --what worker --workload "iris c64"`.
Server and load are those of `bench/versus`, all features on. py-spy looks at the front (or at a
worker) from outside and tells Python functions apart, while they hold the interpreter's lock; perf,
where it may be used, tells the kernel, the interpreter and the C libraries apart. The text goes to
bench/results/profile-*.txt.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parent / "versus"))

import load
from environments import python_with
from served import await_answer, free_port, running
from systems import SYSTEMS
from workloads import CLIENT_CORE, WORKLOADS

HERE = Path(__file__).parent
_SHOWN = 45
_PER_S = 500


def measure() -> Iterator[tuple[str, float, str]]:
    """Yield the functions of the front that most of the time is spent in, calls not counted."""
    for what in ("front", "worker"):
        own, _, total = profile(what, "echo c64", 6.0)
        for name, count in own.most_common(8):
            yield f"{what}: {name.partition(' ')[0]}", 100 * count / total, "%"


def profile(what: str, label: str, seconds: float) -> tuple[Counter[str], Counter[str], int]:
    """Profile one process of a server under a workload, and write what was found."""
    workload, system, port = WORKLOADS[label], SYSTEMS["dosirak"], free_port()
    body, content_type = workload.request(multipart=False)
    url = f"http://127.0.0.1:{port}" + system.path.format(workload=workload.app)
    with running(system, workload, port) as process, tempfile.TemporaryDirectory() as folder:
        await_answer(url, body, content_type, workload.holds)
        pid = _pid(process.pid, what)
        asking = threading.Thread(
            target=load.measure,
            args=(url, body, content_type, workload.concurrency, 2 * seconds + 6, CLIENT_CORE),
        )
        asking.start()
        time.sleep(1)
        stacks = _python_stacks(pid, seconds, Path(folder))
        symbols = _symbols(pid, seconds, Path(folder))
        asking.join()
    own, below, total = _counted(stacks)
    text = [
        f"{what}, {label}: {total} samples with the interpreter's lock held, {_PER_S} a second",
        "by the clock: a write that wakes the other process lasts until that gives the core back",
        "", "own time, what it calls not counted", *_lines(own, total),
        "", "time with what it calls", *_lines(below, total),
        "", "by library and symbol, CPU time alone (perf)", *symbols, "",
    ]  # fmt: skip
    result = HERE / "results" / f"profile-{what}-{workload.app}.txt"
    result.write_text("\n".join(text))
    return own, below, total


def _pid(front: int, what: str) -> int:
    if what == "front":
        return front
    children = psutil.Process(front).children(recursive=True)
    return next(c.pid for c in children if "dosirak.serving.worker" in c.cmdline())


def _python_stacks(pid: int, seconds: float, folder: Path) -> str:
    spy = shutil.which("py-spy", path=str(Path(sys.executable).parent))
    spy = spy or str(python_with("profile", ("py-spy",)).parent / "py-spy")
    found = folder / "stacks"
    subprocess.run(
        [spy, "record", "--pid", str(pid), "--duration", f"{seconds:.0f}", "--rate", str(_PER_S),
         "--gil", "--format", "raw", "--output", str(found)],
        check=True, capture_output=True,
    )  # fmt: skip
    return found.read_text()


def _counted(stacks: str) -> tuple[Counter[str], Counter[str], int]:
    own: Counter[str] = Counter()
    below: Counter[str] = Counter()
    for line in stacks.splitlines():
        stack, _, number = line.rpartition(" ")
        frames = [re.sub(r":\d+\)$", ")", frame) for frame in stack.split(";")]
        own[frames[-1]] += int(number)
        for frame in set(frames):
            below[frame] += int(number)
    return own, below, max(1, own.total())


def _symbols(pid: int, seconds: float, folder: Path) -> list[str]:
    if shutil.which("perf") is None:
        return ["perf is not installed"]
    data = folder / "perf.data"
    recorded = subprocess.run(
        ["perf", "record", "--quiet", "-F", "999", "-p", str(pid), "-o", str(data),
         "--", "sleep", f"{seconds:g}"],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    if recorded.returncode:
        return recorded.stderr.strip().splitlines()[-1:]
    reports: list[str] = []
    for keys in ("dso", "dso,symbol"):
        report = subprocess.run(
            ["perf", "report", "--stdio", "--quiet", "-i", str(data), "--sort", keys],
            check=False, capture_output=True, text=True,
        ).stdout  # fmt: skip
        lines = [line.rstrip() for line in report.splitlines() if line.strip()]
        reports += [*lines[:_SHOWN], ""]
    return reports


def _lines(counts: Counter[str], total: int) -> list[str]:
    return [f"{100 * count / total:6.2f} %  {name}" for name, count in counts.most_common(_SHOWN)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--what", choices=("front", "worker"), default="front")
    parser.add_argument("--workload", choices=WORKLOADS, default="echo c64")
    parser.add_argument("--seconds", type=float, default=6.0)
    options = parser.parse_args()
    own, _, total = profile(options.what, options.workload, options.seconds)
    print("\n".join(_lines(own, total)[:20]))


if __name__ == "__main__":
    main()
