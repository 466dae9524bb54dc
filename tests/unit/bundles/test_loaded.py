"""Bundles in this process: called in Python, apart from each other, verified before they run."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from dosirak import bundles, models
from dosirak.bundles import EnvironmentWarning
from dosirak.errors import (
    ApiNotFound,
    BundleNotFound,
    CorruptContent,
    InvalidService,
    ModelNotFound,
    UntrustedContent,
    UsageError,
)
from dosirak.store import Store

from .conftest import make_project, write

EVERYTHING = """
import dosirak
from dosirak import Context


@dosirak.service
class Everything:
    def __init__(self):
        self.seen = ["init"]

    @dosirak.on_start
    async def begin(self):
        self.seen.append("start")

    @dosirak.on_ready
    def ready(self, context: Context):
        self.seen.append("ready")
        context.state["n"] = 10

    @dosirak.on_stop
    async def end(self):
        self.seen.append("stop")

    @dosirak.api
    def add(self, x: int, y: int = 1) -> int:
        return x + y

    @dosirak.api
    async def wait(self, x: int) -> int:
        return x * 2

    @dosirak.api
    def count(self, n: int) -> "Iterator[int]":
        yield from range(n)

    @dosirak.api
    async def count_async(self, n: int) -> "AsyncIterator[int]":
        for i in range(n):
            yield i

    @dosirak.api
    def who(self, name: str, context: Context) -> str:
        context.state["n"] = context.state.get("n", 0) + 1
        return f"{name} {context.state['n']}"

    @dosirak.api
    def close(self, x: int) -> int:
        return -x
"""


@pytest.fixture
def everything(tmp_path: Path, store: Store) -> bundles.Bundle:
    header = "from collections.abc import AsyncIterator, Iterator\n"
    write(tmp_path, "everything/service.py", header + EVERYTHING)
    return bundles.build(tmp_path / "everything", store=store)


def test_apis_are_methods_whatever_their_kind(everything: bundles.Bundle, store: Store) -> None:
    with bundles.load("everything", store=store) as loaded:
        instance = loaded.instance
        assert instance.seen == ["init", "start", "ready"]
        assert loaded.add(1) == 2
        assert loaded.add(x=1, y=5) == 6
        assert loaded.wait(4) == 8
        assert list(loaded.count(3)) == [0, 1, 2]
        assert list(loaded.count_async(n=3)) == [0, 1, 2]
        assert next(loaded.count_async(n=3)) == 0
        assert [loaded.who("a"), loaded.who("b")] == ["a 11", "b 12"]
        assert loaded.api("close")(3) == -3
        assert {"add", "wait", "who"} <= set(dir(loaded))
    assert instance.seen[-1] == "stop"
    loaded.close()
    assert instance.seen.count("stop") == 1


def test_an_unknown_api_is_named(everything: bundles.Bundle, store: Store) -> None:
    with bundles.load("everything", store=store) as loaded:
        with pytest.raises(ApiNotFound, match="no api 'predict'"):
            loaded.api("predict")
        with pytest.raises(AttributeError, match="add"):
            loaded.predict(1)


def test_models_metadata_and_bundle_can_be_read(project: Path, store: Store) -> None:
    bundle = bundles.build(project, store=store)
    with bundles.load(bundle.reference, store=store) as loaded:
        assert loaded.models["model"].metadata == {"accuracy": 0.97}
        with pytest.raises(ModelNotFound, match=r"Did you mean 'model'\? It has: 'model' \(iris:"):
            loaded.models["modle"]
        assert loaded.models.get("modle") is None
        assert loaded.metadata == {"owner": "joe"}
        assert loaded.bundle is not None
        assert loaded.bundle.id == bundle.id
        assert str(loaded.spec.models[0].reference) == str(bundle.models[0])
        assert loaded.predict(flowers=np.array([[0.0, 0.0], [5.0, 5.0]])).tolist() == [0, 1]


def test_two_bundles_with_equal_module_names_do_not_mix(tmp_path: Path, store: Store) -> None:
    for name, value in (("one", 1), ("two", 2)):
        root = tmp_path / name
        write(root, "service.py", EQUAL)
        write(root, "my_values/__init__.py", f"VALUE = {value}\n")
        write(root, "my_values/late.py", f"VALUE = {value * 10}\n")
        bundles.build(root, name=name, store=store)
    with bundles.load("one", store=store) as one, bundles.load("two", store=store) as two:
        for _ in range(2):
            assert [one.early(), one.late()] == [1, 10]
            assert [two.early(), two.late()] == [2, 20]
    assert "my_values" not in sys.modules


EQUAL = """
import dosirak
import my_values


@dosirak.service
class Equal:
    @dosirak.api
    def early(self) -> int:
        return my_values.VALUE

    @dosirak.api
    def late(self) -> int:
        from my_values.late import VALUE
        return VALUE
"""


def test_the_sealed_code_runs_and_not_the_authors_present_one(
    project: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundles.build(project, store=store)
    make_project(project, factor=0)
    monkeypatch.syspath_prepend(str(project))
    monkeypatch.chdir(project)
    with bundles.load("iris", store=store) as loaded:
        assert loaded.predict(np.array([[5.0, 5.0]])).tolist() == [1]


def test_a_bundle_that_shadows_what_is_installed_here_is_refused_at_load(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    canary = tmp_path / "canary"
    root = tmp_path / "shadow"
    write(root, "service.py", EQUAL.replace("import my_values\n", "").replace("my_values", "x"))
    write(root, "not_yet_installed.py", f"__import__('pathlib').Path({str(canary)!r}).touch()\n")
    bundles.build(root, name="shadow", store=store)
    site = tmp_path / "site-packages"
    write(site, "not_yet_installed/__init__.py")
    monkeypatch.syspath_prepend(str(site))
    with pytest.raises(InvalidService, match="not_yet_installed"):
        bundles.load("shadow", store=store)
    assert not canary.exists()


@pytest.mark.parametrize("path", ["src/service.py", "api.json", "env/requirements.txt", "model"])
def test_a_changed_bit_in_the_store_is_found_before_any_code_runs(
    project: Path, store: Store, tmp_path: Path, path: str
) -> None:
    canary = tmp_path / "canary"
    write(
        project,
        "my_preparation/__init__.py",
        f"__import__('pathlib').Path({str(canary)!r}).touch()\n",
    )
    bundle = bundles.build(project, store=store)
    canary.unlink()
    digests = {file.path: file.sha256 for file in bundle.files}
    model = store.manifest(bundle.description["requires"][0])["files"][-1]["sha256"]
    blob = next(store.root.rglob(digests.get(path, model)))
    data = bytearray(blob.read_bytes())
    data[len(data) // 3] ^= 4
    blob.chmod(0o644)
    blob.write_bytes(data)
    with pytest.raises(CorruptContent):
        bundles.load("iris", store=store)
    assert not canary.exists()


def test_an_imported_pickle_needs_trust(tmp_path: Path, store: Store) -> None:
    models.save("iris", {"weights": {1, 2}}, allow_pickle=True, framework="pickle", store=store)
    root = tmp_path / "pickled"
    write(root, "service.py", PICKLED)
    bundles.build(root, store=store)
    path = bundles.export("pickled", tmp_path / "pickled.tar", store=store)
    with bundles.load("pickled", store=store) as loaded:
        assert loaded.weights() == [1, 2]
    with pytest.raises(UntrustedContent):
        bundles.load(path)
    with bundles.load(path, trust=True) as loaded:
        assert loaded.weights() == [1, 2]


PICKLED = """
import dosirak


@dosirak.service
class Pickled:
    model = dosirak.model("iris")

    @dosirak.api
    def weights(self) -> list[int]:
        return sorted(self.model["weights"])
"""


def test_another_environment_is_warned_of(tmp_path: Path, store: Store) -> None:
    write(tmp_path, "odd/service.py", EQUAL.replace("import my_values\n", ""))
    write(tmp_path, "odd/dosirak.toml", 'requirements = ["no-such-distribution==3"]\n')
    bundles.build(tmp_path / "odd", store=store)
    with pytest.warns(EnvironmentWarning, match="no-such-distribution==3"):
        bundles.load("equal", store=store).close()


def test_a_failing_start_leaves_nothing_behind(tmp_path: Path, store: Store) -> None:
    text = "from collections.abc import AsyncIterator, Iterator\n" + EVERYTHING.replace(
        'self.seen.append("ready")', "raise RuntimeError('not ready')"
    )
    write(tmp_path, "failing/service.py", text)
    bundles.build(tmp_path / "failing", store=store)
    with pytest.raises(RuntimeError, match="not ready"):
        bundles.load("everything", store=store)
    assert "service" not in sys.modules
    assert not any((store.root / "tmp").iterdir())


def test_what_is_not_there_is_named(tmp_path: Path, store: Store) -> None:
    with pytest.raises(BundleNotFound, match="iris"):
        bundles.load("iris:1", store=store)
    with pytest.raises(BundleNotFound, match="no file or directory"):
        bundles.load("./nowhere.tar", store=store)
    with pytest.raises(UsageError, match="no bundle"):
        bundles.load(tmp_path, store=store)


def test_a_handler_finds_the_bundles_modules_and_data_by_name(tmp_path: Path, store: Store) -> None:
    write(tmp_path, "by_name/my_parts/__init__.py")
    write(tmp_path, "by_name/my_parts/number.txt", "41")
    write(tmp_path, "by_name/my_plugin.py", "def plus(x):\n    return x + 1\n")
    write(
        tmp_path,
        "by_name/service.py",
        "import importlib, importlib.resources\nimport dosirak\n\n"
        "@dosirak.service\nclass ByName:\n    @dosirak.api\n    def answer(self) -> int:\n"
        "        text = (importlib.resources.files('my_parts') / 'number.txt').read_text()\n"
        "        return importlib.import_module('my_' + 'plugin').plus(int(text))\n",
    )
    bundles.build(tmp_path / "by_name", store=store)
    with bundles.load("by_name", store=store) as loaded:
        assert loaded.answer() == 42
    assert "my_plugin" not in sys.modules


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_bytes_of_a_model_are_verified_once_and_loaded_once(
    tmp_path: Path, store: Store
) -> None:
    rows = np.random.default_rng(0).random((4096, 1024))
    model = KNeighborsClassifier(algorithm="brute").fit(rows, np.arange(4096) % 2)
    saved = models.save("neighbours", model, store=store)
    write(
        tmp_path / "project",
        "service.py",
        """
import dosirak

@dosirak.service
class Nearby:
    first = dosirak.model("neighbours")
    second = dosirak.model("neighbours")

    @dosirak.api
    def rows(self) -> int:
        return self.first.n_samples_fit_
""",
    )
    bundle = bundles.build(tmp_path / "project", store=store)
    bundles.load(bundle.reference, store=store).close()  # imports what loading needs
    before = bytes_read()
    with bundles.load(bundle.reference, store=store) as loaded:
        assert loaded.rows() == 4096
    # Two attributes hold it, so it is loaded twice.
    assert bytes_read() - before < 3.1 * saved.size_bytes


def bytes_read() -> int:
    lines = Path("/proc/self/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("rchar"))


def test_a_model_of_a_closed_service_can_still_be_loaded(project: Path, store: Store) -> None:
    with bundles.load(bundles.build(project, store=store).reference, store=store) as loaded:
        model = loaded.models["model"]
    assert model.load().predict([[5.0, 5.0]]).tolist() == [1]


@pytest.mark.parametrize("reference", [None, 5, ["iris"], b"iris"])
def test_what_is_neither_reference_nor_path_is_the_callers_fault(reference, store: Store) -> None:
    with pytest.raises(UsageError) as caught:
        bundles.load(reference, store=store)
    assert "neither a reference nor a path" in str(caught.value)


@pytest.mark.parametrize("reference", ["~nobody-here/iris", "ir\0is", "ir\0is/x"])
def test_a_path_that_cannot_be_is_not_found(reference: str, store: Store) -> None:
    with pytest.raises((BundleNotFound, UsageError)):
        bundles.load(reference, store=store)
