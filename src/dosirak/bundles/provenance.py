"""Where a bundle came from: the commit, whether it was clean, and with what it was built.

Kept in the store's record beside the bundle, never in its manifest: the same content built twice
has two provenances and one id. It names no person and no path.
"""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dosirak.bundles.distributions import InstalledDistributions

_GIT_TIMEOUT_S = 20.0
# A repository may name programs to run; none of them runs for a question.
_GIT = ("git", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null")


def provenance(directory: Path | None) -> dict[str, Any]:
    """Return what is known of the origin of a bundle, as JSON values.

    Args:
        directory: where its source stands; None when it has none.
    """
    installed = InstalledDistributions().get("dosirak")
    known: dict[str, Any] = {
        "built_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "dosirak": installed.version if installed else "",
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
    }
    git = git_state(directory) if directory is not None else None
    return {**known, "git": git} if git is not None else known


def git_state(directory: Path) -> dict[str, Any] | None:
    """Return the commit, branch and dirtiness of a directory; None when git cannot tell."""
    commit = _git(directory, "rev-parse", "--verify", "HEAD")
    if commit is None:
        return None
    branch = _git(directory, "symbolic-ref", "--short", "--quiet", "HEAD")
    changes = _git(directory, "status", "--porcelain", "--untracked-files=normal", "--", ".")
    return {"commit": commit, "branch": branch or "", "dirty": bool(changes)}


def _git(directory: Path, *arguments: str) -> str | None:
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith("GIT_")
    } | {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            [*_GIT, "-C", str(directory), *arguments],
            capture_output=True,
            check=True,
            env=environment,
            stdin=subprocess.DEVNULL,
            timeout=_GIT_TIMEOUT_S,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("utf-8", errors="replace").strip()
