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


BROKEN = """
import warnings
from pathlib import Path
import greeting_framework
from dosirak.errors import MissingDependency
from dosirak.models.framework import detect_framework, framework

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    found = detect_framework(greeting_framework.Greeting("Hello"))
assert found is greeting_framework, found
assert {str(one.message).split("'")[1] for one in caught} == {"absent", "broken"}, caught
for name in ("absent", "broken"):
    try:
        framework(name)
    except MissingDependency as error:
        assert "Repair or uninstall the distribution 'broken-framework'" in error.remedy
        print(error.message)
"""


def distribution(site: Path, name: str, entry_points: str) -> None:
    information = site / f"{name.replace('-', '_')}-1.0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(f"[dosirak.frameworks]\n{entry_points}")


def run(site: Path, script: str, *arguments: str) -> str:
    code = f"import sys; sys.path.insert(0, {str(site)!r})\n{script}"
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip()


def test_a_framework_is_added_by_an_entry_point(tmp_path: Path) -> None:
    site, directory = tmp_path / "site", tmp_path / "model"
    distribution(site, "greeting-framework", "greeting = greeting_framework\n")
    (site / "greeting_framework.py").write_text(MODULE)
    directory.mkdir()
    assert run(site, SCRIPT, str(directory)) == "Hello, world!"


def test_a_broken_framework_stops_no_other_and_is_named(tmp_path: Path) -> None:
    site = tmp_path / "site"
    distribution(site, "greeting-framework", "greeting = greeting_framework\n")
    distribution(site, "broken-framework", "absent = absent_framework\nbroken = broken_framework\n")
    (site / "greeting_framework.py").write_text(MODULE)
    (site / "broken_framework.py").write_text("raise RuntimeError('out of order')\n")
    told = run(site, BROKEN)
    assert "The framework 'absent' cannot be imported: No module named" in told
    assert "The framework 'broken' cannot be imported: RuntimeError: out of order." in told
