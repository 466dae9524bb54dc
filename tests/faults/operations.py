"""What the fault sweeps interrupt: a server that forks one child for each operation.

A request is one JSON line: {"operation", "root", …}. The server answers with the child's pid, the
child waits for one more line (so that a tracer can attach first), works, and ends without cleaning
up after itself; the server answers with its wait status. Forking keeps a run at a few
milliseconds, and gives every child the same sequence of system calls.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dosirak_tally import Tally

from dosirak import models
from dosirak.errors import DosirakError, StorageError, StorageFull
from dosirak.models.framework import framework
from dosirak.store import Store
from dosirak.store.archive import export_archive, import_archive
from dosirak.store.entry import Entry

framework("tally")  # found once, before any child is made
DONE, FULL, FAILED, REFUSED, BROKEN = 0, 10, 11, 12, 13


def save(store: Store, name: str, version: str | None, files: dict[str, str]) -> Entry:
    """Save a small tree."""
    with store.writing() as transaction:
        for path, text in files.items():
            target = transaction.directory / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        entries = transaction.add_tree(transaction.directory)
        manifest = {"files": [entry.describe() for entry in entries]}
        return transaction.commit("models", name, version, manifest)


def _save(store: Store, request: dict[str, Any]) -> None:
    save(store, request["name"], request.get("version"), request["files"])


def _save_model(store: Store, request: dict[str, Any]) -> None:
    models.save(
        request["name"],
        Tally([1, 2, 3]),
        framework="tally",
        version=request["version"],
        metadata={"purpose": "faults"},
        examples=[[1, 1, 1], [2, 0, 0]],
        store=store,
    )


def _import(store: Store, request: dict[str, Any]) -> None:
    import_archive(store, Path(request["archive"]))


def _export(store: Store, request: dict[str, Any]) -> None:
    entry = store.resolve("models", request["reference"])
    export_archive(store, entry, Path(request["archive"]))


def _checkout(store: Store, request: dict[str, Any]) -> None:
    entry = store.resolve("models", request["reference"])
    store.checkout(entry.digest, Path(request["directory"]))


def _load(store: Store, request: dict[str, Any]) -> None:
    entry = store.resolve("models", request["reference"])
    with store.view(entry.digest) as directory:
        for path in sorted(directory.rglob("*")):
            if path.is_file():
                path.read_bytes()


def _delete(store: Store, request: dict[str, Any]) -> None:
    store.delete("models", request["reference"])


def _collect(store: Store, request: dict[str, Any]) -> None:
    store.collect_garbage()


OPERATIONS: dict[str, Callable[[Store, dict[str, Any]], None]] = {
    "save": _save,
    "save_model": _save_model,
    "import": _import,
    "export": _export,
    "checkout": _checkout,
    "load": _load,
    "delete": _delete,
    "collect": _collect,
}


def _outcome(request: dict[str, Any]) -> int:
    try:
        OPERATIONS[request["operation"]](Store(Path(request["root"])), request)
    except StorageFull:
        return FULL
    except StorageError:
        return FAILED
    except DosirakError:
        return REFUSED
    except BaseException:
        import traceback

        traceback.print_exc()
        return BROKEN
    return DONE


def _line() -> str:
    """Read one line unbuffered, so that parent and child take theirs in turn."""
    read = bytearray()
    while (byte := os.read(0, 1)) not in (b"\n", b""):
        read += byte
    return read.decode()


def _answer(value: int) -> None:
    os.write(1, f"{value}\n".encode())


def main() -> None:
    while text := _line():
        request = json.loads(text)
        child = os.fork()
        if child == 0:
            _line()
            os._exit(_outcome(request))
        _answer(child)
        _answer(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    sys.exit(main())
