"""The machine as a server sees it: CPUs, how much of them, memory nodes, GPUs.

Read once, from the system's files and the environment; what is made of it is decided in
`worker_shares`. Where a system says nothing (no cgroup, no NUMA, no GPU) there is nothing to say.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

_GPU_FILE = re.compile(r"nvidia\d+")
_NODE = re.compile(r"node(\d+)")


@dataclass(frozen=True, slots=True)
class Machine:
    """What there is to hand out.

    Attributes:
        cpus: those that this process may run on.
        quota: how many of them it may keep busy at a time (a container's limit), if any.
        nodes: the CPUs near each memory, threads of one core side by side.
        gpus: the names by which CUDA knows those that are visible.
        variables: the environment that the server was started with.
        open_files: the soft limit of descriptors that the server was started with; None for the
            one that it has.
    """

    cpus: tuple[int, ...]
    quota: float | None = None
    nodes: tuple[tuple[int, ...], ...] = ()
    gpus: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict[str, str])
    open_files: int | None = None


def this_machine(root: Path = Path("/")) -> Machine:
    """Read the machine that this process runs on; `root` is where its files are."""
    cpus = _cpus()
    system = root / "sys" / "devices" / "system"
    return Machine(
        cpus=cpus,
        quota=_quota(root),
        nodes=tuple(
            node for node in (_near(system, path, cpus) for path in _node_paths(system)) if node
        ),
        gpus=visible_gpus(os.environ.get("CUDA_VISIBLE_DEVICES"), _gpu_count(root / "dev")),
        variables=dict(os.environ),
    )


def visible_gpus(variable: str | None, count: int) -> tuple[str, ...]:
    """Return what CUDA sees: what `CUDA_VISIBLE_DEVICES` says, else every one.

    CUDA reads names up to the first that is none, such as -1.
    """
    if variable is None:
        return tuple(str(index) for index in range(count))
    names: list[str] = []
    for name in (part.strip() for part in variable.split(",")):
        if not name or name.startswith("-"):
            break
        names.append(name)
    return tuple(names)


def cpu_list(text: str) -> tuple[int, ...]:
    """Read the kernel's way to write CPUs: `0-3,8`."""
    found: list[int] = []
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        if first:
            found.extend(range(int(first), int(last or first) + 1))
    return tuple(found)


def _cpus() -> tuple[int, ...]:
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def _node_paths(system: Path) -> Iterable[Path]:
    try:
        found = [path for path in (system / "node").iterdir() if _NODE.fullmatch(path.name)]
    except OSError:
        return []
    return sorted(found, key=lambda path: int(path.name.removeprefix("node")))


def _near(system: Path, node: Path, cpus: tuple[int, ...]) -> tuple[int, ...]:
    near = set(cpu_list(_text(node / "cpulist"))) & set(cpus)
    return tuple(sorted(near, key=lambda cpu: (_first_of_core(system, cpu), cpu)))


def _first_of_core(system: Path, cpu: int) -> int:
    path = system / "cpu" / f"cpu{cpu}" / "topology" / "thread_siblings_list"
    return min(cpu_list(_text(path)), default=cpu)


def _gpu_count(devices: Path) -> int:
    try:
        return sum(bool(_GPU_FILE.fullmatch(path.name)) for path in devices.iterdir())
    except OSError:
        return 0


def _quota(root: Path) -> float | None:
    """Return the smallest quota from this process's cgroup up (version 2, else version 1)."""
    group = root / "sys" / "fs" / "cgroup"
    found = [
        quota
        for line in _text(root / "proc" / "self" / "cgroup").splitlines()
        for quota in _quotas_up(group, *line.split(":", 2)[1:])
    ]
    return min(found, default=None)


def _quotas_up(group: Path, controllers: str, path: str) -> Iterable[float]:
    if controllers and "cpu" not in controllers.split(","):
        return
    # A container sees its own cgroup at the mount's root, whatever the path says.
    base = group / controllers if controllers else group
    here = base / path.lstrip("/")
    for place in {here, *here.parents} if here.is_relative_to(base) else {base}:
        if place.is_relative_to(base):
            quota = _quota_of(place)
            if quota is not None:
                yield quota


def _quota_of(place: Path) -> float | None:
    words = _text(place / "cpu.max").split() or [
        _text(place / "cpu.cfs_quota_us").strip(),
        _text(place / "cpu.cfs_period_us").strip(),
    ]
    if len(words) != 2 or not all(word.isdecimal() for word in words) or int(words[1]) == 0:
        return None  # "max", -1 or nothing: no limit.
    return int(words[0]) / int(words[1])


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
