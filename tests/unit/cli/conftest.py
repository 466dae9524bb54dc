"""A store of its own for each test, and the command line as a function of words."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dosirak.cli.failure import run


@dataclass(frozen=True)
class Outcome:
    """What one command line did."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        return json.loads(self.out)


Dosirak = Callable[..., Outcome]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "home"
    monkeypatch.setenv("DOSIRAK_HOME", str(directory))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.delenv("DOSIRAK_DEBUG", raising=False)
    return directory


@pytest.fixture
def dosirak(capsys: pytest.CaptureFixture[str]) -> Dosirak:
    def call(*words: str | Path) -> Outcome:
        capsys.readouterr()
        code = run([str(word) for word in words])
        shown = capsys.readouterr()
        return Outcome(code, shown.out, shown.err)

    return call
