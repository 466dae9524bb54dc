"""What saving and loading a 2 GB model costs: `python bench/large_model.py`.

Each step runs in a process of its own through `dosirak.models`, for three kinds of model: a torch
state dict of many tensors (safetensors), a scikit-learn forest of many arrays and a scikit-learn
model of one array (both skops). Reported per step: bytes through read and write calls
(/proc/self/io), as moves per byte of the model; memory beyond the model itself; seconds. Loading
the tensors maps them from the file, so the kernel reads those pages once more, when they are used;
that move is counted. What is limited: moves and memory. Writes bench/results/large_model.json.
"""

from __future__ import annotations

import argparse
import gc
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
ARRAY_BYTES = 64 * MB


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


def tensors(size_bytes: int) -> Any:
    """Make a state dict of random numbers."""
    import torch

    generator = torch.Generator().manual_seed(1)
    count = max(1, size_bytes // ARRAY_BYTES)
    return {
        f"layer{number:04}": torch.rand(ARRAY_BYTES // 4, generator=generator)
        for number in range(count)
    }


def forest(size_bytes: int) -> Any:
    """Grow a forest; each tree keeps about one array's worth of answers at its nodes."""
    import numpy as np
    from sklearn.ensemble import ExtraTreesRegressor

    count, rows = max(1, size_bytes // ARRAY_BYTES), 16_000
    outputs = max(1, ARRAY_BYTES // (2 * rows) // 8)
    random = np.random.default_rng(1)
    model = ExtraTreesRegressor(n_estimators=count, max_features=1, random_state=1)
    return model.fit(random.random((rows, 1)), random.random((rows, outputs)))


def one_array(size_bytes: int) -> Any:
    """Make a model that keeps its training rows, as one array."""
    import numpy as np
    from sklearn.neighbors import KNeighborsRegressor

    rows = np.random.default_rng(1).random((max(1, size_bytes // 8 // 1024), 1024))
    return KNeighborsRegressor(algorithm="brute").fit(rows, np.zeros(len(rows)))


KINDS = {"tensors": tensors, "forest": forest, "one-array": one_array}


def measured(kind: str, step: str, size_bytes: int) -> dict[str, Any]:
    """Do one step in this process."""
    from dosirak import models

    models.save("small", KINDS[kind](1), version=str(os.getpid())).load()  # imports everything
    model = KINDS[kind](size_bytes) if step == "save" else None
    gc.collect()
    before, begin = counters(), time.perf_counter()
    with Peak() as peak:
        if step == "save":
            models.save(kind, model, version="1")
        else:
            model = models.get(f"{kind}:1").load()
        seconds = time.perf_counter() - begin
        if step == "load" and kind == "tensors":  # every page is needed once
            total = sum(float(tensor.sum()) for tensor in model.values())
            assert total > 0
    after = counters()
    saved_bytes = models.get(f"{kind}:1").size_bytes
    held = saved_bytes if step == "load" and not is_mapped(saved_bytes) else 0
    read, written = after["rchar"] - before["rchar"], after["wchar"] - before["wchar"]
    mapped = saved_bytes if step == "load" and held == 0 else 0
    return {
        "kind": kind,
        "step": step,
        "seconds": seconds,
        "model_bytes": saved_bytes,
        "read_bytes": read,
        "written_bytes": written,
        "mapped_bytes": mapped,
        "moves_per_byte": (read + written + mapped) / saved_bytes,
        "extra_memory_bytes": peak.anonymous - peak.before - held,
    }


def is_mapped(size_bytes: int) -> bool:
    """Whether the loaded tensors lie in pages of the file, not in memory of their own."""
    return memory()["RssFile"] > size_bytes // 2


def in_process(kind: str, step: str, size_bytes: int, home: Path) -> dict[str, Any]:
    """Run one step in a process of its own."""
    size = str(size_bytes // MB)
    command = [sys.executable, __file__, "--kind", kind, "--step", step, "--size-mb", size]
    environment = {**os.environ, "DOSIRAK_HOME": str(home)}
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout)


def over_limit(row: dict[str, Any]) -> bool:
    """Whether a step moved or held more than it may."""
    return row["moves_per_byte"] > 2.01 or row["extra_memory_bytes"] > 200 * MB


def main() -> None:
    """Measure, print, write; fail when a limit is passed."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--size-mb", type=int, default=2048)
    options.add_argument("--kind", choices=list(KINDS), action="append")
    options.add_argument("--step", choices=["save", "load"])
    options.add_argument("--directory", type=Path, default=None)
    options.add_argument("--output", type=Path, default=HERE / "results" / "large_model.json")
    chosen = options.parse_args()
    kinds, size_bytes = chosen.kind or list(KINDS), chosen.size_mb * MB
    if chosen.step:
        print(json.dumps(measured(kinds[0], chosen.step, size_bytes)))
        return
    rows: list[dict[str, Any]] = []
    for kind in kinds:
        with tempfile.TemporaryDirectory(dir=chosen.directory) as home:
            rows += [in_process(kind, step, size_bytes, Path(home)) for step in ("save", "load")]
    for row in rows:
        print(
            f"{row['kind']} {row['step']}: {row['seconds']:.1f} s,"
            f" {row['moves_per_byte']:.3f} moves per byte of {row['model_bytes'] / MB:,.0f} MB"
            f" ({row['read_bytes'] / MB:,.0f} MB read, {row['written_bytes'] / MB:,.0f} MB written,"
            f" {row['mapped_bytes'] / MB:,.0f} MB mapped),"
            f" {row['extra_memory_bytes'] / MB:,.0f} MB of extra memory"
        )
    chosen.output.parent.mkdir(parents=True, exist_ok=True)
    chosen.output.write_text(json.dumps({"size_bytes": size_bytes, "rows": rows}, indent=1) + "\n")
    if any(map(over_limit, rows)):
        raise SystemExit("A limit was passed: 2 moves per byte, 200 MB of extra memory.")


if __name__ == "__main__":
    main()
