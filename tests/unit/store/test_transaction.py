from __future__ import annotations

import os
from pathlib import Path

import pytest

from dosirak.errors import UsageError


def test_only_the_transactions_own_folder_is_taken(store, tmp_path):
    (tmp_path / "mine").mkdir()
    with store.writing() as transaction, pytest.raises(UsageError, match="own folder"):
        transaction.add_tree(tmp_path / "mine")


def test_links_and_devices_are_refused_by_name(store, tmp_path):
    with store.writing() as transaction:
        (transaction.directory / "link").symlink_to("/etc/passwd")
        with pytest.raises(UsageError, match="'link' is neither"):
            transaction.add_tree(transaction.directory)
    with store.writing() as transaction:
        os.mkfifo(transaction.directory / "pipe")
        with pytest.raises(UsageError, match="'pipe' is neither"):
            transaction.add_tree(transaction.directory)


def test_a_folder_behind_a_link_is_not_taken(store, tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("x")
    with store.writing() as transaction:
        (transaction.directory / "link").symlink_to(tmp_path / "outside")
        with pytest.raises(UsageError):
            transaction.add_tree(transaction.directory / "link")


@pytest.mark.parametrize("name", ["a\\b", "new\nline", "dot.", "blank ", "co:lon"])
def test_names_that_cannot_travel_are_refused(store, name):
    with store.writing() as transaction:
        (transaction.directory / name).write_text("x")
        with pytest.raises(UsageError, match="cannot travel"):
            transaction.add_tree(transaction.directory)


def test_a_file_with_another_name_outside_cannot_change_what_was_saved(store, tmp_path):
    outside = tmp_path / "outside.bin"
    outside.write_bytes(b"before")
    with store.writing() as transaction:
        os.link(outside, transaction.directory / "weights.bin")
        (file,) = transaction.add_tree(transaction.directory)
        entry = transaction.commit("models", "iris", None, {"files": [file.describe()]})
    outside.write_bytes(b"after!")
    store.verify(entry.digest)
    assert outside.stat().st_nlink == 1


def test_nothing_is_left_of_a_transaction_without_commit(store):
    with store.writing() as transaction:
        (transaction.directory / "a").write_bytes(b"a")
        transaction.add_tree(transaction.directory)
    assert not [path for path in store.root.rglob("*") if path.is_file()]


def test_two_equal_files_become_one_blob(store, save):
    entry = save(files={"a": b"same", "b": b"same"})
    with store.view(entry.digest) as directory:
        assert (directory / "a").samefile(directory / "b")


def test_a_damaged_blob_is_healed_by_saving_its_content_again(store, save):
    entry = save("iris", "1", {"a": b"sound"})
    (blob,) = (path for path in (store.root / "blobs").rglob("*") if path.is_file())
    blob.chmod(0o600)
    blob.write_bytes(b"bound")
    save("other", "1", {"a": b"sound"})
    store.verify(entry.digest)


@pytest.mark.parametrize(
    "manifest",
    [
        {},
        {"files": {}},
        {"files": [{"path": "a"}]},
        {"files": [], "requires": ["x"]},
        {"files": [], "number": float("nan")},
        {"files": [], "thing": object()},
        {"files": [], "path": Path("x")},
    ],
)
def test_what_is_no_manifest_is_refused(store, manifest):
    with store.writing() as transaction, pytest.raises(UsageError, match="manifest"):
        transaction.commit("models", "iris", None, manifest)
