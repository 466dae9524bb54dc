"""Homes of their own, and the environment of child processes that `import bentoml`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOOR = ROOT / "packages" / "bentoml" / "src"


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("BENTOML_HOME", str(directory / "bentoml"))
    monkeypatch.setenv("DOSIRAK_HOME", str(directory / "dosirak"))
    return directory


@pytest.fixture
def child_environment(home: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BENTOML")}
    path = os.pathsep.join([str(ROOT / "src"), str(DOOR)])
    return kept | {"HOME": str(home), "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}


Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run_python(child_environment: dict[str, str], tmp_path: Path) -> Run:
    """Run `python ARGUMENTS` in a fresh home and directory."""

    def run(*arguments: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
        ended = subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path,
            env=child_environment,
            capture_output=True,
            text=True,
            timeout=110,
        )
        assert ended.returncode == expect, ended.stdout + ended.stderr
        return ended

    return run
