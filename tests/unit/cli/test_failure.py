from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest

from dosirak import errors
from dosirak.cli import app, failure
from dosirak.errors import DosirakError, FieldProblem, InvalidInput


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch):
    """Make `dosirak fail` raise what the test says."""

    def install(error: BaseException) -> None:
        @click.command("fail")
        @click.option("-o", "--output")
        def fail(output: str | None) -> None:
            raise error

        monkeypatch.setattr(app.command, "get_command", lambda ctx, name: fail)

    return install


def _classes(kind: type[DosirakError] = DosirakError) -> list[type[DosirakError]]:
    # Foreign doors derive names of their own, and are there once another test has opened one.
    own = [below for below in kind.__subclasses__() if below.__module__ == errors.__name__]
    return [kind, *(found for below in own for found in _classes(below))]


@pytest.mark.parametrize("kind", _classes(), ids=lambda kind: kind.__name__)
def test_each_kind_of_error_ends_with_its_own_exit_code(
    kind: type[DosirakError], failing, capsys: pytest.CaptureFixture[str]
) -> None:
    failing(kind("It did not work.", remedy="Try something else."))
    assert failure.run(["fail"]) == kind.exit_code
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == "error: It did not work.\n  Try something else.\n"


def test_an_error_shows_each_field_and_no_traceback(
    failing, capsys: pytest.CaptureFixture[str]
) -> None:
    problems = [FieldProblem("flowers[2]", "Expected a number."), FieldProblem("", "Too long.")]
    failing(InvalidInput("The input does not fit.", fields=problems))
    failure.run(["fail"])
    assert capsys.readouterr().err.splitlines() == [
        "error: The input does not fit.",
        "  flowers[2]: Expected a number.",
        "  (body): Too long.",
    ]


def test_a_field_that_the_message_has_told_is_not_told_again(
    failing, capsys: pytest.CaptureFixture[str]
) -> None:
    problem = FieldProblem("flowers", "expected a table")
    failing(
        InvalidInput("The input is not valid at 'flowers': expected a table.", fields=[problem])
    )
    failure.run(["fail"])
    assert capsys.readouterr().err.count("expected a table") == 1


@pytest.mark.parametrize(
    "words", [["-o", "json"], ["-ojson"], ["--output", "json"], ["--output=json"]]
)
def test_an_error_is_json_where_the_answer_would_have_been(
    words: list[str], failing, capsys: pytest.CaptureFixture[str]
) -> None:
    failing(errors.ModelNotFound("There is no model 'iris'.", remedy="Save one."))
    assert failure.run(["fail", *words]) == 3
    assert json.loads(capsys.readouterr().err) == {
        "error": "There is no model 'iris'.",
        "code": "model_not_found",
        "remedy": "Save one.",
        "fields": [],
        "exit_code": 3,
    }


def test_a_usage_error_is_json_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert failure.run(["lunch", "-o", "json"]) == 2
    assert json.loads(capsys.readouterr().err)["code"] == "usage"


@pytest.mark.parametrize("words", [[], ["-o"], ["-o", "yaml"], ["json"], ["--output", "table"]])
def test_json_is_not_seen_where_it_was_not_asked_for(words: list[str]) -> None:
    assert not failure.wants_json(words)


def test_an_unforeseen_error_is_one_line_and_leaves_its_traceback_in_a_private_file(
    failing, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOSIRAK_HOME", str(tmp_path))
    failing(ZeroDivisionError("on\nlines"))
    assert failure.run(["fail"]) == 1
    line, remedy = capsys.readouterr().err.splitlines()
    assert line == "error: Something unexpected failed: ZeroDivisionError: on lines"
    (log,) = (tmp_path / "logs").iterdir()
    assert str(log) in remedy
    assert log.stat().st_mode & 0o777 == 0o600
    assert "Traceback" in log.read_text()


def test_an_unforeseen_error_where_no_log_can_be_kept_says_how_to_see_it(
    failing, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    monkeypatch.setenv("DOSIRAK_HOME", str(blocked))
    failing(ZeroDivisionError())
    assert failure.run(["fail"]) == 1
    assert "DOSIRAK_DEBUG=1" in capsys.readouterr().err


def test_the_traceback_is_shown_on_demand(
    failing, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOSIRAK_DEBUG", "1")
    failing(errors.NotFound("Nothing."))
    assert failure.run(["fail"]) == 3
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("interruption", [KeyboardInterrupt(), click.Abort()])
def test_an_interrupt_ends_as_shells_count(interruption: BaseException, failing) -> None:
    failing(interruption)
    assert failure.run(["fail"]) == 130


def test_ctrl_c_ends_the_process_without_a_traceback() -> None:
    program = (
        "import sys, time\n"
        "from dosirak.cli import app, main\n"
        "import click\n"
        "@click.command()\n"
        "def wait():\n"
        "    print('waiting', flush=True)\n"
        "    time.sleep(60)\n"
        "app.command.get_command = lambda ctx, name: wait\n"
        "main(['wait'])\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    process.send_signal(signal.SIGINT)
    _, written = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in written


def test_a_reader_that_goes_away_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    process = subprocess.run(
        [sys.executable, "-c", "from dosirak.cli import main; main()", "--help"],
        stdout=writer, stderr=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    os.close(writer)
    assert process.stderr == ""
    assert process.returncode != 0


def _run_in_shell(words: str, home: Path) -> subprocess.CompletedProcess[str]:
    """Run `dosirak` with redirections that only a shell can make."""
    return subprocess.run(
        ["bash", "-c", f"'{sys.executable}' -m dosirak {words}"],
        env={**os.environ, "DOSIRAK_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
def test_closed_standard_streams_do_no_harm(closed: str, tmp_path: Path) -> None:
    assert _run_in_shell(f"models list {closed}", tmp_path).returncode == 0
    served = _run_in_shell(f"serve nothing_called_so {closed}", tmp_path)
    assert served.returncode == 3
    assert not (tmp_path / "logs").exists()


def test_an_output_that_is_full_is_a_full_disk(tmp_path: Path) -> None:
    finished = _run_in_shell("models list -o json > /dev/full", tmp_path)
    assert finished.returncode == errors.StorageFull.exit_code
    assert json.loads(finished.stderr)["code"] == errors.StorageFull.code


def test_a_reader_that_leaves_early_is_a_broken_pipe(tmp_path: Path) -> None:
    finished = _run_in_shell("models list -o json | true; echo ${PIPESTATUS[0]}", tmp_path)
    # Whether `true` has left when the answer is written is chance; what is never so is an error.
    assert finished.stdout.strip() in ("0", "141")
    assert finished.stderr == ""


@pytest.mark.parametrize("group", ["models", "bundles"])
def test_a_group_without_a_command_shows_its_help(
    group: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert failure.run([group]) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith(f"Usage: dosirak {group} [OPTIONS] COMMAND")
    assert "\nCommands:\n" in shown.err
