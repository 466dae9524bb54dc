"""Where a bundle came from: git where there is git, and silence where there is not."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from dosirak import bundles
from dosirak.bundles.provenance import git_state, provenance
from dosirak.store import Store


def git(directory: Path, *arguments: str) -> None:
    subprocess.run(
        ["git", "-c", "user.name=A", "-c", "user.email=a@b.example", *arguments],
        cwd=directory,
        check=True,
        capture_output=True,
    )


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "repository"
    root.mkdir()
    git(root, "init", "-b", "trunk")
    (root / "service.py").write_text("x = 1\n")
    git(root, "add", ".")
    git(root, "commit", "-m", "one")
    return root


def test_a_clean_repository_names_commit_and_branch(repository: Path) -> None:
    state = git_state(repository)
    assert state is not None
    assert len(state["commit"]) == 40
    assert state["branch"] == "trunk"
    assert state["dirty"] is False


def test_a_change_or_a_new_file_makes_it_dirty(repository: Path) -> None:
    (repository / "new.py").touch()
    state = git_state(repository)
    assert state is not None
    assert state["dirty"] is True


def test_no_repository_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    assert git_state(tmp_path) is None
    assert "git" not in provenance(tmp_path)


def test_no_git_is_no_error(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(repository))
    assert git_state(repository) is None


def test_a_repository_cannot_make_us_run_its_programs(repository: Path) -> None:
    canary = repository.parent / "canary"
    script = repository.parent / "monitor.sh"
    script.write_text(f"#!/bin/sh\ntouch {canary}\n")
    script.chmod(0o755)
    git(repository, "config", "core.fsmonitor", str(script))
    git_state(repository)
    assert not canary.exists()


def test_it_names_no_person_and_no_path(repository: Path) -> None:
    text = str(provenance(repository))
    assert str(repository) not in text
    assert os.uname().nodename not in text
    assert set(provenance(repository)) == {"built_at", "dosirak", "python", "platform", "git"}


def test_provenance_is_read_in_one_order_when_built_and_when_found(
    repository: Path, store: Store
) -> None:
    (repository / "service.py").write_text(
        "import dosirak\n@dosirak.service\ndef echo(value: int) -> int:\n    return value\n"
    )
    built = bundles.build(repository, store=store)
    found = bundles.get(built.reference, store=store)
    for bundle in (built, found):
        assert list(bundle.provenance) == ["built_at", "git", "dosirak", "python", "platform"]
        assert list(bundle.provenance["git"]) == ["commit", "branch", "dirty"]
