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
            "it has 1 more thread when it is imported (Thread-1 (wait))",
        ),
        (
            f"{THREAD}\n{THREAD}",
            "it has 2 more threads when it is imported (Thread-1 (wait), Thread-2 (wait))",
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
    code = "import numpy"
    assert _reason(code, OPENBLAS_NUM_THREADS="2") == ""
    assert "1 more thread " in _reason("import numpy\n" + THREAD, OPENBLAS_NUM_THREADS="1")


# Small pieces keep jemalloc's own thread busy: what is freed is given back to the system by it.
FORKING = """
import os, threading
import numpy as np, pandas as pd, pyarrow as pa, pyarrow.compute as pc

def work():
    for pool in {p.backend_name: p for p in (pa.default_memory_pool(), *jemalloc())}.values():
        for size in (1000, 200_000):
            numbers = pa.array(np.arange(size)[::-1], memory_pool=pool)
            taken = pc.take(numbers, pc.sort_indices(numbers), memory_pool=pool)
            assert taken[0].as_py() == 0
    frame = pd.DataFrame({"a": range(5000), "b": [f"{n % 7}" for n in range(5000)]})
    table = pa.Table.from_pandas(frame).group_by("b").aggregate([("a", "sum")])
    assert table.num_rows == 7

def jemalloc():
    try:
        pool = pa.jemalloc_memory_pool()
        pa.jemalloc_set_decay_ms(0 if os.getpid() % 2 else 10)
        return [pool]
    except NotImplementedError:
        return []

def child():
    pid = os.fork()
    if pid == 0:
        work()
        # A child forks in turn when it is what workers are forked from.
        os._exit(os.waitstatus_to_exitcode(os.waitpid(grandchild(), 0)[1]))
    return pid

def grandchild():
    pid = os.fork()
    if pid == 0:
        work()
        os._exit(0)
    return pid
"""
FORKS = """
from dosirak.serving.fork_safety import reason_not_to_fork
print(reason_not_to_fork({0, 1, 2}), end="")
for round in range(3):
    children = [child() for _ in range(4)]
    # The first use of Arrow's own threads is here, after the forks of the first round.
    pool = [pa.allocate_buffer(1 << n) for n in range(6, 22)]
    del pool
    for pid in children:
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
"""


def test_what_imports_pandas_is_forked_and_all_allocate_on() -> None:
    pytest.importorskip("pyarrow")
    done = subprocess.run(
        [sys.executable, "-c", FORKING + FORKS],
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
