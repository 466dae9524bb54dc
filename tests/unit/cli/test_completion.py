from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete
from sklearn.linear_model import LinearRegression

from dosirak import bundles, models
from dosirak.cli import app
from dosirak.cli.failure import run


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_prints_a_script_for_the_shell(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert "_DOSIRAK_COMPLETE" in script
    assert "dosirak" in script


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_the_script_is_one_that_bash_can_read(capsys: pytest.CaptureFixture[str]) -> None:
    run(["completion", "bash"])
    script = capsys.readouterr().out
    assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0


def test_the_shell_s_question_is_answered() -> None:
    environment = os.environ | {
        "_DOSIRAK_COMPLETE": "bash_complete",
        "COMP_WORDS": "dosirak mod",
        "COMP_CWORD": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", "from dosirak.cli import main; main()"],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.split() == ["plain,models"]


def test_an_unknown_shell_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["completion", "tcsh"]) == 2
    assert "'tcsh' is not one of" in capsys.readouterr().err


def _offered(command: click.Command, words: list[str], incomplete: str) -> list[tuple[str, str]]:
    question = ShellComplete(command, {}, "dosirak", "_DOSIRAK_COMPLETE")
    return [(item.value, item.type) for item in question.get_completions(words, incomplete)]


@pytest.fixture
def stored(tmp_path: Path) -> None:
    directory = tmp_path / "greeting"
    directory.mkdir()
    (directory / "completed_service.py").write_text(
        "import dosirak\n\n@dosirak.service\nclass Greeter:\n"
        "    @dosirak.api\n    def greet(self, name: str) -> str:\n        return name\n"
    )
    bundles.build(directory, target="completed_service:Greeter", version="1")
    models.save("grove", LinearRegression().fit([[0.0], [1.0]], [0, 1]), version="2")


@pytest.mark.parametrize(
    ("words", "incomplete", "offered"),
    [
        (["serve"], "gr", {"greeter", "greeter:1", "grove", "grove:2"}),
        (["run"], "greeter:", {"greeter:1"}),
        (["run", "greeter"], "", {"greet"}),
        (["run", "grove"], "pre", {"predict"}),
        (["run", "nothing"], "", set()),
        (["run", "../x.py"], "", set()),
        (["models", "get"], "g", {"grove", "grove:2"}),
        (["models", "delete", "grove:2"], "gro", {"grove", "grove:2"}),
        (["bundles", "get"], "", {"greeter", "greeter:1"}),
        (["bundles", "list"], "gro", set()),
    ],
    ids=lambda value: " ".join(sorted(value)) or "nothing",
)
def test_what_is_in_the_store_completes(
    stored: None, words: list[str], incomplete: str, offered: set[str]
) -> None:
    assert {value for value, _ in _offered(app.command, words, incomplete)} == offered


def test_a_target_that_is_not_in_the_store_completes_as_a_file() -> None:
    assert _offered(app.command, ["serve"], "ser") == [("ser", "file")]


def test_a_store_that_cannot_be_read_completes_nothing(home: Path) -> None:
    home.write_text("not a directory")
    assert _offered(app.command, ["models", "get"], "") == []
