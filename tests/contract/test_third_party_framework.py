"""A third party adds a framework by entry point alone: no file of dosirak's changes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

MODULE = '''
"""Saves a greeting."""
from dosirak.models.framework import ModelMethod, SavedFormat

NAME = "greeting"

class Greeting:
    def __init__(self, word):
        self.word = word

def detect(model):
    return isinstance(model, Greeting)

def save(model, directory, *, options):
    (directory / "word.txt").write_text(model.word)
    return SavedFormat("text", library_versions={"greeting-framework": "1.0"})

def load(directory, saved):
    return Greeting((directory / "word.txt").read_text())

def methods(model):
    return (ModelMethod("greet", "name", str, str, batchable=False),)

def call(model, method, value):
    return f"{model.word}, {value}!"

def requirements(saved):
    return ("greeting-framework==1.0",)
'''

SCRIPT = """
import sys
from pathlib import Path
from dosirak.models.framework import detect_framework, framework, framework_names
import greeting_framework

assert "greeting" in framework_names() and framework_names()[-1] == "pickle"
model = greeting_framework.Greeting("Hello")
found = detect_framework(model)
assert found is framework("greeting") is greeting_framework
saved = found.save(model, Path(sys.argv[1]), options={})
loaded = found.load(Path(sys.argv[1]), saved)
print(found.call(loaded, found.methods(loaded)[0].name, "world"))
"""


def test_a_framework_is_added_by_an_entry_point(tmp_path: Path) -> None:
    site, directory = tmp_path / "site", tmp_path / "model"
    information = site / "greeting_framework-1.0.dist-info"
    information.mkdir(parents=True)
    directory.mkdir()
    (site / "greeting_framework.py").write_text(MODULE)
    (information / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: greeting-framework\nVersion: 1.0\n"
    )
    (information / "entry_points.txt").write_text(
        "[dosirak.frameworks]\ngreeting = greeting_framework\n"
    )
    code = f"import sys; sys.path.insert(0, {str(site)!r})\n{SCRIPT}"
    done = subprocess.run(
        [sys.executable, "-c", code, str(directory)], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "Hello, world!", done.stderr[-2000:]
