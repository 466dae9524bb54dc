"""What `import dosirak` and `dosirak --help` load: little, and none of what is heavy.

The budget is 2× of `python -c pass` plus 150 ms. A list of modules holds it on every machine; the
processor time, which a busy machine inflates too, is marked slow.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {
    "asyncio", "catboost", "httpx2", "lightgbm", "msgspec", "multiprocessing", "numpy", "onnx",
    "onnxruntime", "pandas", "PIL", "polars", "pyarrow", "pydantic", "rich", "sklearn", "ssl",
    "starlette", "torch", "uvicorn", "uvloop", "xgboost", "yaml",
}  # fmt: skip
# The only third-party packages that the command line may load before it knows its command.
ALLOWED_THIRD_PARTY = {
    "import dosirak": set[str](),
    "dosirak --help": {"click"},
    "dosirak --version": {"click"},
}
PROGRAMS = {
    "import dosirak": "import dosirak",
    "dosirak --help": "from dosirak.cli.failure import run; run(['--help'])",
    "dosirak --version": "from dosirak.cli.failure import run; run(['--version'])",
}
REPORT = """
import contextlib, io, json, sys
before = set(sys.modules)
with contextlib.redirect_stdout(io.StringIO()):
    {program}
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT / "src")}


def _imported_by(program: str) -> set[str]:
    # -I would hide the sources; -S is no use either: the editable install may be what is measured.
    command = [sys.executable, "-c", REPORT.format(program=program)]
    done = subprocess.run(command, env=_environment(), capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


@pytest.mark.parametrize("what", PROGRAMS)
def test_loads_nothing_heavy_and_no_third_party_package_off_the_list(what: str) -> None:
    top_level = {name.partition(".")[0] for name in _imported_by(PROGRAMS[what])}
    assert top_level & HEAVY == set()
    third_party = top_level - set(sys.stdlib_module_names) - {"dosirak"}
    assert third_party <= ALLOWED_THIRD_PARTY[what]


def test_help_loads_no_implementation() -> None:
    loaded = {
        name
        for name in _imported_by(PROGRAMS["dosirak --help"])
        if name.partition(".")[0] == "dosirak"
    }
    assert loaded <= {
        "dosirak",
        "dosirak.cli",
        "dosirak.cli.app",
        "dosirak.cli.failure",
        "dosirak.cli.render",
        "dosirak.errors",
        "dosirak.settings",
    }


@pytest.mark.parametrize(
    ("module", "not_needed"),
    [
        ("dosirak.serving.worker", {"click", "rich", "starlette", "uvicorn", "pathspec", "httpx2"}),
        ("dosirak.cli.serve", {"rich", "pathspec", "httpx2", "yaml"}),
    ],
)
def test_serving_loads_no_library_for_anything_else(module: str, not_needed: set[str]) -> None:
    loaded = _imported_by(f"import {module}")
    assert {name.partition(".")[0] for name in loaded} & not_needed == set()
    assert not {"dosirak.bundles.building", "dosirak.bundles.sealing"} & loaded


def test_the_report_would_see_a_heavy_import() -> None:
    assert "yaml" in _imported_by("import yaml")


@pytest.mark.slow
@pytest.mark.parametrize("what", PROGRAMS)
def test_costs_at_most_twice_an_empty_program_plus_150_ms(what: str) -> None:
    empty_s = min(_cpu_s("pass") for _ in range(10))
    assert min(_cpu_s(PROGRAMS[what]) for _ in range(10)) <= 2 * empty_s + 0.150


def _cpu_s(program: str) -> float:
    """The processor time of a program: what it costs however busy the machine is."""
    process = subprocess.Popen(
        [sys.executable, "-c", program], env=_environment(), stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_utime + usage.ru_stime
