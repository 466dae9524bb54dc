from __future__ import annotations

import errno
import os
import resource
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from dosirak.errors import (
    AlreadyExists,
    BundleNotFound,
    CorruptContent,
    InvalidName,
    ModelNotFound,
    StorageFull,
    UsageError,
)
from dosirak.store import Store, default_store

FILES = {"model/weights.bin": b"w" * 3_000_000, "model/empty": b"", "about.txt": b"about"}


def tree(directory: Path) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


def test_a_store_makes_nothing_until_the_first_write(tmp_path, save):
    store = Store(tmp_path / "deep" / "store")
    assert store.entries("models") == ()
    assert store.collect_garbage().blobs == 0
    with pytest.raises(ModelNotFound):
        store.resolve("models", "iris")
    with pytest.raises(ModelNotFound):
        store.delete("models", "iris:1")
    assert not (tmp_path / "deep").exists()
    save(into=store)
    assert store.root.is_dir()


def test_what_is_saved_is_seen_whole_in_a_view(store, save):
    entry = save(files=FILES)
    with store.view(entry.digest) as directory:
        assert tree(directory) == FILES
    assert not directory.exists()
    with store.view(store.manifest(entry.digest), under="model") as directory:
        assert tree(directory) == {"weights.bin": FILES["model/weights.bin"], "empty": b""}


def test_a_view_copies_no_bytes(store, save):
    entry = save(files=FILES)
    with store.view(entry.digest) as directory:
        for path in directory.rglob("*"):
            assert path.is_dir() or path.stat().st_nlink >= 2


def test_a_checkout_is_an_independent_copy_with_its_executables(store, save, tmp_path):
    with store.writing() as transaction:
        for name, mode in (("run.sh", 0o755), ("data", 0o600)):
            (transaction.directory / name).write_bytes(name.encode())
            (transaction.directory / name).chmod(mode)
        files = transaction.add_tree(transaction.directory)
        manifest = {"files": [file.describe() for file in files]}
        entry = transaction.commit("bundles", "tool", "1", manifest)
    place = store.checkout(entry.digest, tmp_path / "place")
    (place / "data").write_bytes(b"changed")
    assert os.access(place / "run.sh", os.X_OK)
    assert not (place / "data").stat().st_mode & stat.S_IXUSR
    assert tree(store.checkout(entry.digest, tmp_path / "two"))["data"] == b"data"


def test_a_checkout_never_touches_a_folder_that_holds_something(store, save, tmp_path):
    entry = save()
    place = tmp_path / "place"
    place.mkdir()
    store.checkout(entry.digest, place)  # an empty folder is fine
    with pytest.raises(AlreadyExists):
        store.checkout(entry.digest, place)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(AlreadyExists):
        store.checkout(entry.digest, tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_equal_content_is_stored_once_and_has_one_id(store, save):
    first = save("iris", files=FILES, labels={"team": "a"})
    second = save("other", files=FILES, provenance={"commit": "x"})
    assert first.digest == second.digest
    blobs = [path for path in (store.root / "blobs").rglob("*") if path.is_file()]
    assert len(blobs) == len(FILES)


def test_ids_do_not_depend_on_the_place_or_the_time(tmp_path, save):
    ids = {save(into=Store(tmp_path / name), files=FILES).digest for name in ("a", "b")}
    assert len(ids) == 1


def test_an_executable_file_is_other_content(store, save):
    plain = save(files={"run": b"x"}).digest
    with store.writing() as transaction:
        (transaction.directory / "run").write_bytes(b"x")
        (transaction.directory / "run").chmod(0o700)
        (file,) = transaction.add_tree(transaction.directory)
        entry = transaction.commit("models", "iris", None, {"files": [file.describe()]})
    assert file.executable and entry.digest != plain


def test_the_same_version_with_the_same_content_is_no_error(store, save):
    first = save(version="1", files=FILES)
    assert save(version="1", files=FILES, labels={"new": "label"}) == first
    assert len(store.entries("models")) == 1


def test_the_same_version_with_other_content_is_refused(store, save):
    first = save(version="1", files=FILES)
    with pytest.raises(AlreadyExists, match="iris:1"):
        save(version="1", files={"a": b"other"})
    assert store.resolve("models", "iris:1") == first


@pytest.mark.parametrize("reference", ["Iris", "../x", "iris:latest:1", "iris:../1", "", "a:b/c"])
def test_bad_references_are_refused_everywhere(store, save, reference):
    save()
    for operation in (store.resolve, store.delete):
        with pytest.raises(InvalidName):
            operation("models", reference)


def test_a_reference_value_is_checked_like_text(store, save, tmp_path):
    from dosirak.naming import Reference

    (tmp_path / "victim").write_text("x")
    with pytest.raises(InvalidName):
        store.delete("models", Reference("iris", "../../../../victim"))
    assert (tmp_path / "victim").exists()


def test_kinds_are_apart(store, save):
    save("iris", "1", kind="models")
    with pytest.raises(BundleNotFound):
        store.resolve("bundles", "iris:1")
    with pytest.raises(UsageError):
        store.entries("../models")  # type: ignore[arg-type]


def test_labels_provenance_and_origin_come_back(store, save):
    saved = save(labels={"team": "search"}, provenance={"commit": "abc", "dirty": False})
    found = store.resolve("models", "iris")
    assert found == saved
    assert (found.labels, found.origin) == ({"team": "search"}, "local")
    with pytest.raises(UsageError, match="team"):
        save(labels={"team": 3})


def test_files_are_private_whatever_the_umask(tmp_path):
    script = (
        "import os, sys; os.umask(0)\n"
        "from pathlib import Path; from dosirak.store import Store\n"
        "store = Store(Path(sys.argv[1]) / 'a' / 'store')\n"
        "with store.writing() as t:\n"
        "    (t.directory / 'sub').mkdir(); (t.directory / 'sub' / 'f').write_bytes(b'x')\n"
        "    print(oct(t.directory.stat().st_mode & 0o777))\n"
        "    files = [f.describe() for f in t.add_tree(t.directory)]\n"
        "    entry = t.commit('models', 'iris', None, {'files': files})\n"
        "with store.view(entry.digest) as view: print(oct(view.stat().st_mode & 0o777))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["0o700", "0o700"]
    for path in (tmp_path / "a").rglob("*"):
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == 0o700 if path.is_dir() else mode in (0o600, 0o444), path
    blobs = [path for path in (tmp_path / "a").glob("store/blobs/*/*/*") if path.is_file()]
    assert [stat.S_IMODE(path.stat().st_mode) for path in blobs] == [0o444]


def test_errors_of_the_caller_pass_through_a_transaction(store):
    with pytest.raises(FileNotFoundError), store.writing():
        Path("/nonexistent/file").read_text()
    with pytest.raises(KeyError), store.writing():
        raise KeyError("mine")
    assert not list((store.root / "tmp").iterdir())


def test_a_full_disk_in_the_callers_own_writing_is_said(store):
    need = r"at least 5 bytes and [\d,]+ bytes is free"
    with pytest.raises(StorageFull, match=need), store.writing() as transaction:
        (transaction.directory / "half").write_bytes(b"12345")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(StorageFull), store.writing():
        raise RuntimeError(f"SafetensorError: {os.strerror(errno.ENOSPC)} (os error 28)")


def test_a_limit_on_file_sizes_is_said(store, save):
    too_large = OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    with pytest.raises(StorageFull, match="larger than any may be"), store.writing():
        raise too_large
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, before[1]))
    try:
        with pytest.raises(StorageFull, match="larger than any may be"):
            save(files={"large": bytes(1 << 17)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert store.entries("models") == ()
    save(files={"large": bytes(1 << 17)})


def test_a_view_works_on_a_store_that_cannot_be_written(store, save, tmp_path):
    entry = save(files=FILES)
    if os.geteuid() == 0:
        pytest.skip("root writes everywhere; the mount test covers it")
    for path in [store.root, *store.root.rglob("*")]:
        if path.is_dir():
            path.chmod(0o500)
    with store.view(entry.digest) as directory:
        assert tree(directory) == FILES


def test_the_default_store_lies_in_the_home_that_the_environment_names(tmp_path, monkeypatch):
    monkeypatch.setenv("DOSIRAK_HOME", str(tmp_path / "home"))
    assert default_store().root == tmp_path / "home" / "store"


def test_a_manifest_can_require_others_which_then_stay(store, save):
    model = save("iris", "1", files=FILES)
    bundle = save("app", "1", {"code": b"c"}, kind="bundles", said={"requires": [model.digest]})
    store.delete("models", "iris:1")
    assert store.collect_garbage().blobs == 0
    assert set(store.closure(bundle.digest)) == {bundle.digest, model.digest}
    store.verify(bundle.digest)
    store.delete("bundles", "app:1")
    assert store.collect_garbage().manifests == 2


def test_a_manifest_cannot_require_or_name_what_is_not_there(store, save):
    with pytest.raises(CorruptContent, match="missing"):
        save(kind="bundles", said={"requires": ["0" * 64]})
    with store.writing() as transaction, pytest.raises(CorruptContent, match=r"ghost\.bin"):
        file = {"path": "ghost.bin", "size_bytes": 1, "sha256": "1" * 64, "executable": False}
        transaction.commit("models", "iris", None, {"files": [file]})
    assert store.entries("models") == ()
    assert store.entries("bundles") == ()
