"""Reading a machine from its files: nodes, quotas, GPUs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dosirak.serving.machine import cpu_list, this_machine, visible_gpus

ALLOWED = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    ("text", "cpus"),
    [("", ()), ("3\n", (3,)), ("0-2,7,9-10\n", (0, 1, 2, 7, 9, 10))],
)
def test_the_kernels_lists_of_cpus_are_read(text: str, cpus: tuple[int, ...]) -> None:
    assert cpu_list(text) == cpus


@pytest.mark.parametrize(
    ("variable", "count", "names"),
    [
        (None, 0, ()),
        (None, 2, ("0", "1")),
        ("", 2, ()),
        ("3, 1", 4, ("3", "1")),
        ("GPU-aa,MIG-bb", 1, ("GPU-aa", "MIG-bb")),
        ("0,-1,1", 2, ("0",)),
        ("-1", 2, ()),
    ],
)
def test_an_outer_cuda_visible_devices_is_what_there_is(
    variable: str | None, count: int, names: tuple[str, ...]
) -> None:
    assert visible_gpus(variable, count) == names


def test_a_system_that_says_nothing_has_cpus_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    machine = this_machine(tmp_path)
    assert machine.cpus == tuple(ALLOWED)
    assert (machine.quota, machine.nodes, machine.gpus) == (None, (), ())


def test_gpus_are_counted_by_their_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "null"):
        _write(tmp_path / "dev" / name, "")
    assert this_machine(tmp_path).gpus == ("0", "1")


def test_nodes_hold_the_allowed_cpus_threads_of_a_core_together(tmp_path: Path) -> None:
    system = tmp_path / "sys" / "devices" / "system"
    first = ALLOWED[0]
    _write(system / "node" / "node10" / "cpulist", "100000-100003\n")
    _write(system / "node" / "node2" / "cpulist", f"{first},100004\n")
    _write(system / "node" / "has_cpu", "2\n")
    _write(system / "cpu" / f"cpu{first}" / "topology" / "thread_siblings_list", f"{first}\n")
    assert this_machine(tmp_path).nodes == ((first,),)


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"a/cpu.max": "400000 100000\n", "a/b/cpu.max": "max 100000\n"}, 4.0),
        ({"a/cpu.max": "100000 100000\n", "a/b/cpu.max": "400000 100000\n"}, 1.0),
        ({"a/b/cpu.max": "nonsense\n"}, None),
    ],
)
def test_the_smallest_quota_above_a_process_holds(
    tmp_path: Path, files: dict[str, str], quota: float | None
) -> None:
    _write(tmp_path / "proc" / "self" / "cgroup", "0::/a/b\n")
    for name, text in files.items():
        _write(tmp_path / "sys" / "fs" / "cgroup" / name, text)
    assert this_machine(tmp_path).quota == quota


def test_the_first_version_of_cgroups_has_quotas_too(tmp_path: Path) -> None:
    _write(tmp_path / "proc" / "self" / "cgroup", "5:memory:/x\n4:cpu,cpuacct:/x\n0::/\n")
    group = tmp_path / "sys" / "fs" / "cgroup" / "cpu,cpuacct" / "x"
    _write(group / "cpu.cfs_quota_us", "250000\n")
    _write(group / "cpu.cfs_period_us", "100000\n")
    assert this_machine(tmp_path).quota == 2.5


def test_a_quota_of_minus_one_is_none(tmp_path: Path) -> None:
    _write(tmp_path / "proc" / "self" / "cgroup", "4:cpu:/\n")
    _write(tmp_path / "sys" / "fs" / "cgroup" / "cpu" / "cpu.cfs_quota_us", "-1\n")
    _write(tmp_path / "sys" / "fs" / "cgroup" / "cpu" / "cpu.cfs_period_us", "100000\n")
    assert this_machine(tmp_path).quota is None
