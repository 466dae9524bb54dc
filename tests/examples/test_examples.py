"""Every example runs as its README says, and prints what its README shows."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import dosirak

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted(path for path in (ROOT / "examples").iterdir() if path.is_dir())
SERVED = [path for path in EXAMPLES if path.name != "01_quickstart"]
DOSIRAK = [sys.executable, "-m", "dosirak"]
PRINTS = re.compile(r"prints:\n\n```text\n(.*?)```", re.DOTALL)


def _environment(home: Path) -> dict[str, str]:
    return os.environ | {
        "DOSIRAK_HOME": str(home),
        "PYTHONPATH": str(ROOT / "src"),
        "NO_COLOR": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


@contextmanager
def _served(directory: Path, home: Path) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = home / "serve.log"
    with log.open("w") as output:
        server = subprocess.Popen(
            [*DOSIRAK, "serve", "service.py", "--port", str(port)],
            cwd=directory, env=_environment(home), stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.send_signal(signal.SIGTERM)
        code = server.wait(timeout=60)
    assert code == 0, log.read_text()


@pytest.mark.parametrize("directory", SERVED, ids=lambda path: path.name)
def test_the_example_prints_what_its_page_shows(directory: Path, tmp_path: Path) -> None:
    expected = PRINTS.search((directory / "README.md").read_text(encoding="utf-8"))
    assert expected is not None, "its README does not show what it prints"
    with _served(directory, tmp_path) as url:
        done = subprocess.run(
            [sys.executable, "client.py", url],
            cwd=directory, env=_environment(tmp_path), capture_output=True, text=True, check=False,
        )  # fmt: skip
    log = (tmp_path / "serve.log").read_text()
    assert done.returncode == 0, done.stdout + done.stderr + log
    assert done.stdout == expected[1]


CURL = re.compile(r"^curl .*$", re.MULTILINE)
SHOWS_CURL = [path for path in SERVED if CURL.search((path / "README.md").read_text("utf-8"))]


@pytest.mark.parametrize("directory", SHOWS_CURL, ids=lambda path: path.name)
def test_the_curl_lines_of_its_page_are_answered(directory: Path, tmp_path: Path) -> None:
    lines = CURL.findall((directory / "README.md").read_text(encoding="utf-8"))
    with _served(directory, tmp_path) as url:
        with dosirak.SyncHTTPClient(url) as client:
            client.wait_until_ready(timeout_s=90)
        for line in lines:
            command = shlex.split(line.replace("http://127.0.0.1:3000", url))
            done = subprocess.run([*command, "--fail", "--silent"], check=False)
            assert done.returncode == 0, line


@pytest.mark.timeout(600)
@pytest.mark.parametrize("times", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_the_quickstart_runs_and_leaves_only_its_store(tmp_path: Path, times: int) -> None:
    pytest.importorskip("sklearn")
    pytest.importorskip("xgboost")
    directory = ROOT / "examples" / "01_quickstart"
    before = set((ROOT / "examples").rglob("*"))
    for _ in range(times):
        done = subprocess.run(
            [sys.executable, str(directory / "run.py")],
            cwd=tmp_path, env=_environment(tmp_path / "home"), capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        assert "client.predict(measurements=<4 rows>) → ndarray" in done.stdout
        assert "the server ended with exit code 0" in done.stdout
        assert str(tmp_path / "home") in done.stdout
    assert {path.name for path in tmp_path.iterdir()} == {"home"}
    after = {path for path in (ROOT / "examples").rglob("*") if "__pycache__" not in path.parts}
    assert after - before == set()


@pytest.mark.parametrize("directory", EXAMPLES, ids=lambda path: path.name)
def test_the_example_is_short_and_explained(directory: Path) -> None:
    assert (directory / "README.md").is_file()
    if directory in SERVED:
        lines = sum(
            len(path.read_text(encoding="utf-8").splitlines()) for path in directory.glob("*.py")
        )
        assert 10 <= lines <= 60


def test_the_list_of_examples_is_complete() -> None:
    page = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
    assert [path.name for path in EXAMPLES if f"({path.name}/README.md)" not in page] == []
