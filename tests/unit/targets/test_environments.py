"""A Python for each bundle, made by uv without any index."""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dosirak import bundles
from dosirak.errors import MissingDependency
from dosirak.store import Store
from dosirak.targets import environments
from dosirak.targets.environments import Environments, Wanted, leads_astray

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"
WANTED = Wanted(("tinydep==2.0",), HERE)


def _wheel(folder: Path, version: str) -> None:
    """Write the smallest wheel there is."""
    files = {
        "tinydep.py": f"VERSION = '{version}'\n",
        f"tinydep-{version}.dist-info/METADATA": (
            f"Metadata-Version: 2.1\nName: tinydep\nVersion: {version}\n"
        ),
        f"tinydep-{version}.dist-info/WHEEL": (
            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        ),
    }
    record = "".join(f"{name},sha256={_digest(text)},{len(text)}\n" for name, text in files.items())
    name = f"tinydep-{version}.dist-info/RECORD"
    with zipfile.ZipFile(folder / f"tinydep-{version}-py3-none-any.whl", "w") as wheel:
        for path, text in {**files, name: f"{record}{name},,\n"}.items():
            wheel.writestr(path, text)


def _digest(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


@pytest.fixture(autouse=True)
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let uv find wheels in a folder, and nowhere else."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    for version in ("1.0", "2.0"):
        _wheel(folder, version)
    monkeypatch.setenv("UV_FIND_LINKS", str(folder))
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("UV_NO_CONFIG", "1")
    return folder


@pytest.fixture
def made(tmp_path: Path) -> Environments:
    return Environments(tmp_path / "environments", own=())


def _said(python: Path, code: str) -> str:
    ran = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, check=True)
    return ran.stdout.strip()


def test_one_that_the_running_environment_satisfies_is_not_made(made: Environments) -> None:
    version = importlib.metadata.version("click")
    chosen = made.ready(Wanted((f"click=={version}", "dosirak==99.0"), HERE))

    assert chosen is not None
    assert (chosen.python, chosen.isolated) == (Path(sys.executable), False)


def test_one_is_made_once_with_what_is_asked_for_and_nothing_else(
    made: Environments, capfd: pytest.CaptureFixture[str]
) -> None:
    assert made.ready(WANTED) is None
    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(made.make, [WANTED, WANTED])

    assert first == second == made.ready(WANTED)
    assert first.isolated
    assert capfd.readouterr().err.count("tinydep==2.0 is needed") == 1
    code = "import tinydep, importlib.util as u; print(tinydep.VERSION, u.find_spec('click'))"
    assert _said(first.python, code) == "2.0 None"
    other = made.make(Wanted(("tinydep==1.0",), HERE))
    assert _said(other.python, "import tinydep; print(tinydep.VERSION)") == "1.0"


def test_what_is_installed_from_a_directory_is_linked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "site-packages"
    metadata = here / "localdist-1.0.dist-info"
    metadata.mkdir(parents=True)
    (here / "localdist.py").write_text("NAME = 'local'\n")
    (metadata / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: localdist\nVersion: 1.0\nRequires-Dist: tinydep>=1\n"
        "Requires-Dist: nowhere; extra == 'more'\n"
    )
    (metadata / "RECORD").write_text(
        "localdist.py,,\nlocaldist-1.0.dist-info/METADATA,,\n../../bin/localdist,,\n"
    )
    monkeypatch.syspath_prepend(str(here))
    made = Environments(tmp_path / "environments", own=("localdist",))

    chosen = made.make(Wanted(("localdist==1.0", "tinydep==1.0"), HERE))

    code = "import localdist, tinydep; from importlib.metadata import version as v;"
    code += "print(localdist.NAME, tinydep.VERSION, v('localdist'))"
    assert _said(chosen.python, code) == "local 1.0 1.0"


def test_what_cannot_be_installed_is_said_with_uvs_own_words(made: Environments) -> None:
    with pytest.raises(MissingDependency, match=r"tinydep==3\.0") as failed:
        made.make(Wanted(("tinydep==3.0",), HERE))

    assert "exit code 1" in failed.value.message
    assert made.ready(Wanted(("tinydep==3.0",), HERE)) is None


def test_what_was_left_half_made_is_made_anew(made: Environments, tmp_path: Path) -> None:
    first = made.make(WANTED)
    place = first.python.parents[1]
    place.rename(place.with_name(f".{place.name}.new"))

    assert made.make(WANTED) == first
    assert not list((tmp_path / "environments").glob(".*.new"))


def test_without_uv_the_remedy_is_the_extra(
    made: Environments, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environments, "find_spec", lambda _name: None)
    with pytest.raises(MissingDependency, match="dosirak\\[platform\\]"):
        made.make(WANTED)


def test_a_bundle_says_what_it_wants(tmp_path: Path) -> None:
    (tmp_path / "service.py").write_text(
        "import dosirak\n@dosirak.service\nclass Tiny:\n"
        "    @dosirak.api\n    def one(self) -> int:\n        return 1\n"
    )
    store = Store(tmp_path / "store")
    bundle = bundles.build(tmp_path, store=store, name="tiny")

    wanted = Wanted.of_bundle(store, f"sha256:{bundle.id}")

    assert wanted == Wanted(tuple(bundle.requirements), bundle.python)
    assert wanted == Wanted.of_bundle(store, bundle.id)


def test_an_environment_of_its_own_is_not_led_to_the_running_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/somewhere/else")
    assert "PYTHONPATH" in leads_astray()
    monkeypatch.setenv("PYTHONPATH", str(Path(environments.__file__).parents[2]))
    assert "PYTHONPATH" not in leads_astray()
