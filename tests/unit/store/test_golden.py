"""Formats never change by accident: a store reads what this version wrote, and writes the same."""

from __future__ import annotations

import subprocess
from pathlib import Path

from dosirak.naming import Reference
from dosirak.store import Store
from dosirak.store.archive import export_archive, import_archive

ARCHIVE = Path(__file__).parent / "golden" / "archive-1.tar"
MODEL = "3c957212f6ce779e6dfd76b2c85ae77d9c2427463ef76f65269830438b18ab19"
BUNDLE = "f8d89fde89bef7e2be84ca5780e3c17accea8ae1c5e02c1ff0a58fbacad7efc0"


def test_the_golden_archive_is_read_and_written_again_bit_for_bit(store: Store, tmp_path: Path):
    entry = import_archive(store, ARCHIVE)
    assert entry.digest == BUNDLE
    assert entry.reference == Reference("app", "20261122-171523-482913")
    assert set(store.closure(BUNDLE)) == {BUNDLE, MODEL}
    assert store.manifest(MODEL)["metadata"]["größe"] == [1, None, True, 1e22, 0.0]
    assert (entry.labels, entry.provenance) == (
        {"team": "küche"},
        {"commit": "abc", "dirty": False},
    )
    place = store.checkout(BUNDLE, tmp_path / "place")
    assert (place / "src" / "ä.py").read_text() == "x = 1\n"
    assert (place / "run.sh").stat().st_mode & 0o111
    again = export_archive(store, entry, tmp_path / "again.tar")
    assert again.read_bytes() == ARCHIVE.read_bytes()


def test_any_tar_lists_the_golden_archive():
    done = subprocess.run(["tar", "tf", ARCHIVE], capture_output=True, text=True, check=True)
    names = done.stdout.split()
    assert names[:3] == [
        "dosirak-archive.json",
        f"manifests/sha256/{BUNDLE}",
        f"manifests/sha256/{MODEL}",
    ]
    assert all(name.startswith("blobs/sha256/") for name in names[3:]) and len(names) == 7
