"""F-40: killed at any system call that writes, every operation leaves the old state or the new one.

The thin sweep kills at every fifth point and runs with the other tests; the whole one is slow.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from operations import BROKEN, DONE, FAILED, FULL, save
from tracing import Server, writing_points

from dosirak.store import Store
from dosirak.store.archive import export_archive

FILES = {"model/weights.bin": "w" * 300_000, "model/notes/about.txt": "", "examples/0.json": "[1]"}
OTHER = {"model/weights.bin": "other", "model/twin.bin": "other"}


@dataclass
class Case:
    """An operation on a copy of a template; `changes` is what it does to the references."""

    name: str
    request: dict[str, Any]
    template: Path
    outside: Path | None = None
    repeatable: bool = True
    extra: dict[str, Any] = field(default_factory=dict)


def _template(root: Path) -> Path:
    store = Store(root)
    save(store, "iris", "1", FILES)
    save(store, "iris", "2", OTHER)
    save(store, "digits", "1", FILES)
    save(store, "gone", "1", {"model/only-here.bin": "x" * 5000})
    store.delete("models", "gone:1")
    return root


@pytest.fixture
def cases(tmp_path: Path) -> dict[str, Case]:
    template = _template(tmp_path / "template")
    store = Store(template)
    archive = tmp_path / "iris.tar"
    export_archive(store, store.resolve("models", "iris:2"), archive)
    empty = tmp_path / "nothing-here"
    exported, copied = tmp_path / "out.tar", tmp_path / "copied"
    new = {"name": "iris", "files": {"model/weights.bin": "new", "model/same.bin": "other"}}
    reference = {"reference": "iris:1"}
    found = [
        Case("first_save", {"operation": "save", "version": "v", **new}, empty),
        Case("save", {"operation": "save", "version": "v", **new}, template),
        Case("save_model", {"operation": "save_model", "name": "t", "version": "v"}, template),
        Case("import", {"operation": "import", "archive": str(archive)}, empty),
        Case("delete", {"operation": "delete", "reference": "iris:2"}, template, repeatable=False),
        Case("collect", {"operation": "collect"}, template),
        Case("load", {"operation": "load", **reference}, template),
        Case("export", {"operation": "export", "archive": str(exported), **reference}, template,
             outside=exported, repeatable=False),
        Case("checkout", {"operation": "checkout", "directory": str(copied), **reference}, template,
             outside=copied, repeatable=False),
    ]  # fmt: skip
    return {case.name: case for case in found}


NAMES = ("first_save", "save", "save_model", "import", "delete", "collect", "load", "export",
         "checkout")  # fmt: skip


def references(root: Path) -> dict[str, str]:
    """Return every reference and what it means."""
    return {str(entry.reference): entry.digest for entry in Store(root).entries("models")}


def check_whole(root: Path) -> None:
    """Everything that can be found can be read, and latest is the newest."""
    store = Store(root)
    for entry in store.entries("models"):
        store.verify(entry.digest)
    for name in store.names("models"):
        assert store.resolve("models", name) == store.entries("models", name)[0]


def check_collected(root: Path) -> None:
    """After a collection only what is referenced is left, and all of it can be read."""
    store = Store(root)
    store.collect_garbage()
    for folder in ("tmp", "leases", "quarantine"):
        assert not list(root.glob(f"{folder}/*"))
    live = set[str]()
    for entry in store.entries("models"):
        manifest = store.verify(entry.digest)
        live |= {entry.digest, *(file["sha256"] for file in manifest["files"])}
    kept = [path for kind in ("blobs", "manifests") for path in (root / kind).rglob("*")]
    assert {path.name for path in kept if path.is_file()} == live


def sweep(
    server: Server, case: Case, fresh: Callable[[Path], Path], action: str, *, step: int
) -> tuple[int, int]:
    """Interrupt an operation at every `step`-th point; return how many there are and were hit."""
    root = fresh(case.template)
    before = references(root)
    clean = server.run({**case.request, "root": str(root)})
    assert clean.code == DONE
    after = references(root)
    remove_outside(case)
    points = list(writing_points(clean.trace))
    lasting = "+" in case.extra
    if lasting:  # a lasting error at open would also strike every import and every read
        points = [point for point in points if not point.syscall.startswith("open")]
    hit = points[::step]
    for point in hit:
        root = fresh(case.template)
        outcome = server.run(
            {**case.request, "root": str(root)},
            inject=f"{point.syscall}:{action}:when={point.count}{'+' * lasting}",
        )
        found = references(root)
        assert found in (before, after), f"neither old nor new after {action} at {point}"
        check_outcome(outcome.code, found, before, after, action, f"{case.name} {point}")
        check_outside(case)
        check_whole(root)
        check_collected(root)
        assert references(root) == found
        if found == before and case.repeatable:
            again = server.run({**case.request, "root": str(root)})
            assert (again.code, references(root)) == (DONE, after), f"not repeatable at {point}"
        remove_outside(case)
    return len(points), len(hit)


def check_outcome(
    code: int | None,
    found: dict[str, str],
    before: dict[str, str],
    after: dict[str, str],
    action: str,
    where: str,
) -> None:
    if action.startswith("signal"):
        assert code is None, f"not killed at {where}"
        return
    assert code != BROKEN, f"an error that is not the project's own after {action} at {where}"
    full = action in ("error=ENOSPC", "error=EDQUOT")
    assert code in (DONE, FULL if full else FAILED), f"{code} after {action} at {where}"
    if code == DONE:
        assert found == after, f"done, but not, after {action} at {where}"


def check_outside(case: Case) -> None:
    """An archive or checkout is complete or not there."""
    if case.outside is None or not case.outside.exists():
        return
    if case.outside.is_dir():
        found = {p.relative_to(case.outside).as_posix(): p.read_text()
                 for p in case.outside.rglob("*") if p.is_file()}  # fmt: skip
        assert found == FILES
    else:
        assert case.outside.stat().st_size > sum(map(len, FILES.values()))
        assert case.outside.read_bytes().endswith(bytes(1024))


def remove_outside(case: Case) -> None:
    """Remove what an operation made outside the store, finished or not."""
    if case.outside is None:
        return
    import shutil

    for path in case.outside.parent.glob(f"*{case.outside.name}*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.mark.parametrize("name", NAMES)
def test_killed_at_every_fifth_write_leaves_old_or_new(
    name: str, cases: dict[str, Case], server: Server, fresh: Callable[[Path], Path]
) -> None:
    points, _ = sweep(server, cases[name], fresh, "signal=SIGKILL", step=5)
    assert points >= 5


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", NAMES)
def test_killed_at_every_write_leaves_old_or_new(
    name: str, cases: dict[str, Case], server: Server, fresh: Callable[[Path], Path]
) -> None:
    points, hit = sweep(server, cases[name], fresh, "signal=SIGKILL", step=1)
    print(f"{name}: killed at {hit} of {points} writing system calls")
    assert points == hit


@pytest.mark.parametrize("name", ["save", "import", "delete"])
def test_a_full_disk_at_some_writes_is_said_and_harms_nothing(
    name: str, cases: dict[str, Case], server: Server, fresh: Callable[[Path], Path]
) -> None:
    sweep(server, cases[name], fresh, "error=ENOSPC", step=6)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("lasting", [False, True], ids=["once", "lasting"])
@pytest.mark.parametrize("error", ["ENOSPC", "EIO", "EDQUOT", "EROFS"])
@pytest.mark.parametrize("name", NAMES)
def test_a_failing_disk_at_every_write_is_said_and_harms_nothing(
    name: str,
    error: str,
    lasting: bool,
    cases: dict[str, Case],
    server: Server,
    fresh: Callable[[Path], Path],
) -> None:
    case = cases[name]
    case.extra = {"+": True} if lasting else {}
    points, hit = sweep(server, case, fresh, f"error={error}", step=1)
    print(f"{name}: {error} at {hit} of {points} writing system calls")
