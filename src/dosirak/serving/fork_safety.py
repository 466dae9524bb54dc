"""Whether a process that has imported a service may be forked, and if not, why.

A fork has the calling thread only: locks that other threads hold stay locked for ever, and
libraries that count on their threads, a GPU or a connection wait for what is not there or share
what cannot be shared. So the process is looked at after the import. Threads of two libraries are no
obstacle: OpenBLAS ends its own before a fork and starts them again after it; jemalloc, which comes
with pyarrow and so with pandas, takes its locks for a fork, and its child needs no thread.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

# They warn, fail or hang in a fork, whether they have begun a thread yet or not.
UNSAFE_LIBRARIES = ("grpc", "jax", "mpi4py", "ray", "tensorflow")
# Those behind which are BLAS, OpenMP or a pool of threads of their own.
BOUND_LIBRARIES = (
    "catboost",
    "lightgbm",
    "numexpr",
    "numpy",
    "onnxruntime",
    "polars",
    "tensorflow",
    "tokenizers",
    "torch",
    "xgboost",
)
# Of libraries that expect to be forked (ADR 0010).
_FORKED_THREADS = frozenset({"jemalloc_bg_thd"})
_PROCESS = Path("/proc/self")
# What a fork would share with its parent and its siblings: connections, event loops, GPUs.
_UNSHARABLE = {
    "socket:": "an open connection",
    "anon_inode:[eventpoll]": "an event loop",
    "anon_inode:[io_uring]": "an event loop",
    "/dev/nvidia": "a GPU",
    "/dev/kfd": "a GPU",
}


def has_bound_libraries() -> bool:
    """Whether a library was imported that reads its number of threads once, when it is loaded."""
    return any(library in sys.modules for library in BOUND_LIBRARIES)


def reason_not_to_fork(own: Iterable[int]) -> str:
    """Say why this process should not be forked; empty when it may be.

    Args:
        own: descriptors that are known and no obstacle.
    """
    if not sys.platform.startswith("linux"):
        return "this system cannot fork safely"
    return next(_reasons(frozenset(own)), "")


def _reasons(own: frozenset[int]) -> Iterator[str]:
    for library in UNSAFE_LIBRARIES:
        if library in sys.modules:
            yield f"it imports {library}"
    if _has_initialised_cuda():
        yield "it uses a GPU when it is imported"
    threads = _other_threads()
    if threads:
        many = "threads" if len(threads) > 1 else "thread"
        yield f"it has {len(threads)} more {many} when it is imported ({', '.join(threads)})"
    for what in _held(own):
        yield f"it holds {what} when it is imported"


def _has_initialised_cuda() -> bool:
    cuda = sys.modules.get("torch.cuda")
    return cuda is not None and bool(cuda.is_initialized())


def _other_threads() -> list[str]:
    """Return the names of the threads that a fork would miss."""
    python = {thread.native_id: thread.name for thread in threading.enumerate()}
    main = os.getpid()
    names: list[str] = []
    for task in (_PROCESS / "task").iterdir():
        number = int(task.name)
        try:
            name = python.get(number) or (task / "comm").read_text().strip()
        except OSError:
            continue  # It has just ended.
        if number != main and name not in _FORKED_THREADS:
            names.append(name)
    # OpenBLAS does not name its own; they have the name of the process, as other libraries' may.
    unnamed = (_PROCESS / "comm").read_text().strip()
    for _ in range(min(names.count(unnamed), _openblas_threads()) if unnamed in names else 0):
        names.remove(unnamed)
    return sorted(names)


def _openblas_threads() -> int:
    """Return how many of this process's threads OpenBLAS says are its own."""
    try:
        # Only where there are threads without a name; the core does not need it.
        from threadpoolctl import threadpool_info  # noqa: PLC0415
    except ImportError:
        return 0
    return sum(
        pool["num_threads"] - 1
        for pool in threadpool_info()
        if pool["internal_api"] == "openblas" and pool.get("threading_layer") == "pthreads"
    )


def _held(own: frozenset[int]) -> Iterator[str]:
    for path in (_PROCESS / "fd").iterdir():
        if int(path.name) in own:
            continue
        try:
            target = str(path.readlink())
        except OSError:
            continue  # The one that lists them.
        for beginning, what in _UNSHARABLE.items():
            if target.startswith(beginning):
                yield what
