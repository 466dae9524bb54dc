"""One of many processes at the same store; waits for the start, works, prints what it made.

many.py ROOT START save NAME COUNT | import ARCHIVE | load NAME STOP | collect STOP

Loading and collecting go on until the file STOP appears, and once more after.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from dosirak.errors import CorruptContent, ModelNotFound
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


def rounds(stop: str) -> Iterator[None]:
    """Yield until a file appears, and once more."""
    stopped = False
    while not stopped:
        stopped = Path(stop).exists()
        yield


def load(store: Store, name: str, stop: str) -> None:
    print("seen", sum(look(store, name) for _ in rounds(stop)))


def look(store: Store, name: str) -> bool:
    """Read all of the latest entry, unless it is deleted and collected on the way."""
    try:
        entry = store.resolve("models", name)
    except ModelNotFound:
        return False
    try:
        with store.view(entry.digest) as directory:
            files = {path.name: path.read_text() for path in directory.iterdir()}
        return files.keys() == {"own", "shared"} and files["own"].endswith(files["shared"])
    except CorruptContent:
        try:
            store.resolve("models", entry.reference)
        except ModelNotFound:
            return False
        raise


def collect(store: Store, stop: str) -> None:
    removed = 0
    for _ in rounds(stop):
        removed += store.collect_garbage(wait_s=100).blobs
        time.sleep(0.02)
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
