"""F-42 on real file systems: a tiny one that fills up, and one mounted read only."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from operations import save

from dosirak.errors import StorageError, StorageFull
from dosirak.store import Store
from dosirak.store.archive import export_archive, import_archive

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")

SIZE = 4 << 20


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "tiny"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=0700", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def free(place: Path) -> int:
    found = os.statvfs(place)
    return found.f_bavail * found.f_frsize


def test_a_full_disk_is_said_with_need_and_free_space_and_harms_nothing(tiny, tmp_path):
    store = Store(tiny / "store")
    first = save(store, "iris", "1", {"weights": "w" * 1_000_000})
    space = free(tiny)
    for _ in range(3):
        with pytest.raises(StorageFull, match=r"needs at least [\d,]+ bytes and [\d,]+ bytes is"):
            save(store, "iris", "2", {"weights": "v" * 5_000_000})
        assert free(tiny) == space  # nothing was left behind
    assert [entry.version for entry in store.entries("models")] == ["1"]
    store.verify(first.digest)
    save(store, "iris", "2", {"weights": "v" * 1_000_000})
    assert store.resolve("models", "iris").version == "2"


def test_saving_until_the_disk_is_full_keeps_every_save_that_succeeded(tiny):
    store = Store(tiny / "store")
    kept = []
    with pytest.raises(StorageFull):
        for number in range(1000):
            kept.append(save(store, "iris", None, {"weights": f"{number:08}" * 16_000}))
    assert len(kept) > 10
    assert [entry.digest for entry in store.entries("models")][::-1] == [e.digest for e in kept]
    for entry in kept:
        store.verify(entry.digest)
    store.delete("models", kept[0].reference)  # works on a full disk
    store.collect_garbage()
    save(store, "iris", None, {"weights": "x" * 100_000})


def test_an_import_that_cannot_fit_is_refused_before_it_writes(tiny, tmp_path):
    source = Store(tmp_path / "source")
    entry = save(source, "iris", "1", {"weights": "w" * 6_000_000})
    export_archive(source, entry, tmp_path / "iris.tar")
    store = Store(tiny / "store")
    with pytest.raises(StorageFull, match="6,000,000 bytes"):
        import_archive(store, tmp_path / "iris.tar")
    with pytest.raises(StorageFull, match="6,000,000 bytes"):
        export_archive(source, entry, tiny / "iris.tar")
    with pytest.raises(StorageFull, match="6,000,000 bytes"):
        source.checkout(entry.digest, tiny / "out")
    assert not list(tiny.glob("*iris*")) and not list(tiny.glob("*out*"))


def test_a_read_only_store_can_be_listed_and_loaded_but_not_written(tiny):
    store = Store(tiny / "store")
    entry = save(store, "iris", "1", {"weights": "w" * 1000})
    subprocess.run(["mount", "-o", "remount,ro", tiny], check=True)
    assert store.entries("models") == (entry,)
    with store.view(entry.digest) as directory:
        assert (directory / "weights").read_text() == "w" * 1000
    store.verify(entry.digest)
    with pytest.raises(StorageError, match="Read-only"):
        save(store, "iris", "2", {"weights": "v"})
    with pytest.raises(StorageError, match="Read-only"):
        store.delete("models", "iris:1")
