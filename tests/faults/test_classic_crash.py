"""F-40 for the classic API: killed at any system call that writes, `save()` leaves old or new.

Run as a program, this file is the server of operations (see `operations`) that the sweep kills.
The thin sweep kills at every 25th point and runs with the other tests; the whole one is slow.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
if __name__ == "__main__":
    sys.path[:0] = [str(HERE), str(HERE.parent / "fakes" / "plugins")]

import operations  # noqa: E402 - found by the line above
from tracing import Server, writing_points  # noqa: E402

from dosirak.compat import bentoml_classic as bentoml  # noqa: E402
from dosirak.compat.bentoml_classic.adapters import JsonInput  # noqa: E402
from dosirak.compat.bentoml_classic.artifacts import (  # noqa: E402
    JSONArtifact,
    PickleArtifact,
)
from dosirak.compat.bentoml_classic.bundle.repository import Repository  # noqa: E402
from dosirak.compat.bentoml_classic.bundle.staging import STAGING  # noqa: E402
from dosirak.store import Store  # noqa: E402

WEIGHTS = [[0.5] * 40] * 500


@bentoml.env(pip_packages=["numpy"])
@bentoml.artifacts([PickleArtifact("weights", pickle_module="pickle"), JSONArtifact("labels")])
class Keeper(bentoml.BentoService):
    @bentoml.api(input=JsonInput())
    def predict(self, value: Any) -> Any:
        return [self.artifacts.labels[value], len(self.artifacts.weights)]


def packed() -> Keeper:
    service = Keeper()
    service.pack("weights", WEIGHTS)
    service.pack("labels", {"0": "no", "1": "yes"}, metadata={"accuracy": 0.9})
    return service


def _at_home(root: Path) -> Repository:
    os.environ["BENTOML_HOME"] = str(root)
    return Repository(root)


def _save(store: Store, request: dict[str, Any]) -> None:
    _at_home(Path(request["root"]))
    packed().save(version=request["version"])


def _save_to_directory(store: Store, request: dict[str, Any]) -> None:
    packed().save_to_dir(request["directory"], version="9")


def _delete(store: Store, request: dict[str, Any]) -> None:
    repository = _at_home(Path(request["root"]))
    repository.delete(repository.find(f"Keeper:{request['version']}"))


class ClassicServer(Server):
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


@pytest.fixture(scope="module")
def classic_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClassicServer]:
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    server = ClassicServer(tmp_path_factory.mktemp("classic-server"))
    yield server
    server.close()


@pytest.fixture
def template(tmp_path: Path, classic_server: ClassicServer) -> Path:
    """A home with one saved version."""
    home = tmp_path / "template"
    request = {"operation": "classic_save", "root": str(home), "version": "1"}
    assert classic_server.run(request).code == operations.DONE
    return home


def saved(home: Path) -> dict[str, dict[str, bytes]]:
    """Return every file of every version that can be found."""
    return {
        f"{found.name}:{found.version}": files_of(found.directory)
        for found in Repository(home).descriptions()
    }


def files_of(directory: Path) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


def paths_of(versions: dict[str, dict[str, bytes]]) -> dict[str, set[str]]:
    return {tag: set(files) for tag, files in versions.items()}


def check_whole(home: Path) -> None:
    """Whatever can be found loads and answers, and nothing that cannot be found is in the way."""
    found = Repository(home).descriptions()
    for description in found:
        service = bentoml.load(str(description.directory))
        assert service.artifacts.weights == WEIGHTS
        assert service.artifacts.labels == {"0": "no", "1": "yes"}
    beside = {path.name for path in home.glob("repository/*/*")} - {STAGING}
    assert beside == {description.version for description in found}


def sweep(
    server: ClassicServer,
    template: Path,
    fresh: Callable[[Path], Path],
    request: dict[str, Any],
    action: str,
    *,
    step: int,
) -> tuple[int, int]:
    """Interrupt at every `step`-th point; return how many there are and how many were hit."""
    home = fresh(template)
    before = paths_of(saved(home))
    clean = server.run({**request, "root": str(home)})
    assert clean.code == operations.DONE
    after = paths_of(saved(home))
    assert after != before
    points = list(writing_points(clean.trace))
    hit = points[::step]
    for point in hit:
        home = fresh(template)
        outcome = server.run(
            {**request, "root": str(home)}, inject=f"{point.syscall}:{action}:when={point.count}"
        )
        if action.startswith("signal"):
            assert outcome.was_killed, f"not killed at {point}"
        else:
            ends = (operations.DONE, operations.FULL, operations.FAILED)
            assert outcome.code in ends, f"{outcome.code} after {action} at {point}"
        found = paths_of(saved(home))
        assert found in (before, after), f"neither old nor new after {action} at {point}"
        assert outcome.code != operations.DONE or found == after, f"done, but not, at {point}"
        check_whole(home)
        if found == before:
            again = server.run({**request, "root": str(home)})
            assert (again.code, paths_of(saved(home))) == (operations.DONE, after), f"stuck {point}"
            assert not list(home.rglob(STAGING)), f"something is left over after {point}"
    return len(points), len(hit)


SAVE = {"operation": "classic_save", "version": "2"}
DELETE = {"operation": "classic_delete", "version": "1"}
STEPS = [25, pytest.param(1, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("first", [True, False], ids=["first", "second"])
def test_a_save_killed_while_writing_leaves_old_or_new(
    classic_server: ClassicServer,
    template: Path,
    fresh: Callable[[Path], Path],
    first: bool,
    step: int,
) -> None:
    home = template.parent / "nothing" if first else template
    points, hit = sweep(classic_server, home, fresh, SAVE, "signal=SIGKILL", step=step)
    print(f"save: killed at {hit} of {points} writing system calls")
    assert points > 40


@pytest.mark.parametrize("step", STEPS)
def test_a_delete_killed_while_writing_leaves_old_or_new(
    classic_server: ClassicServer, template: Path, fresh: Callable[[Path], Path], step: int
) -> None:
    points, _ = sweep(
        classic_server, template, fresh, DELETE, "signal=SIGKILL", step=max(1, step // 4)
    )
    assert points > 5


@pytest.mark.parametrize("step", STEPS)
def test_a_directory_killed_while_writing_is_whole_or_absent(
    classic_server: ClassicServer, tmp_path: Path, step: int
) -> None:
    target = tmp_path / "out" / "kept"
    request = {
        "operation": "classic_directory",
        "root": str(tmp_path / "store"),
        "directory": str(target),
    }
    clean = classic_server.run(request)
    assert clean.code == operations.DONE
    whole = set(files_of(target))
    for point in list(writing_points(clean.trace))[::step]:
        shutil.rmtree(target.parent, ignore_errors=True)
        outcome = classic_server.run(
            request, inject=f"{point.syscall}:signal=SIGKILL:when={point.count}"
        )
        assert outcome.was_killed
        assert not target.exists() or set(files_of(target)) == whole, f"half a save at {point}"


@pytest.mark.parametrize("step", [40, pytest.param(1, marks=[*STEPS[1].marks])])
@pytest.mark.parametrize("error", ["ENOSPC", "EIO"])
def test_a_failing_disk_is_said_and_harms_nothing(
    classic_server: ClassicServer,
    template: Path,
    fresh: Callable[[Path], Path],
    error: str,
    step: int,
) -> None:
    sweep(classic_server, template, fresh, SAVE, f"error={error}", step=step)


if __name__ == "__main__":
    operations.OPERATIONS["classic_save"] = _save
    operations.OPERATIONS["classic_directory"] = _save_to_directory
    operations.OPERATIONS["classic_delete"] = _delete
    sys.exit(operations.main())
