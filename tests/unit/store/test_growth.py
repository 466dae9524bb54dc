"""Saving and finding cost the same however many versions there are: counted, not timed."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import sys
from pathlib import Path
from dosirak.naming import Reference
from dosirak.store import Entry, Store
from dosirak.store.record import encode_record

touched = []
def watch(event, arguments):
    if event in ("open", "os.listdir", "os.scandir") and "references" in str(arguments[0]):
        touched.append(arguments[0])
sys.addaudithook(watch)

store = Store(Path(sys.argv[1]))

def save(number):
    with store.writing() as transaction:
        (transaction.directory / "a").write_text(str(number))
        files = [file.describe() for file in transaction.add_tree(transaction.directory)]
        return transaction.commit("models", "iris", None, {"files": files})

def cost(operation):
    touched.clear()
    operation()
    return len(touched)

def costs():
    entry = save("first")
    return [
        cost(lambda: save("second")),
        cost(lambda: store.resolve("models", "iris")),
        cost(lambda: store.resolve("models", entry.reference)),
        cost(lambda: store.delete("models", entry.reference)),
    ]

few = costs()
old = store.resolve("models", "iris")
for number in range(3000):
    reference = Reference("iris", f"v{number}")
    entry = Entry("models", reference, old.digest, number * 1000)
    (store.root / "references/models/iris" / reference.version).write_bytes(encode_record(entry))
many = costs()
assert few == many, (few, many)
assert cost(lambda: store.entries("models")) > 3000  # the watch sees what it should
"""


def test_save_get_and_delete_touch_as_many_records_at_3000_versions_as_at_two(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, tmp_path / "store"], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
