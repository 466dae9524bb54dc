"""The classic API: decorators, versions, environment, saving, loading, the front end."""

# ruff: noqa: E501 - a recorded value is one line

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from dosirak.compat.bentoml_classic import (
    BentoService,
    api,
    artifacts,
    env,
    front_end,
    load,
    save,
    save_to_dir,
    ver,
    web_static_content,
)
from dosirak.compat.bentoml_classic.adapters import (
    DataframeInput,
    DataframeOutput,
    FileInput,
    JsonInput,
    JsonOutput,
    TfTensorInput,
)
from dosirak.compat.bentoml_classic.artifacts import PickleArtifact
from dosirak.compat.bentoml_classic.bundle.repository import Repository
from dosirak.compat.bentoml_classic.environment import BentoServiceEnv
from dosirak.compat.bentoml_classic.exceptions import (
    APIDeprecated,
    ArtifactLoadingException,
    BentoMLConfigException,
    BentoMLException,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    YataiRepositoryException,
)
from dosirak.errors import AlreadyExists, InvalidService, StorageError


@env(infer_pip_packages=True, pip_packages=["packaging"])
@artifacts([PickleArtifact("model"), PickleArtifact("never")])
class Plain(BentoService):
    """A plain service."""

    @api(input=JsonInput())
    def predict(self, value):
        """Multiply."""
        return self.artifacts.model * value

    @api(JsonInput, api_name="second", route="v1/second", api_doc="Own words.", batch=True)
    def other(self, values):
        return values


def packed() -> Plain:
    return Plain().pack("model", 3, metadata={"k": "v"})


def decorate(**options: Any) -> Any:
    return api(**{"input": JsonInput(), **options})(lambda self, value: value)


def test_a_service_is_called_in_process() -> None:
    service = packed()
    assert service.predict(2) == 6
    assert service.name == Plain.name == "Plain"
    assert [found.name for found in service.inference_apis] == ["predict", "second"]
    assert service.get_inference_api(None).doc == "Multiply."
    second = service.get_inference_api("second")
    assert (second.route, second.doc, second.batch) == ("v1/second", "Own words.", True)
    with pytest.raises(NotFound, match="no api"):
        service.get_inference_api("third")


def test_instances_share_no_artifacts() -> None:
    packed()
    with pytest.raises(FailedPrecondition):
        _ = Plain().artifacts.model


def test_pack_is_not_for_classes() -> None:
    with pytest.raises(BentoMLException, match="on the class"):
        Plain.pack("model", 1)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"api_name": "no name"}, InvalidArgument, "name of an api"),
        ({"api_name": "healthz"}, InvalidArgument, "name of an api"),
        ({"api_name": "a", "route": "a?b"}, InvalidArgument, "route"),
        ({"api_name": "a", "route": "//b"}, InvalidArgument, "route"),
        ({"api_name": "a", "route": ":b"}, InvalidArgument, "route"),
        ({"api_name": "a", "route": "metrics"}, InvalidArgument, "route"),
        ({"api_name": "a", "input": JsonInput}, InvalidArgument, "input adapter"),
        ({"api_name": "a", "input": None}, InvalidArgument, "input adapter"),
        ({"api_name": "a", "output": JsonOutput}, InvalidArgument, "output adapter"),
        ({"api_name": "a", "unknown": 1}, InvalidArgument, "unknown"),
        ({"api_name": "a", "input": DataframeInput()}, BentoMLConfigException, "batch=False"),
        ({"api_name": "a", "input": TfTensorInput()}, BentoMLConfigException, "batch=False"),
    ],
)
def test_wrong_apis_are_refused(options: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        decorate(**options)


def test_a_route_may_be_wild() -> None:
    route = "$~!@%^&*()_-+=[]\\|;:,./predict"
    assert decorate(api_name="a", route=route)._bentoml_api.route == route


@pytest.mark.parametrize(
    "make",
    [
        lambda: DataframeInput(orient="table"),
        lambda: DataframeInput(typ="series"),
        lambda: DataframeInput(columns=["a"], dtype={"b": "int"}),
        lambda: DataframeOutput(output_orient="table"),
        lambda: TfTensorInput(method="classify"),
        lambda: env(unknown=1),
        lambda: env(pip_packages=["not a requirement!"]),
    ],
    ids=["orient", "typ", "columns", "output_orient", "method", "env", "requirement"],
)
def test_wrong_options_are_refused(make: Any) -> None:
    with pytest.raises(BentoMLConfigException):
        make()


def test_what_0_13_had_withdrawn_stays_withdrawn() -> None:
    with pytest.raises(APIDeprecated):
        JsonOutput(cors="*")


def test_artifacts_are_checked() -> None:
    with pytest.raises(InvalidArgument, match="Two artifacts"):
        artifacts([PickleArtifact("a"), PickleArtifact("a")])
    with pytest.raises(InvalidArgument, match="got a str"):
        artifacts(["a"])  # pyright: ignore[reportArgumentType]


def test_versions() -> None:
    service = packed()
    assert service.version == service.version
    assert len(service.version) == len("20261122174316_AB12CD")
    assert service.set_version("v.1-2_3") == "v.1-2_3"
    assert service.tag == "Plain:v.1-2_3"
    assert ver(major=1, minor=4)(type("Own", (Plain,), {}))().set_version("7") == "1.4.7"
    for wrong in ("latest", "a/b", "..", "", "x" * 129):
        with pytest.raises(InvalidArgument):
            service.set_version(wrong or " ")


def test_the_saved_layout(home: Path) -> None:
    path = Path(packed().save(version="v1", labels={"stage": "prod"}))

    assert path == home / "bentoml" / "repository" / "Plain" / "v1"
    top = {"bentoml.yml", "requirements.txt", "environment.yml", "python_version", "setup.py",
           "MANIFEST.in", "Dockerfile", "docs.json", "README.md", "Plain"}  # fmt: skip
    assert {entry.name for entry in path.iterdir()} == top
    assert {entry.name for entry in (path / "Plain" / "artifacts").iterdir()} == {
        "__init__.py", "model.pkl", "model.yml",
    }  # fmt: skip
    assert (path / "Plain" / "bentoml.yml").read_text() == (path / "bentoml.yml").read_text()
    described = yaml.safe_load((path / "bentoml.yml").read_text())
    assert described["kind"] == "BentoService"
    assert described["metadata"]["labels"] == {"stage": "prod"}
    assert described["env"]["pip_packages"] == (path / "requirements.txt").read_text().split()
    assert described["artifacts"] == [
        {"name": "model", "artifact_type": "PickleArtifact", "metadata": {"k": "v"}, "format": "pickle"},
        {"name": "never", "artifact_type": "PickleArtifact", "metadata": {}, "format": "pickle", "packed": False},
    ]  # fmt: skip
    assert described["apis"][1] == {
        "name": "second", "docs": "Own words.", "input_type": "JsonInput",
        "output_type": "DefaultOutput", "mb_max_batch_size": 4000, "mb_max_latency": 20000,
        "batch": True, "route": "v1/second",
    }  # fmt: skip
    assert "/v1/second" in json.loads((path / "docs.json").read_text())["paths"]
    assert "A plain service." in (path / "README.md").read_text()


def test_a_saved_service_comes_back() -> None:
    loaded = load(packed().save(version="v1"))
    assert (loaded.name, loaded.version) == ("Plain", "v1")
    assert loaded.predict(2) == 6
    assert loaded.artifacts["model"].metadata == {"k": "v"}
    assert loaded.artifacts["model"].loaded
    assert not loaded.artifacts["never"].is_ready
    assert load(loaded.save(version="v2")).version == "v2"


def test_the_package_inside_a_bundle_loads_too() -> None:
    path = Path(packed().save())
    assert load(path / "Plain").predict(1) == 3


def test_a_version_is_saved_once(tmp_path: Path) -> None:
    packed().save(version="v1")
    with pytest.raises(YataiRepositoryException, match="exists") as caught:
        packed().save(version="v1")
    assert isinstance(caught.value, AlreadyExists)


def test_save_to_dir_takes_a_new_or_empty_directory(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    packed().save_to_dir(str(tmp_path / "empty"))
    save_to_dir(packed(), str(tmp_path / "deep" / "new"), version="v9")
    assert load(tmp_path / "deep" / "new").version == "v9"
    with pytest.raises(YataiRepositoryException):
        packed().save_to_dir(str(tmp_path))
    with pytest.raises(InvalidArgument, match="local"):
        packed().save_to_dir("s3://bucket/key")


def test_save_takes_another_repository(tmp_path: Path) -> None:
    assert save(packed(), str(tmp_path), version="v1") == str(tmp_path / "Plain" / "v1")


def test_yatai_and_remote_paths_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="Yatai"):
        packed().save(yatai_url="http://localhost")
    with pytest.raises(InvalidArgument, match="local"):
        load("https://example.org/bundle.tar.gz")
    with pytest.raises(InvalidArgument, match="tunnel"):
        packed().start_dev_server(enable_ngrok=True)


def test_a_directory_that_is_no_bundle_is_refused(tmp_path: Path) -> None:
    for content in (None, "]", "kind: Other", "kind: BentoService\nmetadata: {}", "[1]", "\xff"):
        if content is not None:
            (tmp_path / "bentoml.yml").write_text(content, "latin-1")
        assert not front_end.recognises_directory(tmp_path)
        with pytest.raises(BentoMLConfigException, match="not a saved BentoService"):
            load(tmp_path)


def test_a_damaged_bundle_says_so() -> None:
    path = Path(packed().save())
    (path / "Plain" / "artifacts" / "model.pkl").unlink()
    with pytest.raises(ArtifactLoadingException, match="making it raised FileNotFoundError"):
        load(path)
    module = (
        path
        / "Plain"
        / yaml.safe_load((path / "bentoml.yml").read_text())["metadata"]["module_file"]
    )
    module.write_text("raise ValueError('no')")
    with pytest.raises(ArtifactLoadingException, match="importing it raised ValueError"):
        load(path)
    module.write_text("")
    with pytest.raises(BentoMLConfigException, match="no class 'Plain'"):
        load(path)


def test_a_save_that_fails_leaves_nothing(home: Path) -> None:
    service = packed()
    service.artifacts["model"].pack(1, metadata={"a": object()})
    with pytest.raises(InvalidArgument):
        service.save(version="v1")
    assert not list((home / "bentoml").rglob("v1"))
    assert not list((home / "bentoml").rglob(".staging"))


def test_a_home_that_cannot_be_written_says_so(home: Path) -> None:
    (home / "bentoml").write_text("a file")
    with pytest.raises(StorageError, match="Saving the service failed"):
        packed().save()


def test_a_real_0_13_bundle_loads(tmp_path: Path) -> None:
    code = tmp_path / "Old"
    (code / "artifacts").mkdir(parents=True)
    (code / "artifacts" / "note.txt").write_text("hello")
    (code / "artifacts" / "note.yml").write_text("k: 1\n")
    (code / "old_service.py").write_text(
        "from dosirak.compat.bentoml_classic import BentoService, api, artifacts\n"
        "from dosirak.compat.bentoml_classic.adapters import JsonInput\n"
        "from dosirak.compat.bentoml_classic.artifacts import TextFileArtifact\n"
        "@artifacts([TextFileArtifact('note')])\n"
        "class Old(BentoService):\n"
        "    @api(input=JsonInput())\n"
        "    def predict(self, value):\n        return self.artifacts.note\n"
    )
    (tmp_path / "bentoml.yml").write_text(
        "version: 0.13.1\nkind: BentoService\n"
        "metadata:\n  created_at: 2021-06-01 10:00:00.123456\n  service_name: Old\n"
        "  service_version: 20210601100000_AAAAAA\n  module_name: old_service\n"
        "  module_file: old_service.py\n"
        "env:\n  pip_packages:\n  - bentoml==0.13.1\n  python_version: 3.8.10\n"
        "apis:\n- name: predict\n  input_type: JsonInput\n  output_type: DefaultOutput\n"
    )
    loaded = load(tmp_path)
    assert (loaded.predict(1), loaded.version) == ("hello", "20210601100000_AAAAAA")
    assert loaded.artifacts["note"].metadata == {"k": 1}
    assert front_end.spec_of_directory(tmp_path).foreign["version"] == "20210601100000_AAAAAA"


def test_the_environment_of_a_bundle(tmp_path: Path) -> None:
    (tmp_path / "setup.sh").write_text("echo hi\n")
    described = BentoServiceEnv(
        pip_packages=["numpy", "packaging>=20", "not-installed-here"],
        pip_index_url="https://index.example/simple",
        conda_channels=["forge"],
        conda_override_channels=True,
        conda_dependencies=["gxx"],
        setup_sh=str(tmp_path / "setup.sh"),
        docker_base_image="base:1",
    )
    import numpy

    assert described.requirements_text().splitlines() == [
        "--index-url=https://index.example/simple",
        f"numpy=={numpy.__version__}",
        "packaging>=20",
        "not-installed-here",
    ]
    assert described.conda_environment()["channels"] == ["forge", "nodefaults"]
    assert described.conda_environment()["dependencies"] == ["gxx"]
    assert described.to_dict()["setup_sh"] == "echo hi\n"
    described.add_pip_packages(["numpy"])
    described.add_inferred(["numpy==0.1", "extra==1"])
    assert described.pip_packages[0] == f"numpy=={numpy.__version__}"
    assert described.pip_packages[-1] == "extra==1"
    with pytest.raises(BentoMLConfigException, match="conda_channels is not"):
        BentoServiceEnv(conda_override_channels=True).conda_environment()


def test_a_library_under_another_name_is_pinned_to_what_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    information = tmp_path / "my_boost_cpu-3.2.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: my-boost-cpu\nVersion: 3.2+cpu"
    )
    (information / "RECORD").write_text("my_boost/__init__.py,,\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    described = BentoServiceEnv(pip_packages=["my-boost[plot]"])
    described.add_pip_packages(["my_boost"])
    described.add_inferred(["my-boost-cpu==3.2"])
    assert described.pip_packages == ["my-boost-cpu[plot]==3.2"]


def test_a_requirements_file_replaces_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own.txt").write_text("only==1\n")
    monkeypatch.setattr(
        Plain, "_env_arguments", {"requirements_txt_file": str(tmp_path / "own.txt")}
    )
    path = Path(packed().save())
    assert (path / "requirements.txt").read_text() == "only==1\n"
    with pytest.raises(BentoMLConfigException, match="cannot be read"):
        BentoServiceEnv(requirements_txt_file="no such file").requirements_text()


def test_web_pages_travel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ui").mkdir()
    (tmp_path / "ui" / "index.html").write_text("hi")
    monkeypatch.setattr(Plain, "_web_static_content", None)
    web_static_content(str(tmp_path / "ui"))(Plain)
    loaded_from = Path(packed().save())
    assert (loaded_from / "Plain" / "web_static_content" / "index.html").read_text() == "hi"


def test_a_bundle_installs_as_a_package(tmp_path: Path, child_environment: dict[str, str]) -> None:
    pytest.importorskip("setuptools")
    path = Path(packed().save(version="20261122174316_AB12CD"))
    built = subprocess.run(
        [sys.executable, "setup.py", "-q", "install_lib", "--install-dir", str(tmp_path / "site")],
        cwd=path, env=child_environment, capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    environment = dict(child_environment)
    environment["PYTHONPATH"] += os.pathsep + str(tmp_path / "site")
    ran = subprocess.run(
        [sys.executable, "-c", "import Plain; print(Plain.load().predict(5), Plain.Plain.name)"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert ran.stdout == "15 Plain\n", ran.stderr


def test_the_front_end_recognises_what_is_classic() -> None:
    assert front_end.recognises(Plain)
    assert front_end.recognises(packed())
    for other in (BentoService, object(), int, "x"):
        assert not front_end.recognises(other)


def test_the_spec_of_a_class() -> None:
    spec = front_end.spec_of(Plain, target="m:Plain")
    assert (spec.name, spec.target, spec.front_end) == ("plain", "m:Plain", "bentoml_classic")
    predict, second, feedback, document = spec.apis
    assert (predict.route, predict.batch, predict.methods) == ("/predict", None, ("POST", "GET"))
    assert second.batch is not None
    assert (second.route, second.batch.max_batch_size) == ("/v1/second", 4000)
    assert (feedback.route, document.route) == ("/feedback", "/docs.json")
    assert json.loads(json.dumps(spec.describe()))["apis"][0]["name"] == "predict"
    with pytest.raises(FailedPrecondition, match="model, never"):
        spec.create({})


def test_the_spec_of_a_saved_service_reads_no_artifact() -> None:
    path = Path(packed().save(version="v1"))
    (path / "Plain" / "artifacts" / "model.pkl").unlink()
    spec = front_end.spec_of_directory(path)
    assert spec.foreign == {"service_name": "Plain", "version": "v1", "labels": {}}
    with pytest.raises(ArtifactLoadingException):
        spec.create({})


def test_a_service_without_apis_cannot_be_served() -> None:
    with pytest.raises(InvalidService, match="no api"):
        front_end.spec_of(type("Empty", (BentoService,), {}), target="m:Empty")


def test_file_adapters_answer_only_post() -> None:
    assert FileInput.HTTP_METHODS == ("POST",)


def test_the_repository_finds_lists_and_deletes() -> None:
    for version in ("v1", "v2"):
        packed().save(version=version)
    repository = Repository.from_environment()
    assert [item.version for item in repository.descriptions()] == ["v2", "v1"]
    assert repository.find("Plain").version == repository.find("Plain:latest").version == "v2"
    repository.delete(repository.find("Plain:v2"))
    assert repository.find("Plain:latest").version == "v1"
    for missing in ("Plain:v2", "Other", "../x:v1"):
        with pytest.raises(NotFound):
            repository.find(missing)
