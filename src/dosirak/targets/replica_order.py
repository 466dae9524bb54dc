"""From an order to what a supervisor is told: the command, its variables, its bounds."""

from __future__ import annotations

import hashlib
import math
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dosirak.deployment.configuration import Resources
from dosirak.deployment.target import ReplicaOrder
from dosirak.targets.control_groups import make_bounds
from dosirak.targets.environments import Chosen, leads_astray
from dosirak.targets.processes import MARKER
from dosirak.targets.replica_folder import ReplicaFolder
from dosirak.targets.service_options import serve_arguments

_LOG_BYTES = 16 << 20
_LOG_PARTS = 4


def told(
    order: ReplicaOrder, folder: ReplicaFolder, log: Path, chosen: Chosen | None, home: Path
) -> dict[str, Any]:
    """Return what the supervisor is told; all but `environment` may be written down.

    Args:
        order: what to run.
        folder: where.
        log: where its output goes.
        chosen: the Python to serve with; None when it is to be made first.
        home: DOSIRAK_HOME.
    """
    bounded = _bounded(folder, order.configuration.resources)
    return {
        "version": 1,
        "replica": order.replica,
        "deployment": order.deployment,
        "revision": order.revision,
        "bundle_id": order.bundle_id,
        "socket": str(folder.socket),
        "log": str(log),
        "log_bytes": _LOG_BYTES,
        "log_parts": _LOG_PARTS,
        "directory": str(folder.work),
        "drain_timeout_s": order.configuration.drain_timeout_s,
        "prepare": [] if chosen else _preparing(order, folder),
        "chosen": chosen and {"python": str(chosen.python), "isolated": chosen.isolated},
        "leads_astray": leads_astray(),
        "command": _command(order, folder, bounded),
        "groups": [str(group) for group in bounded.groups],
        "notes": list(bounded.notes),
        "environment": _environment(order, folder, home),
    }


def _environment(order: ReplicaOrder, folder: ReplicaFolder, home: Path) -> dict[str, str]:
    # What configures this process is no affair of a replica: its token, for one.
    own = {name: value for name, value in os.environ.items() if not name.startswith("DOSIRAK_")}
    return {
        **own,
        **order.environment,
        "DOSIRAK_HOME": str(home),
        MARKER: str(folder.path),
    }


def _preparing(order: ReplicaOrder, folder: ReplicaFolder) -> list[str]:
    answer = str(folder.path / "environment.json")
    return [sys.executable, "-P", "-m", "dosirak.targets.environments", order.bundle_id, answer]


def _command(order: ReplicaOrder, folder: ReplicaFolder, bounded: _Bounded) -> list[str]:
    configuration = order.configuration
    access = [f"--access-file={order.access_file}"] if order.access_file else []
    workers = configuration.resources.workers
    return [
        "-P",
        "-m",
        "dosirak",
        "serve",
        f"sha256:{order.bundle_id.removeprefix('sha256:')}",
        f"--unix-socket={folder.socket}",
        "--access-log=json",
        f"--drain-timeout-s={configuration.drain_timeout_s}",
        *access,
        *([f"--workers={workers}"] if workers is not None else []),
        *serve_arguments({**bounded.options, **configuration.service_options}),
    ]


@dataclass(frozen=True, slots=True)
class _Bounded:
    """How a replica is kept within its resources.

    Attributes:
        groups: its control groups.
        options: what `serve` is told instead of what no group holds.
        notes: what is said of that in the log.
    """

    groups: tuple[Path, ...]
    options: dict[str, str | int | float | bool]
    notes: tuple[str, ...]


def _bounded(folder: ReplicaFolder, resources: Resources) -> _Bounded:
    # Ids are unique within one home only.
    place = hashlib.sha256(os.fsencode(folder.path)).hexdigest()[:12]
    name = f"{folder.path.name}-{place}"
    bounds = make_bounds(name, resources.memory_bytes, resources.cpus)
    workers = resources.workers or 1
    options: dict[str, str | int | float | bool] = {}
    notes: list[str] = []
    if resources.memory_bytes is not None and not bounds.memory:
        hard_bytes = resources.memory_bytes // workers
        options["worker_memory_limit"] = max(1, hard_bytes * 4 // 5)
        options["worker_memory_hard_limit"] = hard_bytes
        notes.append(
            f"No control group can be made here, so memory is bounded for each worker:"
            f" {hard_bytes} bytes."
        )
    if resources.cpus is not None and not bounds.cpus:
        options["worker_threads"] = max(1, math.ceil(resources.cpus / workers))
        notes.append(
            "No control group can be made here, so CPUs are bounded by the threads of workers:"
            f" {options['worker_threads']} each."
        )
    return _Bounded(bounds.groups, options, tuple(notes))
