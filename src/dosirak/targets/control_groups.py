"""Bounds on a replica's memory and CPU, by a control group of its own where the system allows one.

Groups are made below the one that this process is in, in both versions of them. What the kernel
does not let us hold is said, so that the replica can be bounded by other means or at least told of.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

_PERIOD_US = 100_000


@dataclass(frozen=True, slots=True)
class Bounds:
    """What holds a replica.

    Attributes:
        groups: folders of its control groups.
        memory: whether they hold its memory.
        cpus: whether they hold its CPUs.
    """

    groups: tuple[Path, ...] = ()
    memory: bool = False
    cpus: bool = False


def make_bounds(
    replica: str, memory_bytes: int | None, cpus: float | None, *, root: Path = Path("/")
) -> Bounds:
    """Make the groups of a replica, as far as the system lets us.

    Args:
        replica: its id.
        memory_bytes: most memory; None for no bound.
        cpus: most CPUs; None for no bound.
        root: where the system's files are.
    """
    if memory_bytes is None and cpus is None:
        return Bounds()
    name = f"dosirak-{replica}"
    memory = _made(_memory_files(memory_bytes), "memory", name, root) if memory_bytes else None
    cpu = _made(_cpu_files(cpus), "cpu", name, root) if cpus else None
    groups = tuple(dict.fromkeys(group for group in (memory, cpu) if group is not None))
    return Bounds(groups, memory is not None, cpu is not None)


def remove_groups(groups: Iterable[Path]) -> None:
    """Remove the groups of a replica that has ended."""
    for group in groups:
        with contextlib.suppress(OSError):
            group.rmdir()


def _memory_files(memory_bytes: int) -> dict[str, str]:
    return {
        "memory.max": str(memory_bytes),
        # Swapping would be another way to have more.
        "memory.swap.max": "0",
        "memory.oom.group": "0",
        "memory.limit_in_bytes": str(memory_bytes),
        "memory.memsw.limit_in_bytes": str(memory_bytes),
    }


def _cpu_files(cpus: float) -> dict[str, str]:
    quota_us = max(1000, math.ceil(cpus * _PERIOD_US))
    return {
        "cpu.max": f"{quota_us} {_PERIOD_US}",
        "cpu.cfs_period_us": str(_PERIOD_US),
        "cpu.cfs_quota_us": str(quota_us),
    }


# One of these decides.
_DECIDING = ("memory.max", "memory.limit_in_bytes", "cpu.max", "cpu.cfs_quota_us")


def _made(files: dict[str, str], controller: str, name: str, root: Path) -> Path | None:
    """Make a group where one can be; None where none can."""
    for parent in _parents(controller, root):
        group = parent / name
        is_new = not group.exists()
        try:
            if (parent / "cgroup.controllers").exists():
                _enable(parent, controller)
            group.mkdir(exist_ok=True)
            written = [_written(group / file, value) for file, value in files.items()]
            if any(written):
                return group
        except OSError:
            pass
        if is_new:
            remove_groups([group])
    return None


def _written(path: Path, value: str) -> bool:
    """Write a bound; whether it is one that decides, and holds."""
    if not path.exists():
        return False
    try:
        path.write_text(value)
    except OSError:
        return False
    return path.name in _DECIDING


def _enable(parent: Path, controller: str) -> None:
    control = parent / "cgroup.subtree_control"
    if controller not in control.read_text().split():
        control.write_text(f"+{controller}")


def _parents(controller: str, root: Path) -> Iterator[Path]:
    """Return groups that this process is in, by what the controller has of them."""
    mounted = root / "sys" / "fs" / "cgroup"
    try:
        lines = (root / "proc" / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers and (mounted / "cgroup.controllers").exists():
            yield from _within(mounted, path)
        elif controller in controllers.split(","):
            yield from _within(mounted / controllers, path)


def _within(mounted: Path, path: str) -> Iterator[Path]:
    # A container sees its own group at the mount's root, whatever the path says.
    here = mounted / path.lstrip("/")
    if here.is_dir():
        yield here
    elif mounted.is_dir():
        yield mounted
