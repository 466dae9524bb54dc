"""F-40 for bundles: killed at any system call that writes, a build leaves the old state or the new.

Run as a program, this file is the server of operations (see `operations`) that the sweep kills.
The thin sweep kills at every 25th point and runs with the other tests; the whole one is slow.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
if __name__ == "__main__":
    sys.path[:0] = [str(HERE), str(HERE.parent / "fakes" / "plugins")]

import operations  # noqa: E402 - found by the line above
from tracing import Server, writing_points  # noqa: E402

from dosirak import bundles, models  # noqa: E402
from dosirak.store import Store  # noqa: E402

SERVICE = """
import dosirak
from my_local import module


@dosirak.service
class Iris:
    model = dosirak.model("tally")

    @dosirak.api
    def double(self, x: int) -> int:
        return module.double(x)
"""


def _build(store: Store, request: dict[str, Any]) -> None:
    bundles.build(request["project"], version=request["version"], store=store)


def _checkout(store: Store, request: dict[str, Any]) -> None:
    bundles.get(request["reference"], store=store).checkout(request["directory"])


def _load(store: Store, request: dict[str, Any]) -> None:
    with bundles.load(request["reference"], store=store) as loaded:
        assert loaded.double(2) == 4


class BundleServer(Server):
    """A server of the operations of this file."""

    def __init__(self, scratch: Path) -> None:
        self._trace = scratch / "trace"
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
                "PYTHONDONTWRITEBYTECODE": "1",
            },
        )


@dataclass
class Places:
    """A store with two models and one bundle, and a project that was changed since."""

    template: Path
    project: Path
    before: dict[str, str]


def write(root: Path, path: str, text: str = "") -> None:
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)


@pytest.fixture
def places(tmp_path: Path) -> Places:
    from dosirak_tally import Tally

    store = Store(tmp_path / "template")
    models.save("tally", Tally([1, 2]), framework="tally", examples=[[1, 1]], store=store)
    project = tmp_path / "project"
    write(project, "service.py", SERVICE)
    write(project, "my_local/__init__.py")
    write(project, "my_local/module.py", "def double(x):\n    return 2 * x\n")
    write(project, ".env", "TOKEN=1")
    bundles.build(project, version="1", store=store)
    write(project, "more/data.txt", "x" * 70_000)
    return Places(store.root, project, references(store.root))


@pytest.fixture(scope="module")
def bundle_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BundleServer]:
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    server = BundleServer(tmp_path_factory.mktemp("bundle-server"))
    yield server
    server.close()


def references(root: Path) -> dict[str, str]:
    return {str(entry.reference): entry.digest for entry in Store(root).entries("bundles")}


def check_whole(root: Path) -> None:
    """Every bundle can be read to its last byte, and garbage collection leaves nothing over."""
    store = Store(root)
    for bundle in bundles.list(store=store):
        bundle.verify()
        assert bundle.manifest.target == "service:Iris"
    store.collect_garbage()
    assert not list(root.glob("tmp/*"))
    live = set[str]()
    for kind in ("models", "bundles"):
        for entry in store.entries(kind):
            for digest, manifest in store.closure(entry.digest).items():
                live |= {digest, *(file["sha256"] for file in manifest["files"])}
    kept = [path for kind in ("blobs", "manifests") for path in (root / kind).rglob("*")]
    assert {path.name for path in kept if path.is_file()} == live


def sweep_build(
    server: BundleServer, places: Places, fresh: Callable[[Path], Path], *, step: int
) -> tuple[int, int]:
    root = fresh(places.template)
    request = {"operation": "build", "project": str(places.project), "version": "2"}
    clean = server.run({**request, "root": str(root)})
    assert clean.code == operations.DONE
    after = references(root)
    assert set(after) == {"iris:1", "iris:2"}
    project = snapshot(places.project)
    points = list(writing_points(clean.trace))
    hit = points[::step]
    for point in hit:
        root = fresh(places.template)
        outcome = server.run(
            {**request, "root": str(root)},
            inject=f"{point.syscall}:signal=SIGKILL:when={point.count}",
        )
        assert outcome.was_killed, f"not killed at {point}"
        found = references(root)
        assert found in (places.before, after), f"neither old nor new at {point}"
        check_whole(root)
        assert snapshot(places.project) == project
        again = server.run({**request, "root": str(root)})
        assert (again.code, references(root)) == (operations.DONE, after), f"stuck after {point}"
    return len(points), len(hit)


def snapshot(directory: Path) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


def test_a_build_killed_at_some_writes_leaves_old_or_new(
    bundle_server: BundleServer, places: Places, fresh: Callable[[Path], Path]
) -> None:
    points, _ = sweep_build(bundle_server, places, fresh, step=25)
    assert points > 50


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_build_killed_at_every_write_leaves_old_or_new(
    bundle_server: BundleServer, places: Places, fresh: Callable[[Path], Path]
) -> None:
    points, hit = sweep_build(bundle_server, places, fresh, step=1)
    print(f"build: killed at {hit} of {points} writing system calls")
    assert points == hit


@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.slow)])
def test_a_checkout_killed_while_writing_is_whole_or_absent(
    bundle_server: BundleServer, places: Places, tmp_path: Path, step: int
) -> None:
    target = tmp_path / "out" / "checked"
    target.parent.mkdir()
    request = {
        "operation": "checkout_bundle",
        "root": str(places.template),
        "reference": "iris:1",
        "directory": str(target),
    }
    clean = bundle_server.run(request)
    assert clean.code == operations.DONE
    whole = snapshot(target)
    for point in list(writing_points(clean.trace))[::step]:
        shutil.rmtree(target.parent)
        target.parent.mkdir()
        outcome = bundle_server.run(
            request, inject=f"{point.syscall}:signal=SIGKILL:when={point.count}"
        )
        assert outcome.was_killed
        assert not target.exists() or snapshot(target) == whole, f"half a checkout at {point}"


def test_a_load_killed_anywhere_leaves_the_store_as_it_was(
    bundle_server: BundleServer, places: Places, fresh: Callable[[Path], Path]
) -> None:
    root = fresh(places.template)
    request = {"operation": "load_bundle", "reference": "iris:1"}
    clean = bundle_server.run({**request, "root": str(root)})
    assert clean.code == operations.DONE
    for point in list(writing_points(clean.trace))[::5]:
        root = fresh(places.template)
        bundle_server.run(
            {**request, "root": str(root)},
            inject=f"{point.syscall}:signal=SIGKILL:when={point.count}",
        )
        assert references(root) == places.before
        check_whole(root)


@pytest.mark.parametrize("error", ["ENOSPC", "EIO"])
def test_a_failing_disk_is_said_and_harms_nothing(
    bundle_server: BundleServer, places: Places, fresh: Callable[[Path], Path], error: str
) -> None:
    root = fresh(places.template)
    request = {"operation": "build", "project": str(places.project), "version": "2"}
    clean = bundle_server.run({**request, "root": str(root)})
    after = references(root)
    for point in list(writing_points(clean.trace))[::40]:
        root = fresh(places.template)
        outcome = bundle_server.run(
            {**request, "root": str(root)},
            inject=f"{point.syscall}:error={error}:when={point.count}",
        )
        assert outcome.code in (operations.DONE, operations.FULL, operations.FAILED), point
        assert references(root) == (after if outcome.code == operations.DONE else places.before)
        check_whole(root)


if __name__ == "__main__":
    operations.OPERATIONS["build"] = _build
    operations.OPERATIONS["checkout_bundle"] = _checkout
    operations.OPERATIONS["load_bundle"] = _load
    sys.exit(operations.main())
