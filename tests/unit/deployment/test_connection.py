"""The way to a control plane: who only looks starts none."""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path

import pytest

from dosirak import deployment
from dosirak.cli.failure import run
from dosirak.deployment.connection import URL_VARIABLE, connect
from dosirak.deployment.control.process import ControlRecord, write_record
from dosirak.deployment.paths import PlatformPaths
from dosirak.errors import Unavailable


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PlatformPaths:
    """A home whose platform does not run."""
    monkeypatch.delenv(URL_VARIABLE, raising=False)
    monkeypatch.setenv("DOSIRAK_HOME", str(tmp_path))
    return PlatformPaths(tmp_path)


@pytest.mark.parametrize(
    "words",
    [
        "deployment list", "deployment get iris", "deployment history iris",
        "deployment events iris", "deployment logs iris", "tokens list", "secrets list",
        "audit list", "audit verify",
    ],
)  # fmt: skip
def test_who_only_looks_starts_no_platform(
    paths: PlatformPaths, capsys: pytest.CaptureFixture[str], words: str
) -> None:
    assert run(words.split()) == Unavailable.exit_code
    told = capsys.readouterr().err
    assert "The platform does not run." in told
    assert "dosirak platform start" in told
    assert not paths.root.exists()


def test_from_python_it_is_the_same(paths: PlatformPaths) -> None:
    with pytest.raises(Unavailable, match="does not run"):
        deployment.list()
    with pytest.raises(Unavailable, match="does not run"):
        deployment.get("iris")
    assert not paths.root.exists()


def test_one_that_is_just_starting_is_waited_for(paths: PlatformPaths) -> None:
    paths.root.mkdir(parents=True)
    with paths.control_lock.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        record = ControlRecord("http://127.0.0.1:9", os.getpid(), 1.0, "0")
        timer = threading.Timer(0.2, write_record, (paths, record))
        timer.start()
        with connect(start=False) as client:
            assert client.url == record.url
        timer.join()
