from __future__ import annotations

import json
from pathlib import Path

import pytest

from dosirak.deployment.router.files import WatchedFiles
from dosirak.errors import StorageError


def files_in(folder: Path) -> WatchedFiles:
    files = WatchedFiles(folder)
    files.load()
    return files


def test_a_file_is_replaced_only_when_it_changes(tmp_path: Path) -> None:
    files = files_in(tmp_path)
    assert files.write("clusters", {"a": {"name": "a"}}, 1)
    before = (tmp_path / "clusters.json").stat()
    assert not files.write("clusters", {"a": {"name": "a"}}, 2)
    assert (tmp_path / "clusters.json").stat() == before
    assert files.write("clusters", {}, 2)
    assert (tmp_path / "clusters.json").stat().st_ino != before.st_ino
    assert [path.name for path in tmp_path.iterdir()] == ["clusters.json"]


def test_another_control_plane_goes_on_where_one_ended(tmp_path: Path) -> None:
    one = files_in(tmp_path)
    one.write("clusters", {"é": {"name": "é"}}, 7)
    one.write("routes-probe", {"probe": {"name": "probe"}}, 6)
    other = files_in(tmp_path)
    assert (other.newest, other.complete) == (7, 6)
    assert other.word("clusters") == one.word("clusters")
    assert other.held("clusters") == {"é": {"name": "é"}}
    assert not other.write("clusters", {"é": {"name": "é"}}, 8)


def test_a_damaged_file_holds_nothing(tmp_path: Path) -> None:
    one = files_in(tmp_path)
    one.write("clusters", {"a": {"name": "a"}}, 3)
    path = tmp_path / "clusters.json"
    whole = path.read_bytes()
    edited = json.loads(whole)
    edited["resources"][0]["type"] = "EDS"
    for damaged in (b"", whole[:-3], b"[]", b"\xff" + whole, json.dumps(edited).encode()):
        path.write_bytes(damaged)
        assert files_in(tmp_path).held("clusters") == {}
        assert files_in(tmp_path).newest == 0


def test_only_the_owner_reads_them(tmp_path: Path) -> None:
    files_in(tmp_path).write("secrets", {}, 1)
    assert (tmp_path / "secrets.json").stat().st_mode & 0o777 == 0o600


def test_a_disk_that_refuses_leaves_the_old_one(tmp_path: Path) -> None:
    files = files_in(tmp_path)
    files.write("clusters", {}, 1)
    (tmp_path / ".clusters.json.new").mkdir()
    with pytest.raises(StorageError):
        files.write("clusters", {"a": {"name": "a"}}, 2)
    assert files.held("clusters") == files_in(tmp_path).held("clusters") == {}
