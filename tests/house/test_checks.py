"""Style, types and layers, run by the same runner as everything else: one line says it all."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = Path(sys.executable).parent


def _run(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    # The tools of this environment, and these sources before any installed copy of them.
    environment = os.environ | {
        "PATH": f"{SCRIPTS}{os.pathsep}{os.environ.get('PATH', '')}",
        "PYTHONPATH": str(cwd / "src"),
    }
    return subprocess.run(
        arguments, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(("ruff", "check", "--quiet", "."), id="ruff-check"),
        pytest.param(("ruff", "format", "--check", "--quiet", "."), id="ruff-format"),
        pytest.param(("lint-imports", "--no-cache"), id="import-linter"),
        pytest.param(
            ("pyright", "--pythonpath", sys.executable),
            id="pyright-strict",
            marks=pytest.mark.timeout(900),
        ),
    ],
)
def test_the_sources_pass(command: tuple[str, ...]) -> None:
    done = _run(*command)
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_import_that_points_up_would_break_the_layers(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "src", tmp_path / "src")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    naming = tmp_path / "src" / "dosirak" / "naming.py"
    naming.write_text(naming.read_text() + "\nimport dosirak.cli.app\n")
    done = _run("lint-imports", "--no-cache", cwd=tmp_path)
    assert done.returncode != 0
    assert "dosirak.naming -> dosirak.cli.app" in done.stdout


def test_the_makefile_parses_and_its_help_names_every_target() -> None:
    shown = _run("make", "--no-print-directory", "help").stdout
    documented = {line.split()[0] for line in shown.splitlines() if line.strip()}
    wanted = {"quickstart", "test", "test-slow", "lint", "fix", "docs-check", "bench"}
    assert documented >= wanted
    for target in sorted(documented):
        done = _run("make", "--dry-run", target)
        assert done.returncode == 0, done.stderr


def test_each_recipe_is_at_most_three_lines() -> None:
    recipes: dict[str, int] = {}
    target = ""
    for line in (ROOT / "Makefile").read_text().splitlines():
        if line.startswith("\t"):
            recipes[target] += 1
        elif ":" in line and not line.startswith((".", "#")):
            target = line.split(":")[0]
            recipes.setdefault(target, 0)
    assert {name: lines for name, lines in recipes.items() if lines > 3} == {}


@pytest.mark.parametrize("script", ["scripts/setup", "scripts/lock", ".ci/run"])
def test_shell_scripts_parse_and_may_be_run(script: str) -> None:
    path = ROOT / script
    assert os.access(path, os.X_OK)
    assert _run("bash", "-n", str(path)).returncode == 0


def test_constraints_name_versions_and_no_registry() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line.split(";")[0].strip() for line in lines if not line.startswith("#")]
    assert pins
    assert [pin for pin in pins if "==" not in pin or "://" in pin or pin.startswith("-")] == []
