from __future__ import annotations

import click
import pytest

from dosirak.cli import app
from dosirak.cli.failure import run


def test_help_lists_every_command_with_its_summary(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    shown = capsys.readouterr().out
    for name, lazy in app.COMMANDS.items():
        assert f"  {name}" in shown
        assert lazy.summary in " ".join(shown.split())


@pytest.mark.parametrize("name", app.COMMANDS)
def test_the_table_s_summary_is_the_first_sentence_of_the_command(name: str) -> None:
    context = click.Context(app.command, info_name="dosirak")
    found = app.command.get_command(context, name)
    assert found is not None
    assert found.name == name
    first = (found.help or "").split("\n\n")[0].replace("\n", " ").strip()
    assert first == app.COMMANDS[name].summary


@pytest.mark.parametrize("name", app.COMMANDS)
def test_every_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([name, "--help"]) == 0
    long = capsys.readouterr().out
    assert "Usage: dosirak " + name in long
    assert "-h, --help" in long
    assert run([name, "-h"]) == 0
    assert capsys.readouterr().out == long


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("dosirak 0.")


def test_an_unknown_command_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["lunch"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("error: No such command 'lunch'.\n")
    assert "dosirak --help" in shown.err


@pytest.mark.parametrize("words", [[], ["models"], ["bundles"]])
def test_no_command_at_all_shows_the_help_as_it_is(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(words) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("Usage: dosirak")
    assert "error:" not in shown.err
    assert "Commands:\n" in shown.err


@pytest.mark.parametrize(
    ("words", "meant"), [(["srve"], "serve"), (["model"], "models"), (["models", "lst"], "list")]
)
def test_a_slip_of_the_fingers_is_answered_with_what_was_meant(
    words: list[str], meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(words) == 2
    assert f"Did you mean '{meant}'?" in capsys.readouterr().err


def test_completion_offers_names_and_summaries_without_importing_commands() -> None:
    context = click.Context(app.command, info_name="dosirak")
    offered = {item.value: item.help for item in app.command.shell_complete(context, "b")}
    assert offered == {name: app.COMMANDS[name].summary for name in ("build", "bundles")}
    options = {item.value for item in app.command.shell_complete(context, "--v")}
    assert options == {"--version"}
