"""Runs the documents: each Python, shell and TOML block of README.md and docs/ is a test.

The blocks of one document run in order, in a folder and a store of their own. A block whose first
line is `# name.py` (or another file name) is written to that file instead of being run. A shell
line that begins with `dosirak serve` (or `bentoml serve`) is left running until the next one or the
end; the port 3000 of the text stands for a free one, and so do the platform's 8800 and 8801. A
platform that a document has started is stopped, replicas and all, at its end.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import SkipTest

import pytest
from hypothesis import HealthCheck, settings
from sybil import Example, Sybil
from sybil.evaluators.python import PythonEvaluator
from sybil.integration.pytest import SybilItem
from sybil.parsers.markdown import CodeBlockParser, SkipParser

ROOT = Path(__file__).resolve().parent
FILE_NAME = re.compile(r"# ([\w.-]+/)*[\w-]+\.(py|toml|txt)$")
SPOKEN_PORT = "3000"
SPOKEN_PLATFORM_PORTS = ("8800", "8801")
READY_TIMEOUT_S = 120.0
# Threads of several processes that wait for each other by spinning take the CPUs from the work.
for _threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_threads, "1")
# Files are given to test processes whole: the long ones first, or the last one runs alone.
LONG_FILES = (
    "tests/examples/",
    "tests/house/test_checks",
    "docs/",
    "README",
    "tests/compat/test_programs",
)

# A check that a change must pass draws the same examples every time, and no slow machine fails it.
# `make test-slow` draws others, DOSIRAK_PROPERTIES of them for each property.
_KNOWN = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("same", derandomize=True, database=None, **_KNOWN)
settings.register_profile(
    "other",
    max_examples=int(os.environ.get("DOSIRAK_PROPERTIES", "1000")),
    **_KNOWN,
)
settings.load_profile("other" if "DOSIRAK_PROPERTIES" in os.environ else "same")


class Stage:
    """Where one document is acted out."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="dosirak-document-"))
        self.port = _free_port()
        self.platform_ports = (_free_port(), _free_port())
        self.servers: list[subprocess.Popen[bytes]] = []
        self._directory = Path.cwd()
        self._environment = dict(os.environ)
        self._path = list(sys.path)
        self._modules = set(sys.modules)

    def open(self) -> None:
        os.chdir(self.folder)
        sys.path[:0] = [str(self.folder), str(ROOT / "packages/bentoml/src")]
        scripts = Path(sys.executable).parent
        os.environ.update(
            DOSIRAK_HOME=str(self.folder / ".dosirak"),
            PATH=f"{scripts}{os.pathsep}{os.environ['PATH']}",
            PYTHONPATH=os.pathsep.join([str(ROOT / "src"), str(ROOT / "packages/bentoml/src")]),
            DOSIRAK_PORT=str(self.port),
            NO_COLOR="1",
        )
        router, control = self.platform_ports
        settings = self._platform / "settings.json"
        settings.parent.mkdir(parents=True)
        settings.write_text(f'{{"port": {router}, "control_port": {control}}}')

    @property
    def _platform(self) -> Path:
        return self.folder / ".dosirak" / "platform"

    def close(self) -> None:
        if (self._platform / "control.lock").exists():
            _run_bash(["dosirak platform stop --all"])
        for server in self.servers:
            server.send_signal(signal.SIGTERM)
        for server in self.servers:
            server.wait(READY_TIMEOUT_S)
        os.chdir(self._directory)
        sys.path[:] = self._path
        for name in set(sys.modules) - self._modules:
            file = getattr(sys.modules[name], "__file__", None) or ""
            if file.startswith(str(self.folder)):
                del sys.modules[name]
        os.environ.clear()
        os.environ.update(self._environment)

    def spoken(self, text: str) -> str:
        platform = zip(SPOKEN_PLATFORM_PORTS, self.platform_ports, strict=True)
        ports = {SPOKEN_PORT: self.port, **dict(platform)}
        return re.sub(rf"\b({'|'.join(ports)})\b", lambda found: str(ports[found[0]]), text)

    def serve(self, line: str) -> None:
        self.end_servers()
        log = self.folder / "serve.log"
        with log.open("wb") as output:
            command = shlex.split(line, comments=True)
            server = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        self.servers.append(server)
        deadline = time.monotonic() + READY_TIMEOUT_S
        while not _answers(f"http://127.0.0.1:{self.port}/readyz"):
            if server.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"`{line}` did not become ready:\n{log.read_text()}")
            time.sleep(0.1)

    def end_servers(self) -> None:
        while self.servers:
            server = self.servers.pop()
            server.send_signal(signal.SIGTERM)
            assert server.wait(READY_TIMEOUT_S) == 0, "the server did not stop cleanly"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _written(example: Example) -> bool:
    """Write the block to the file that its first line names, if it names one."""
    first, _, _ = str(example.parsed).partition("\n")
    if not FILE_NAME.fullmatch(first.strip()):
        return False
    path = Path.cwd() / first.strip().removeprefix("# ")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(str(example.parsed), encoding="utf-8")
    return True


def _run_python(example: Example) -> None:
    if _written(example):
        return
    stage: Stage = example.namespace["_stage"]
    example.parsed = type(example.parsed)(
        stage.spoken(example.parsed), example.parsed.offset, example.parsed.line_offset
    )
    PythonEvaluator()(example)


def _run_shell(example: Example) -> None:
    if "curl" in example.parsed and shutil.which("curl") is None:
        raise SkipTest("curl is not installed")
    stage: Stage = example.namespace["_stage"]
    script = [line for line in stage.spoken(str(example.parsed)).splitlines() if line.strip()]
    pending: list[str] = []
    for line in script:
        if line.startswith(("dosirak serve", "bentoml serve")):
            _run_bash(pending)
            pending = []
            stage.serve(line)
        else:
            pending.append(line)
    _run_bash(pending)


def _run_bash(lines: list[str]) -> None:
    if not lines:
        return
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(lines)],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{lines}\n{done.stdout}{done.stderr}"


def _write_file(example: Example) -> None:
    assert _written(example), "a TOML block must begin with `# name.toml`"


def _setup(namespace: dict[str, Any]) -> None:
    namespace["_stage"] = stage = Stage()
    stage.open()


def _teardown(namespace: dict[str, Any]) -> None:
    namespace["_stage"].close()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put long files first; give a block of a document, which may train and serve, more time."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONG_FILES))
    for item in items:
        if isinstance(item, SybilItem):
            item.add_marker(pytest.mark.timeout(3 * READY_TIMEOUT_S))


pytest_collect_file: Callable[..., Any] = Sybil(
    parsers=[
        SkipParser(),
        CodeBlockParser("python", _run_python),
        CodeBlockParser("bash", _run_shell),
        CodeBlockParser("toml", _write_file),
    ],
    patterns=["README.md", "docs/**/*.md"],
    setup=_setup,
    teardown=_teardown,
).pytest()
