"""A real store in a folder of its own, and a short way to save into it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dosirak.store import Entry, Kind, Store

Saver = Callable[..., Entry]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def save(store: Store) -> Saver:
    def save_files(
        name: str = "iris",
        version: str | None = None,
        files: dict[str, bytes] | None = None,
        *,
        kind: Kind = "models",
        into: Store = store,
        said: dict[str, Any] | None = None,
        **record: Any,
    ) -> Entry:
        with into.writing() as transaction:
            for path, data in (files or {"weights.bin": b"weights"}).items():
                target = transaction.directory / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(data)
            entries = transaction.add_tree(transaction.directory)
            manifest = {**(said or {}), "files": [entry.describe() for entry in entries]}
            return transaction.commit(kind, name, version, manifest, **record)

    return save_files
