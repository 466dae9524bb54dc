"""Whether a process may be forked, asked in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

ASK = """
import sys
{code}
from dosirak.serving.fork_safety import reason_not_to_fork
print(reason_not_to_fork({{0, 1, 2}}), end="")
"""
THREAD = "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()"
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux forks")


def _reason(code: str, **variables: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", ASK.format(code=code)],
        env={**os.environ, **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("", ""),
        (
            THREAD,
            "it has 1 more threads when it is imported",
        ),
        ("import socket\nkept = socket.socket()", "it holds an open connection"),
        ("import asyncio\nkept = asyncio.new_event_loop()", "it holds an "),
        ("import types\nsys.modules['grpc'] = types.ModuleType('grpc')", "it imports grpc"),
        (
            "import types\ncuda = sys.modules['torch.cuda'] = types.ModuleType('torch.cuda')\n"
            "cuda.is_initialized = lambda: True",
            "it uses a GPU",
        ),
    ],
)
def test_what_a_fork_would_break_is_a_reason(code: str, reason: str) -> None:
    found = _reason(code)
    assert found.startswith(reason)
    assert bool(found) == bool(reason)


def test_threads_of_openblas_are_none() -> None:
    pytest.importorskip("numpy")
    pytest.importorskip("threadpoolctl")
    code = "import numpy, threadpoolctl"
    assert _reason(code, OPENBLAS_NUM_THREADS="2") == ""
    assert "more threads" in _reason("import numpy\n" + THREAD, OPENBLAS_NUM_THREADS="1")
