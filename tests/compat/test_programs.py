"""Whole programs as people have them, each in a process, a home and a directory of its own."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

Run = Callable[..., "subprocess.CompletedProcess[str]"]

# Objects trained on real data, for the program below. `model_b` takes what `model_a` gives.
REGRESSOR = """\
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge
from xgboost import XGBRegressor

df, target = load_diabetes(return_X_y=True)
my_sklearn_model_object = Ridge().fit(df, target)
model_a = my_sklearn_model_object.predict(df)
my_xgboost_model_object = XGBRegressor(n_estimators=4).fit(model_a.reshape(-1, 1), target)
print("trained")
"""
BOOSTER = """\
import xgboost
from sklearn.cross_decomposition import PLSRegression
from sklearn.datasets import load_iris

df, target = load_iris(return_X_y=True)
my_sklearn_model_object = PLSRegression(2).fit(df, df[:, :2])
matrix = xgboost.DMatrix(my_sklearn_model_object.predict(df), label=target)
my_xgboost_model_object = xgboost.train({"max_depth": 2}, matrix, num_boost_round=3)
print("trained")
"""
# The program of the issue, unchanged.
PROGRAM = '''\
import bentoml
from bentoml.adapters import DataframeInput
from bentoml.frameworks.sklearn import SklearnModelArtifact
from bentoml.frameworks.xgboost import XgboostModelArtifact

@bentoml.env(infer_pip_packages=True)
@bentoml.artifacts([SklearnModelArtifact("model_a"), XgboostModelArtifact("model_b")])
class MyPredictionService(bentoml.BentoService):
    @bentoml.api(input=DataframeInput(), batch=True)
    def predict(self, df):
        df = self.artifacts.model_a.predict(df)
        return self.artifacts.model_b.predict(df)

svc = MyPredictionService()
svc.pack("model_a", my_sklearn_model_object, metadata={"precision_score": 0.876, "created_by": "joe"})
svc.pack("model_b", my_xgboost_model_object, metadata={"precision_score": 0.792, "mean_absolute_error": 0.88})
path = svc.save()
print(bentoml.load(path).artifacts["model_a"].metadata)
'''  # fmt: skip # noqa: E501
METADATA = {"precision_score": 0.876, "created_by": "joe"}
ROWS = {"regressor": [[0.01] * 10, [0.05] * 10], "booster": [[5.1, 3.5, 1.4, 0.2]]}
PRELUDES = {"regressor": REGRESSOR, "booster": BOOSTER}


def saved(home: Path, name: str) -> Path:
    (found,) = (home / "bentoml" / "repository" / name).iterdir()
    return found


@contextlib.contextmanager
def serving(environment: dict[str, str], *command: str) -> Iterator[str]:
    """Run a server until the block ends; the url is read from its own words."""
    server = subprocess.Popen(
        [sys.executable, *command], env=environment, stderr=subprocess.PIPE, text=True
    )
    assert server.stderr is not None
    said: list[str] = []
    try:
        for line in server.stderr:
            said.append(line)
            if found := re.search(r"http://127\.0\.0\.1:\d+", line):
                yield found[0]
                break
        else:
            pytest.fail("".join(said))
    finally:
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=60)


def post(
    url: str, body: object, *, kind: str = "application/json", method: str = "POST"
) -> tuple[int, str, str]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(
        url, data if method == "POST" else None, {"Content-Type": kind}, method=method
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read().decode(), answer.headers["Content-Type"]
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode(), error.headers["Content-Type"]


@pytest.mark.parametrize("kind", PRELUDES)
def test_the_classic_program_runs_unchanged_and_is_served(
    kind: str, run_python: Run, tmp_path: Path, home: Path, child_environment: dict[str, str]
) -> None:
    (tmp_path / "program.py").write_text(PRELUDES[kind] + PROGRAM)

    ran = run_python("-W", "error::RuntimeWarning", "program.py")

    # Trained once: loading and serving do not run the script again.
    assert ran.stdout == f"trained\n{METADATA}\n"
    directory = saved(home, "MyPredictionService")
    requirements = (directory / "requirements.txt").read_text()
    for pinned in ("scikit-learn==", "xgboost==", "pandas==", "skops=="):
        assert pinned in requirements
    assert "load_" not in (directory / "MyPredictionService" / "program.py").read_text()

    arguments = ("-m", "bentoml", "run", "MyPredictionService:latest", "predict")
    offline = run_python(*arguments, "--input", json.dumps(ROWS[kind]))
    assert offline.stdout.count("trained") == 0
    (tmp_path / "program.py").unlink()
    command = ("-m", "bentoml", "serve", "MyPredictionService:latest", "--port", "0")
    with serving(child_environment, *command) as url:
        status, body, media_type = post(f"{url}/predict", ROWS[kind])
        assert (status, media_type) == (200, "application/json")
        assert body == offline.stdout.splitlines()[-1]
        assert len(json.loads(body)) == len(ROWS[kind])
        status, body, media_type = post(f"{url}/predict", b"nonsense")
        assert (status, body) == (
            400,
            "DataframeInput Wrong input format: the body is not JSON.",
        )
        assert media_type == "text/plain; charset=utf-8"
        status, body, _ = post(f"{url}/metadata", b"", method="GET")
        described = json.loads(json.loads(body))
        assert described["artifacts"][0]["metadata"] == METADATA
        assert post(f"{url}/feedback", {"request_id": "1", "ok": True})[:2] == (200, "success")
        assert post(f"{url}/feedback", {"ok": True})[0] == 400
        paths = json.loads(post(f"{url}/docs.json", b"", method="GET")[1])["paths"]
        assert {"/predict", "/feedback", "/metadata", "/healthz"} <= set(paths)


def test_local_modules_travel_with_the_service(
    run_python: Run, tmp_path: Path, home: Path, child_environment: dict[str, str]
) -> None:
    project = tmp_path / "project"
    (project / "more").mkdir(parents=True)
    (project / "more" / "__init__.py").write_text("")
    (project / "more" / "deep.py").write_text("FACTOR = 10\n")
    (project / "unused.py").write_text("")
    (project / "my_lib.py").write_text(
        "from more.deep import FACTOR\n"
        "def preprocessing(values):\n    return [value * FACTOR for value in values]\n"
        "def postprocessing(values):\n    import more.late\n"
        "    return [more.late.text(value) for value in values]\n"
    )
    (project / "more" / "late.py").write_text("def text(value):\n    return f'<{value}>'\n")
    (project / "service.py").write_text(
        "import bentoml\n"
        "from bentoml.adapters import JsonInput\n"
        "from my_lib import preprocessing, postprocessing\n"
        "class Local(bentoml.BentoService):\n"
        "    @bentoml.api(input=JsonInput(), batch=True)\n"
        "    def predict(self, values):\n"
        "        return postprocessing(preprocessing(values))\n"
        "if __name__ == '__main__':\n"
        "    print(Local().save())\n"
    )
    run_python(str(project / "service.py"))
    code = saved(home, "Local") / "Local"
    files = {str(path.relative_to(code)) for path in code.rglob("*.py")}
    assert {"service.py", "my_lib.py", "more/__init__.py", "more/deep.py", "more/late.py"} <= files
    assert "unused.py" not in files

    project.rename(tmp_path / "elsewhere")
    answered = run_python("-m", "bentoml", "run", "Local:latest", "predict", "--input", "1", "2")
    assert answered.stdout.splitlines() == ['"<10>"', '"<20>"']
    with serving(child_environment, "-m", "bentoml", "serve", str(code.parent), "-p", "0") as url:
        assert post(f"{url}/predict", 3)[:2] == (200, '"<30>"')


def test_a_module_that_saves_while_it_is_imported_is_not_run_again(
    run_python: Run, tmp_path: Path
) -> None:
    (tmp_path / "module.py").write_text(
        "import bentoml\n"
        "from bentoml.adapters import JsonInput\n"
        "print('imported')\n"
        "class Eager(bentoml.BentoService):\n"
        "    @bentoml.api(input=JsonInput())\n"
        "    def predict(self, value):\n        return value\n"
        "print(bentoml.load(Eager().save()).predict(4))\n"
    )
    assert run_python("-c", "import module").stdout == "imported\n4\n"


def test_what_a_script_pickles_loads_elsewhere(run_python: Run, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(
        "import bentoml\n"
        "from bentoml.adapters import JsonInput\n"
        "from bentoml.service.artifacts.common import PickleArtifact\n"
        "class Model:\n    def __call__(self, value):\n        return value + 1\n"
        "@bentoml.artifacts([PickleArtifact('model')])\n"
        "class Pickled(bentoml.BentoService):\n"
        "    @bentoml.api(input=JsonInput())\n"
        "    def predict(self, value):\n        return self.artifacts.model(value)\n"
        "print(Pickled().pack('model', Model()).save())\n"
    )
    path = run_python("script.py").stdout.strip()
    described = yaml.safe_load((Path(path) / "bentoml.yml").read_text())
    assert described["artifacts"][0]["format"] == "pickle"
    loaded = run_python("-c", f"import bentoml; print(bentoml.load({path!r}).predict(1))")
    assert loaded.stdout == "2\n"


def test_versions_with_equal_module_names_load_side_by_side(
    run_python: Run, tmp_path: Path
) -> None:
    script = (
        "import bentoml, lib\n"
        "from bentoml.adapters import JsonInput\n"
        "class Twin(bentoml.BentoService):\n"
        "    @bentoml.api(input=JsonInput())\n"
        "    def predict(self, value):\n        return lib.ANSWER\n"
        "print(Twin().save())\n"
    )
    paths: list[str] = []
    for answer in (1, 2):
        (tmp_path / "script.py").write_text(script)
        (tmp_path / "lib.py").write_text(f"ANSWER = {answer}\n")
        paths.append(run_python("script.py").stdout.strip())
    loading = (
        f"import bentoml; a, b = map(bentoml.load, {paths!r}); print(a.predict(0), b.predict(0))"
    )
    (tmp_path / "lib.py").unlink()
    assert run_python("-c", loading).stdout == "1 2\n"


def test_the_door_has_every_classic_place_and_loads_no_library(run_python: Run) -> None:
    places = [
        "adapters", "adapters.dataframe_input", "artifact", "exceptions", "frameworks.keras",
        "frameworks.lightgbm", "frameworks.onnx", "frameworks.pytorch", "frameworks.sklearn",
        "frameworks.tensorflow", "frameworks.xgboost", "handlers", "saved_bundle", "service",
        "service.artifacts", "service.artifacts.common", "service.artifacts.json_file",
        "service.artifacts.pickle", "service.artifacts.text_file", "service.env", "types",
    ]  # fmt: skip
    heavy = "{'numpy', 'pandas', 'sklearn', 'torch', 'uvicorn', 'starlette', 'cloudpickle'}"
    lines = [f"import bentoml.{place}" for place in places]
    ran = run_python("-c", "\n".join([*lines, "import sys", f"print({heavy} & set(sys.modules))"]))
    assert ran.stdout == "set()\n"


def test_a_dev_server_runs_beside_the_program(
    run_python: Run, tmp_path: Path, unused_port: int
) -> None:
    (tmp_path / "script.py").write_text(
        "import bentoml, urllib.request\n"
        "from bentoml.adapters import JsonInput\n"
        "class Dev(bentoml.BentoService):\n"
        "    @bentoml.api(input=JsonInput())\n"
        "    def predict(self, value):\n        return value\n"
        "svc = Dev()\n"
        f"svc.start_dev_server(port={unused_port})\n"
        "try:\n"
        f"    with urllib.request.urlopen('http://127.0.0.1:{unused_port}/predict', b'[1]') as a:\n"
        "        print(a.read().decode())\n"
        "finally:\n"
        "    svc.stop_dev_server()\n"
    )
    assert run_python("script.py").stdout == "[1]\n"
    with pytest.raises(OSError), contextlib.closing(_connect(unused_port)):
        pass


def _connect(port: int) -> object:
    return socket.create_connection(("127.0.0.1", port), timeout=5)


@pytest.fixture
def unused_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def test_a_save_that_is_killed_leaves_nothing_that_looks_saved(
    run_python: Run, tmp_path: Path, home: Path
) -> None:
    script = (
        "import os, signal, sys, bentoml\n"
        "from bentoml.adapters import JsonInput\n"
        "from bentoml.service.artifacts import BentoServiceArtifact\n"
        "class Deadly(BentoServiceArtifact):\n"
        "    def pack(self, model, metadata=None):\n        return self\n"
        "    def save(self, dst):\n"
        "        open(os.path.join(dst, 'half'), 'w').close()\n"
        "        if len(sys.argv) > 1:\n            os.kill(os.getpid(), signal.SIGKILL)\n"
        "@bentoml.artifacts([Deadly('model')])\n"
        "class Killed(bentoml.BentoService):\n"
        "    @bentoml.api(input=JsonInput())\n"
        "    def predict(self, value):\n        return value\n"
        "Killed().pack('model', 1).save(version='v1')\n"
    )
    (tmp_path / "script.py").write_text(script)
    run_python("script.py", "die", expect=-signal.SIGKILL)
    repository = home / "bentoml" / "repository" / "Killed"
    assert [path.name for path in repository.iterdir()] == [".staging"]
    assert len(run_python("-m", "bentoml", "list").stdout.splitlines()) == 1

    run_python("script.py")
    assert [path.name for path in repository.iterdir()] == ["v1"]
    assert (repository / "v1" / "bentoml.yml").is_file()
