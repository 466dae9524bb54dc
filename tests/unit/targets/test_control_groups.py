"""Which files of the kernel bound a replica, in both versions of control groups."""

from __future__ import annotations

from pathlib import Path

import pytest

from dosirak.targets.control_groups import make_bounds, remove_groups


def _system(root: Path, own: str, *folders: str) -> Path:
    (root / "proc" / "self").mkdir(parents=True)
    (root / "proc" / "self" / "cgroup").write_text(own)
    for folder in folders:
        (root / "sys" / "fs" / "cgroup" / folder).mkdir(parents=True)
    return root / "sys" / "fs" / "cgroup"


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[str, ...]]:
    """Make folders that get files of their own, as those of the kernel do."""
    files: dict[str, tuple[str, ...]] = {}
    make = Path.mkdir

    def mkdir(self: Path, *arguments: object, **named: object) -> None:
        make(self, *arguments, **named)  # type: ignore[arg-type]
        if self.name.startswith("dosirak-"):
            for name in files.get(self.parent.name, ()):
                (self / name).touch()

    monkeypatch.setattr(Path, "mkdir", mkdir)
    return files


def test_without_bounds_there_are_no_groups(tmp_path: Path) -> None:
    assert make_bounds("a", None, None, root=tmp_path).groups == ()


def test_where_there_are_no_groups_nothing_is_held(tmp_path: Path) -> None:
    bounds = make_bounds("a", 1 << 30, 2.0, root=tmp_path)
    assert (bounds.groups, bounds.memory, bounds.cpus) == ((), False, False)


def test_the_second_version_has_one_group_for_both(
    tmp_path: Path, kernel: dict[str, tuple[str, ...]]
) -> None:
    top = _system(tmp_path, "0::/mine\n", "mine")
    (top / "cgroup.controllers").write_text("cpu memory")
    (top / "mine" / "cgroup.controllers").write_text("cpu memory")
    (top / "mine" / "cgroup.subtree_control").write_text("cpu memory")
    kernel["mine"] = ("memory.max", "memory.swap.max", "cpu.max")

    bounds = make_bounds("a", 1 << 30, 0.5, root=tmp_path)

    group = top / "mine" / "dosirak-a"
    assert bounds.groups == (group,)
    assert (bounds.memory, bounds.cpus) == (True, True)
    assert (group / "memory.max").read_text() == str(1 << 30)
    assert (group / "memory.swap.max").read_text() == "0"
    assert (group / "cpu.max").read_text() == "50000 100000"


def test_the_first_version_has_one_for_each(
    tmp_path: Path, kernel: dict[str, tuple[str, ...]]
) -> None:
    top = _system(tmp_path, "4:memory:/deep/mine\n1:cpu:/\n", "memory/deep/mine", "cpu")
    kernel["mine"] = ("memory.limit_in_bytes",)
    kernel["cpu"] = ("cpu.cfs_period_us", "cpu.cfs_quota_us")

    bounds = make_bounds("a", 1 << 30, 1.5, root=tmp_path)

    memory, cpu = top / "memory" / "deep" / "mine" / "dosirak-a", top / "cpu" / "dosirak-a"
    assert bounds.groups == (memory, cpu)
    assert (memory / "memory.limit_in_bytes").read_text() == str(1 << 30)
    assert (cpu / "cpu.cfs_quota_us").read_text() == "150000"


def test_a_group_that_holds_nothing_is_not_left(
    tmp_path: Path, kernel: dict[str, tuple[str, ...]]
) -> None:
    top = _system(tmp_path, "4:memory:/mine\n", "memory/mine")

    assert not make_bounds("a", 1 << 30, None, root=tmp_path).memory
    assert list((top / "memory" / "mine").iterdir()) == []


def test_groups_that_are_gone_are_no_error(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    remove_groups([tmp_path / "there", tmp_path / "gone"])
    assert not (tmp_path / "there").exists()
