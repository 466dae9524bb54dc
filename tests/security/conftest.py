"""A store, an honest archive, and ways to make a dishonest one from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from dosirak.store import Entry, Store
from dosirak.store.archive import export_archive


@pytest.fixture
def entry(tmp_path: Path) -> Entry:
    with (store := Store(tmp_path / "source")).writing() as transaction:
        (transaction.directory / "model").mkdir()
        (transaction.directory / "model" / "weights.bin").write_bytes(b"w" * 2000)
        (transaction.directory / "about.txt").write_text("about")
        files = [file.describe() for file in transaction.add_tree(transaction.directory)]
        entry = transaction.commit("models", "iris", "1", {"files": files})
    export_archive(store, entry, tmp_path / "honest.tar")
    return entry


@pytest.fixture
def honest(entry: Entry, tmp_path: Path) -> Path:
    return tmp_path / "honest.tar"


@pytest.fixture
def target(tmp_path: Path) -> Store:
    """A store with something in it, so that all its folders are there."""
    with (store := Store(tmp_path / "target")).writing() as transaction:
        (transaction.directory / "a").write_bytes(b"a")
        files = [file.describe() for file in transaction.add_tree(transaction.directory)]
        transaction.commit("models", "mine", "1", {"files": files})
    return store
