"""A save may put a fresh blob in the place of an equal one while somebody opens it."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

from operations import save

from dosirak.store import Store


def test_a_view_opens_while_its_blobs_are_being_replaced(tmp_path: Path):
    """A link to a file that is just being replaced fails as if the file were missing."""
    store = Store(tmp_path / "store")
    entry = save(store, "iris", "1", {"weights": "w" * 100})
    (digest,) = (file["sha256"] for file in store.manifest(entry.digest)["files"])
    blob = store.root / "blobs/sha256" / digest[:2] / digest
    over = threading.Event()

    def replace() -> None:
        while not over.is_set():
            shutil.copy(blob, tmp_path / "copy")
            (tmp_path / "copy").replace(blob)

    replacing = threading.Thread(target=replace)
    replacing.start()
    try:
        for _ in range(1000):
            with store.view(entry.digest) as directory:
                assert (directory / "weights").read_text() == "w" * 100
    finally:
        over.set()
        replacing.join()
