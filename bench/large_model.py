"""What saving and loading a 2 GB model costs: `python bench/large_model.py`.

Each step runs in a process of its own through `dosirak.models`, with a torch state dict kept as
safetensors. Reported per step: bytes through read and write calls (/proc/self/io), as moves per
byte of the model; memory beyond the model itself; seconds. "Load" returns tensors that are mapped
from the file, so the kernel reads those pages once more, when they are used; that move is counted.
Writes bench/results/large_model.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
MB = 1 << 20
TENSOR_BYTES = 64 * MB


def counters() -> dict[str, int]:
    """Return this process's own byte counts."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return {name: int(value) for name, value in (line.split(": ") for line in lines)}


def memory() -> dict[str, int]:
    """Return this process's resident bytes: private ones, and pages shared with files."""
    lines = Path("/proc/self/status").read_text().splitlines()
    found = dict(line.split(":", 1) for line in lines if line.startswith(("RssAnon", "RssFile")))
    return {name: int(value.split()[0]) * 1024 for name, value in found.items()}


class Peak:
    """Watches the private memory of this process from a thread."""

    def __init__(self) -> None:
        self.anonymous = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Peak:
        self.before = memory()["RssAnon"]
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.002):
            self.anonymous = max(self.anonymous, memory()["RssAnon"])


def tensors(size_bytes: int) -> dict[str, Any]:
    """Make a state dict of random numbers."""
    import torch

    generator = torch.Generator().manual_seed(1)
    count = size_bytes // TENSOR_BYTES
    return {
        f"layer{number:04}": torch.rand(TENSOR_BYTES // 4, generator=generator)
        for number in range(count)
    }


def measured(step: str, size_bytes: int) -> dict[str, Any]:
    """Do one step in this process."""
    import torch

    from dosirak import models

    model = tensors(size_bytes) if step == "save" else None
    warm_up(models, torch)
    before, begin = counters(), time.perf_counter()
    with Peak() as peak:
        if step == "save":
            models.save("large", model, version="1")
        else:
            model = models.get("large:1").load()
        seconds = time.perf_counter() - begin
        if step == "load":  # every page is needed once
            total = sum(float(tensor.sum()) for tensor in model.values())
            assert total > 0
    after = counters()
    held = size_bytes if step == "load" and not is_mapped(size_bytes) else 0
    read, written = after["rchar"] - before["rchar"], after["wchar"] - before["wchar"]
    mapped = size_bytes if step == "load" and held == 0 else 0
    return {
        "step": step,
        "seconds": seconds,
        "read_bytes": read,
        "written_bytes": written,
        "mapped_bytes": mapped,
        "moves_per_byte": (read + written + mapped) / size_bytes,
        "extra_memory_bytes": peak.anonymous - peak.before - held,
    }


def is_mapped(size_bytes: int) -> bool:
    """Whether the loaded tensors lie in pages of the file, not in memory of their own."""
    return memory()["RssFile"] > size_bytes // 2


def warm_up(models: Any, torch: Any) -> None:
    """Import everything that the step needs, so that only the model itself is measured."""
    small = models.save("small", {"a": torch.zeros(4)}, version=str(os.getpid()))
    small.load()


def in_process(step: str, size_bytes: int, home: Path) -> dict[str, Any]:
    """Run one step in a process of its own."""
    command = [sys.executable, __file__, "--step", step, "--size-mb", str(size_bytes // MB)]
    environment = {**os.environ, "DOSIRAK_HOME": str(home)}
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout)


def main() -> None:
    """Measure, print, write; fail when a limit is passed."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--size-mb", type=int, default=2048)
    options.add_argument("--step", choices=["save", "load"])
    options.add_argument("--directory", type=Path, default=None)
    options.add_argument("--output", type=Path, default=HERE / "results" / "large_model.json")
    chosen = options.parse_args()
    size_bytes = chosen.size_mb * MB
    if chosen.step:
        print(json.dumps(measured(chosen.step, size_bytes)))
        return
    with tempfile.TemporaryDirectory(dir=chosen.directory) as home:
        rows = [in_process(step, size_bytes, Path(home)) for step in ("save", "load")]
    for row in rows:
        print(
            f"{row['step']}: {row['seconds']:.1f} s, {row['moves_per_byte']:.3f} moves per byte"
            f" ({row['read_bytes'] / MB:,.0f} MB read, {row['written_bytes'] / MB:,.0f} MB written,"
            f" {row['mapped_bytes'] / MB:,.0f} MB mapped),"
            f" {row['extra_memory_bytes'] / MB:,.0f} MB of extra memory"
        )
    chosen.output.parent.mkdir(parents=True, exist_ok=True)
    chosen.output.write_text(json.dumps({"size_bytes": size_bytes, "rows": rows}, indent=1) + "\n")
    if any(row["moves_per_byte"] > 2.01 or row["extra_memory_bytes"] > 200 * MB for row in rows):
        raise SystemExit("A limit was passed: 2 moves per byte, 200 MB of extra memory.")


if __name__ == "__main__":
    main()
