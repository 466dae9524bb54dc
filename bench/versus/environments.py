"""Virtual environments of the peers and tools, made from PyPI the first time they are needed."""

from __future__ import annotations

import os
import subprocess
import venv
from pathlib import Path

HOME = Path(os.environ.get("VERSUS_ENVIRONMENTS", Path(__file__).parent / ".environments"))


def python_with(name: str, requirements: tuple[str, ...]) -> Path:
    """Return the interpreter of an environment that has what is required."""
    home = HOME / name
    python = home / "bin" / "python"
    complete, wanted = home / "complete", " ".join(requirements)
    if not python.exists():
        venv.create(home, with_pip=True)
    if not complete.exists() or complete.read_text() != wanted:
        output_of(python, "-m", "pip", "install", "-q", *requirements)
        complete.write_text(wanted)
    return python


def output_of(*command: object, cwd: Path | None = None) -> str:
    """Return what a command prints."""
    return subprocess.run(
        [str(part) for part in command], check=True, capture_output=True, text=True, cwd=cwd
    ).stdout
