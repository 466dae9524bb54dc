"""Sealing a project and a live service: what is in the bundle, what is refused, what is equal."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from dosirak import bundles, models
from dosirak.bundles import BuildEvent
from dosirak.errors import (
    AlreadyExists,
    Conflict,
    InvalidConfiguration,
    InvalidName,
    InvalidService,
    ModelNotFound,
    NotFound,
    UsageError,
)
from dosirak.models import Model
from dosirak.store import Store

from .conftest import SERVICE, make_project, train, write


def test_a_project_is_sealed_whole(project: Path, store: Store, iris: Model) -> None:
    bundle = bundles.build(project, store=store)
    assert bundle.name == "iris"
    assert bundle.service == "service:Iris"
    assert {file.path for file in bundle.files} == {
        "README.md",
        "api.json",
        "env/python_version",
        "env/requirements.txt",
        "src/README.md",
        "src/dosirak.toml",
        "src/my_preparation/__init__.py",
        "src/my_preparation/late.py",
        "src/my_preparation/scaling.py",
        "src/service.py",
    }
    assert bundle.models == (iris.reference,)
    assert bundle.description["requires"] == [iris.id]
    assert bundle.labels == {"team": "flowers"}
    assert bundle.metadata == {"owner": "joe"}
    assert bundle.manifest.config == {"threshold": 0.5}
    assert bundle.manifest.description == "Irises"
    assert [api["name"] for api in bundle.schema["apis"]] == ["predict"]
    requirements = bundle.read("env/requirements.txt").decode()
    assert any(line.startswith("scikit-learn==") for line in requirements.splitlines())
    assert any(line.startswith("skops==") for line in requirements.splitlines())
    assert bundle.size_bytes > iris.size_bytes


def test_equal_input_has_an_equal_id_wherever_and_whenever(
    project: Path, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = bundles.build(project, store=store)
    other = make_project(tmp_path / "elsewhere" / "deep")
    for path in other.rglob("*"):
        os.utime(path, (1, 1))
        if path.is_file():
            path.chmod(0o600)
    write(other, "__pycache__/service.cpython-311.pyc", "x")
    before = os.umask(0o077)
    monkeypatch.chdir(tmp_path)
    try:
        second = bundles.build("elsewhere/deep", store=store)
    finally:
        os.umask(before)
    assert second.id == first.id
    assert second.version != first.version
    assert bundles.get("iris", store=store).version == second.version


def test_other_input_has_another_id(project: Path, store: Store) -> None:
    first = bundles.build(project, store=store)
    write(project, "my_preparation/late.py", "def identity(values):\n    return values + 0\n")
    assert bundles.build(project, store=store).id != first.id


def test_a_model_is_pinned_to_the_version_of_the_moment(project: Path, store: Store) -> None:
    first = bundles.build(project, store=store)
    newer = models.save("iris", train(1.0), store=store)
    assert first.models != (newer.reference,)
    assert bundles.build(project, store=store).models == (newer.reference,)


def test_a_missing_model_is_named_with_a_remedy(project: Path, store: Store) -> None:
    write(project, "service.py", SERVICE.replace("iris:latest", "tulip:latest"))
    with pytest.raises(ModelNotFound, match=r"tulip:latest \(as 'model'\)") as caught:
        bundles.build(project, store=store)
    assert caught.value.remedy
    assert bundles.list(store=store) == ()


def test_a_model_that_answers_otherwise_stops_the_build(
    project: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sklearn.linear_model import LogisticRegression

    monkeypatch.setattr(
        LogisticRegression, "predict", lambda self, values: np.zeros(len(values), dtype=int)
    )
    with pytest.raises(Conflict, match="golden examples"):
        bundles.build(project, store=store)
    assert bundles.list(store=store) == ()


def test_extra_models_travel(project: Path, store: Store) -> None:
    extra = models.save("helper", train(), store=store)
    write(project, "dosirak.toml", 'models = ["helper"]\n')
    bundle = bundles.build(project, store=store)
    assert extra.reference in bundle.models
    assert bundle.model("helper").id == extra.id


def test_events_tell_what_happens(project: Path, store: Store) -> None:
    write(project, ".env", "TOKEN=1")
    events: list[BuildEvent] = []
    bundle = bundles.build(project, store=store, report=events.append)
    assert any(event.kind == "skip" and event.subject == ".env" for event in events)
    assert sum(event.kind == "step" for event in events) >= 4
    assert "src/.env" not in {file.path for file in bundle.files}


def test_version_name_and_labels_are_the_callers(project: Path, store: Store) -> None:
    bundle = bundles.build(project, name="flowers", version="1.0", labels={"a": "b"}, store=store)
    assert str(bundle.reference) == "flowers:1.0"
    assert bundle.labels == {"team": "flowers", "a": "b"}
    again = bundles.build(project, name="flowers", version="1.0", store=store)
    assert again.id == bundle.id
    write(project, "more.txt")
    with pytest.raises(AlreadyExists):
        bundles.build(project, name="flowers", version="1.0", store=store)


def test_bad_names_are_refused_before_any_work(project: Path, store: Store) -> None:
    with pytest.raises(InvalidName):
        bundles.build(project, name="No", store=store)
    with pytest.raises(InvalidName):
        bundles.build(project, version="latest", store=store)


def test_the_sealed_copy_is_what_is_imported(project: Path, store: Store) -> None:
    write(project, "dosirak.toml", 'exclude = ["my_preparation/scaling.py"]\n')
    with pytest.raises(InvalidService, match="scaling") as caught:
        bundles.build(project, store=store)
    assert str(project) in caught.value.message
    assert "tmp" not in caught.value.message.replace(str(project), "")


@pytest.mark.parametrize("path", ["lightgbm.py", "numpy/__init__.py", "json.py"])
def test_a_project_that_shadows_is_refused_before_its_code_runs(
    project: Path, store: Store, path: str, tmp_path: Path
) -> None:
    canary = tmp_path / "canary"
    write(project, path, f"__import__('pathlib').Path({str(canary)!r}).touch()")
    with pytest.raises(InvalidService, match="never shadows"):
        bundles.build(project, store=store)
    assert not canary.exists()


def test_building_leaves_the_process_as_it_was(project: Path, store: Store) -> None:
    path, finders = list(sys.path), list(sys.meta_path)
    bundles.build(project, store=store)
    assert sys.path == path
    assert sys.meta_path == finders
    assert "my_preparation" not in sys.modules


def test_a_link_out_of_the_project_ends_the_build(project: Path, store: Store) -> None:
    (project / "passwords").symlink_to("/etc/passwd")
    with pytest.raises(UsageError, match="The link passwords leaves the project"):
        bundles.build(project, store=store)


def test_services_in_packages_and_src_layout(tmp_path: Path, store: Store, iris: Model) -> None:
    root = tmp_path / "layout"
    write(root, "src/my_flowers/__init__.py")
    write(root, "src/my_flowers/serving.py", SERVICE.replace("my_preparation", "my_flowers"))
    write(root, "src/my_flowers/scaling.py", "def scale(values):\n    return values\n")
    write(root, "src/my_flowers/late.py", "def identity(values):\n    return values\n")
    by_file = bundles.build(root, target="src/my_flowers/serving.py", store=store)
    by_name = bundles.build(root, target="my_flowers.serving:Iris", store=store)
    for bundle in (by_file, by_name):
        assert bundle.service == "my_flowers.serving:Iris"
        with bundles.load(str(bundle.reference), store=store) as loaded:
            assert loaded.predict(np.array([[5.0, 5.0]])).tolist() == [1]


def test_what_is_not_there_is_named(tmp_path: Path, store: Store) -> None:
    with pytest.raises(NotFound, match="nowhere"):
        bundles.build(tmp_path / "nowhere", store=store)
    with pytest.raises(InvalidConfiguration, match="which service"):
        bundles.build(tmp_path, store=store)
    with pytest.raises(NotFound, match=r"missing\.py"):
        bundles.build(tmp_path, target="missing.py", store=store)


def test_provenance_is_in_the_record_and_not_in_the_manifest(project: Path, store: Store) -> None:
    bundle = bundles.build(project, store=store)
    assert {"built_at", "dosirak", "python", "platform"} <= set(bundle.provenance)
    assert "built_at" not in str(bundle.description)


def test_a_live_service_is_sealed_with_its_project(
    project: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(project))
    live = importlib.import_module("service")
    try:
        saved = live.Iris.save(store=store)
        assert saved.id == bundles.build(project, store=store).id
    finally:
        for name in [name for name in sys.modules if name.startswith(("service", "my_prep"))]:
            del sys.modules[name]


SCRIPT = """
import sys
import numpy as np
from sklearn.linear_model import LogisticRegression
import dosirak
from my_preparation import scaling, late
open("runs.txt", "a").write(__name__ + "\\n")

{head}
model = LogisticRegression().fit(np.array([[0.0, 0.0], [5.0, 5.0]]), [0, 1])
dosirak.models.save("iris", model)
{middle}
@dosirak.service
class Iris:
    model = dosirak.model("iris")

    @dosirak.api
    def predict(self, flowers: np.ndarray) -> np.ndarray:
        return late.identity(self.model.predict(scaling.scale(flowers)))

{tail}bundle = Iris.save()
{indent}with dosirak.load(str(bundle.reference)) as loaded:
{indent}    print(loaded.predict(flowers=np.array([[5.0, 5.0]])).tolist(), bundle.service)
{indent}    print(*sorted(file.path for file in bundle.files if file.path.startswith("src/")))
"""


@pytest.mark.parametrize(
    "parts",
    [
        {"head": "", "middle": "", "tail": "", "indent": ""},
        {
            "head": "def train():\n    pass",
            "middle": "",
            "tail": "if __name__ == '__main__':\n    ",
            "indent": "    ",
        },
    ],
    ids=["work at the top level", "work under a guard"],
)
def test_a_script_seals_its_own_service_and_loads_it(
    tmp_path: Path, home: Path, parts: dict[str, str]
) -> None:
    directory = tmp_path / "scripts"
    write(directory, "train_it.py", SCRIPT.format(**parts))
    write(directory, "unrelated.txt", "not travelling")
    write(directory, "my_preparation/__init__.py")
    write(directory, "my_preparation/scaling.py", "def scale(values):\n    return values\n")
    write(directory, "my_preparation/late.py", "def identity(values):\n    return values\n")
    done = subprocess.run(
        [sys.executable, "train_it.py"],
        cwd=directory,
        env={**os.environ, "DOSIRAK_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer, files = done.stdout.splitlines()
    assert answer == "[1] train_it:Iris"
    assert files.split() == [
        "src/my_preparation/__init__.py",
        "src/my_preparation/late.py",
        "src/my_preparation/scaling.py",
        "src/train_it.py",
    ]


def test_a_model_alone_is_sealed_and_loaded(store: Store, iris: Model) -> None:
    bundle = bundles.save(iris.spec(), version="1", store=store)
    assert bundle.manifest.target == ""
    assert not [file for file in bundle.files if file.path.startswith("src/")]
    assert "git" not in bundle.provenance
    with bundles.load(bundle.reference, store=store) as loaded:
        assert loaded.predict(np.array([[5.0, 5.0]])).tolist() == [1]


def test_a_service_from_a_shell_is_refused_with_a_remedy(store: Store) -> None:
    scope: dict[str, object] = {"__name__": "__main__"}
    code = "import dosirak\n@dosirak.service\nclass Shell:\n    @dosirak.api\n"
    code += "    def echo(self, x: int) -> int:\n        return x\n"
    exec(code, scope)
    with pytest.raises(InvalidService, match=r"top level of a Python file|installed package"):
        scope["Shell"].save(store=store)  # type: ignore[attr-defined]


def test_a_service_inside_a_function_is_refused(store: Store) -> None:
    import dosirak

    @dosirak.service
    class Inner:
        @dosirak.api
        def echo(self, x: int) -> int:
            return x

    with pytest.raises(InvalidService, match="top level"):
        Inner.save(store=store)


SMALL = """import dosirak
{top}
@dosirak.service
class Small:
    @dosirak.api
    def answer(self, x: int) -> int:
        {body}
"""


def small(root: Path, *, top: str = "", body: str = "return x") -> Path:
    write(root, "service.py", SMALL.format(top=top, body=body))
    return root


def test_a_module_that_ends_the_process_is_refused(tmp_path: Path, store: Store) -> None:
    with pytest.raises(InvalidService, match="SystemExit: 3"):
        bundles.build(small(tmp_path / "p", top="import sys; sys.exit(3)"), store=store)


@pytest.mark.parametrize(
    "act",
    [
        "__import__('pathlib').Path(__file__).write_text('# other')",
        "__import__('os').unlink(__file__)",
    ],
)
@pytest.mark.skipif(os.getuid() != 0, reason="what is read only stops everybody else")
def test_code_that_changes_itself_is_not_sealed(act: str, tmp_path: Path, store: Store) -> None:
    with pytest.raises(Conflict, match=r"service\.py was changed while it was being saved"):
        bundles.build(small(tmp_path / "p", top=act), store=store)
    assert store.entries("bundles") == ()


@pytest.mark.skipif(os.getuid() != 0, reason="what is read only stops everybody else")
def test_a_service_that_writes_beside_itself_does_not_damage_the_store(
    tmp_path: Path, store: Store
) -> None:
    body = "p = __import__('pathlib').Path(__file__).parent / 'count.txt'\n"
    body += "        p.write_text(str(int(p.read_text()) + x)); return int(p.read_text())"
    write(tmp_path, "p/count.txt", "1")
    bundle = bundles.build(small(tmp_path / "p", body=body), store=store)
    for _ in range(2):
        with bundles.load("small", store=store) as loaded:
            assert loaded.answer(4) == 5
    store.verify(bundle.id)


@pytest.mark.parametrize("metadata", [["a"], {"a": float("nan")}, {"a": {1: 2}}], ids=repr)
def test_metadata_that_json_cannot_hold_is_refused_before_any_work(
    metadata: Any, project: Path, store: Store
) -> None:
    events: list[BuildEvent] = []
    with pytest.raises(UsageError, match="metadata"):
        bundles.build(project, metadata=metadata, store=store, report=events.append)
    assert not events


def test_metadata_of_numpy_is_kept_as_numbers(project: Path, store: Store) -> None:
    metadata = {"score": np.float32(0.5), "shape": (1, 2)}
    bundle = bundles.build(project, metadata=metadata, store=store)
    assert bundle.metadata == {"owner": "joe", "score": 0.5, "shape": [1, 2]}


def test_dosirak_itself_is_never_called_unknown(tmp_path: Path, store: Store) -> None:
    events: list[BuildEvent] = []
    bundles.build(small(tmp_path / "p"), store=store, report=events.append)
    assert not [event for event in events if event.kind == "warn"]


@pytest.mark.parametrize("name", [None, "flowers"])
def test_a_version_that_exists_with_other_source_is_refused_before_the_work(
    project: Path, store: Store, name: str | None
) -> None:
    bundles.build(project, name=name, version="1", store=store)
    assert bundles.build(project, name=name, version="1", store=store).version == "1"
    write(project, "notes.txt", "something else")
    events: list[BuildEvent] = []
    with pytest.raises(AlreadyExists, match="exists in bundles with other content"):
        bundles.build(project, name=name, version="1", store=store, report=events.append)
    said = " ".join(event.message for event in events)
    assert "Copying" in said
    assert "golden examples" not in said
    assert "environment" not in said
    assert bundles.build(project, name=name, version="1.1", store=store).version == "1.1"


@pytest.mark.parametrize(
    "arguments",
    [
        {"labels": ["team"]},
        {"labels": {"team": 1}},
        {"labels": 0},
        {"target": "service\0.py"},
        {"target": "service.py\0:Iris"},
        {"target": "service:Iris\0"},
        {"target": 5},
        {"target": Path("service.py")},
        {"metadata": ["a"]},
        {"name": 5},
        {"version": 5},
    ],
    ids=repr,
)
def test_an_argument_of_no_use_is_the_callers_fault(
    project: Path, store: Store, arguments: dict[str, Any]
) -> None:
    with pytest.raises(UsageError) as caught:
        bundles.build(project, store=store, **arguments)
    assert caught.value.remedy
    assert bundles.list(store=store) == ()


@pytest.mark.parametrize("directory", [None, 5, ["."]])
def test_a_directory_of_no_use_is_the_callers_fault(store: Store, directory: Any) -> None:
    with pytest.raises(UsageError):
        bundles.build(directory, store=store)


def test_what_the_golden_examples_need_is_required_of_model_and_bundle(
    tmp_path: Path, store: Store
) -> None:
    table = pd.DataFrame({"a": [0.0, 1.0, 5.0, 6.0], "b": [0.0, 1.0, 5.0, 5.5]})
    model = models.save(
        "rules",
        make_pipeline(FunctionTransformer()).fit(table),
        examples=table,
        store=store,
    )
    versions = {name: version(name) for name in ("pyarrow", "pandas", "numpy")}
    assert versions.items() <= model.saved.library_versions.items()
    write(
        tmp_path,
        "service.py",
        "import dosirak\n\n\n@dosirak.service\nclass Rules:\n    model = dosirak.model('rules')\n\n"
        "    @dosirak.api\n    def name(self) -> str:\n        return 'rules'\n",
    )
    lines = bundles.build(tmp_path, store=store).read("env/requirements.txt").decode().splitlines()
    direct = lines[: lines.index("")]
    assert {f"{name}=={found}" for name, found in versions.items()} <= set(direct)


def test_exports_and_checkouts_stay_behind_and_are_named(project: Path, store: Store) -> None:
    before = bundles.build(project, store=store)
    bundles.export(str(before.reference), project / "iris.tar", store=store)
    before.checkout(project / "sealed")
    write(project, "other.tar", "no export")
    write(project, "config/bundle.json", "{}")
    events: list[BuildEvent] = []
    after = bundles.build(project, store=store, report=events.append)
    added = {file.path for file in after.files} - {file.path for file in before.files}
    assert added == {"src/other.tar", "src/config/bundle.json"}
    assert {event.subject for event in events if event.kind == "skip"} == {"iris.tar", "sealed"}
