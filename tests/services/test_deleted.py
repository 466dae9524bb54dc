"""A server goes on serving what it began with: newer versions, deletion and gc do not reach it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

from dosirak import bundles, models
from dosirak.models.framework import framework, framework_names
from dosirak.store import Store

SERVICE = """
import dosirak

@dosirak.service
class Constant:
    model = dosirak.model("constant:latest")

    @dosirak.api
    def value(self) -> float:
        return self.model.predict([[1.0]])[0]
"""
Save: TypeAlias = Callable[[float], models.Model]
PLUGINS = Path(__file__).parents[1] / "fakes" / "plugins"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    directory = tmp_path / "project"
    directory.mkdir()
    (directory / "service.py").write_text(SERVICE)
    return directory


@pytest.fixture
def save(
    monkeypatch: pytest.MonkeyPatch, store: Store
) -> Iterator[Callable[[float], models.Model]]:
    """Save a model that answers with a number, in a framework that takes no time to import."""
    with monkeypatch.context() as patch:
        patch.syspath_prepend(str(PLUGINS))
        forget_frameworks()
        from dosirak_tally import Tally

        yield lambda value: models.save("constant", Tally([value]), framework="tally", store=store)
    forget_frameworks()


def forget_frameworks() -> None:
    framework.cache_clear()
    framework_names.cache_clear()


@pytest.fixture
def serve(launch):
    path = os.pathsep.join([str(PLUGINS), *filter(None, [os.environ.get("PYTHONPATH")])])

    def start(served: object, **options: object):
        return launch("it", served=str(served), environment={"PYTHONPATH": path}, **options)

    return start


def delete_all(store: Store) -> None:
    for kind in ("bundles", "models"):
        for entry in store.entries(kind):
            store.delete(kind, entry.reference)
    store.collect_garbage()


def replace_worker(server, until) -> None:
    before = {worker.pid for worker in server.workers}
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    until(lambda: len({worker.pid for worker in server.workers} - before) == len(before))


def value(server) -> float:
    answer = server.call("value")
    assert answer.status_code == 200, answer.text
    return answer.json()


def blobs(store: Store) -> int:
    return sum(path.is_file() for path in (store.root / "blobs").rglob("*"))


@pytest.mark.parametrize("what", ["source", "bundle"])
def test_a_worker_is_replaced_after_what_it_serves_was_deleted(
    serve, until, save, project: Path, store: Store, what: str
) -> None:
    save(4.0)
    if what == "bundle":
        bundles.build(project, name="constant", store=store)
    server = serve("constant" if what == "bundle" else project / "service.py")
    assert value(server) == 4.0
    delete_all(store)
    replace_worker(server, until)
    assert value(server) == 4.0
    server.process.kill()
    server.process.wait(10)
    assert blobs(store) > 0
    until(lambda: store.collect_garbage().blobs > 0 or blobs(store) == 0)
    assert blobs(store) == 0


def test_a_worker_of_a_bare_model_is_replaced_after_the_model_was_deleted(
    serve, until, save, store: Store
) -> None:
    save(4.0)
    server = serve("constant")
    delete_all(store)
    replace_worker(server, until)
    answer = server.call("predict", rows=[[1.0]])
    assert answer.json() == [4.0]


def test_every_worker_of_a_source_service_serves_the_same_version(
    serve, until, save, project: Path
) -> None:
    save(4.0)
    server = serve(project / "service.py", workers=2)
    save(5.0)
    replace_worker(server, until)
    assert {value(server) for _ in range(10)} == {4.0}
    assert value(serve(project / "service.py")) == 5.0
