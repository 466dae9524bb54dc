"""One of many processes at the same store; waits for the start, works, prints what it made.

many.py ROOT START save NAME COUNT | import ARCHIVE | load NAME SECONDS | collect SECONDS
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from dosirak.errors import ModelNotFound
from dosirak.store import Store
from dosirak.store.archive import import_archive


def save(store: Store, name: str, count: str) -> None:
    for number in range(int(count)):
        with store.writing() as transaction:
            (transaction.directory / "own").write_text(f"{os.getpid()} {number}")
            (transaction.directory / "shared").write_text(str(number))
            files = [file.describe() for file in transaction.add_tree(transaction.directory)]
            entry = transaction.commit("models", name, None, {"files": files})
        print(entry.reference, entry.digest, flush=True)
        if number % 2:
            store.delete("models", entry.reference)
            print("deleted", entry.reference, flush=True)


def bring(store: Store, archive: str) -> None:
    entry = import_archive(store, Path(archive))
    print(entry.reference, entry.digest)


def load(store: Store, name: str, seconds: str) -> None:
    until = time.monotonic() + float(seconds)
    seen = 0
    while time.monotonic() < until:
        try:
            entry = store.resolve("models", name)
        except ModelNotFound:
            continue
        with store.view(entry.digest) as directory:
            seen += sum(len(path.read_bytes()) for path in directory.iterdir()) > 0
    print("seen", seen)


def collect(store: Store, seconds: str) -> None:
    until = time.monotonic() + float(seconds)
    removed = 0
    while time.monotonic() < until:
        removed += store.collect_garbage(wait_s=60).blobs
    print("removed", removed)


def main() -> None:
    root, start, operation, *arguments = sys.argv[1:]
    print("ready", flush=True)
    while not Path(start).exists():
        time.sleep(0.001)
    {"save": save, "import": bring, "load": load, "collect": collect}[operation](
        Store(Path(root)), *arguments
    )


if __name__ == "__main__":
    main()
