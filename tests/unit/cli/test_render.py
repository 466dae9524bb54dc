from __future__ import annotations

import io
import json
import sys
from datetime import UTC, datetime

import pytest
import yaml

from dosirak.cli import render
from dosirak.cli.render import Column

_DAYS = [datetime(2026, 1, day, tzinfo=UTC) for day in (2, 3)]
ROWS = [
    {"name": "iris", "size_bytes": 1536, "labels": {"team": "a"}, "at": _DAYS[0]},
    {"name": "[red]wine[/red]", "size_bytes": 5, "labels": {}, "at": _DAYS[1]},
]
COLUMNS = (
    Column("name", "NAME"),
    Column("size_bytes", "SIZE", render.size),
    Column("labels", "LABELS", render.pairs),
)


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_table_in_a_pipe_is_plain_columns_with_whole_values(
    capsys: pytest.CaptureFixture[str],
) -> None:
    long = "x" * 300
    render.records([*ROWS, {"name": long, "size_bytes": 0, "labels": {}}], COLUMNS, "table")
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    lines = [line.split() for line in shown.splitlines()]
    assert lines[0] == ["NAME", "SIZE", "LABELS"]
    assert lines[1] == ["iris", "1.5", "KiB", "team=a"]
    assert lines[3][0] == long


def test_markup_in_a_value_is_shown_not_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    render.records(ROWS, COLUMNS, "table")
    assert "[red]wine[/red]" in capsys.readouterr().out


def test_json_and_yaml_hold_everything(capsys: pytest.CaptureFixture[str]) -> None:
    expected = [
        {**ROWS[0], "at": "2026-01-02T00:00:00+00:00"},
        {**ROWS[1], "at": "2026-01-03T00:00:00+00:00"},
    ]
    render.records(ROWS, COLUMNS, "json")
    assert json.loads(capsys.readouterr().out) == expected
    render.records(ROWS, COLUMNS, "yaml")
    assert yaml.safe_load(capsys.readouterr().out) == expected


def test_nothing_found_is_an_empty_list_for_programs_and_a_word_for_people(
    capsys: pytest.CaptureFixture[str],
) -> None:
    render.records([], COLUMNS, "json")
    assert json.loads(capsys.readouterr().out) == []
    render.records([], COLUMNS, "table")
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "None.\n")


def test_one_record_is_a_line_for_each_value(capsys: pytest.CaptureFixture[str]) -> None:
    render.record({"name": "iris", "labels": {}, "models": ["a:1", "b:2"], "sealed": True}, "table")
    lines = [
        line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines() if line.strip()
    ]
    assert lines == [["name", "iris"], ["labels", "–"], ["models", "a:1, b:2"], ["sealed", "true"]]


@pytest.mark.parametrize(("variable", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_colour_is_left_out_on_demand(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    terminal = _Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    render.success("Done.")
    assert "\x1b[32m" in terminal.getvalue()
    monkeypatch.setenv(variable, value)
    plain = _Terminal()
    monkeypatch.setattr(sys, "stderr", plain)
    render.success("Done.")
    assert plain.getvalue() == "✓ Done.\n"


def test_a_table_on_a_terminal_has_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    terminal = _Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    render.records(ROWS, COLUMNS, "table")
    assert "\x1b[" in terminal.getvalue()


def test_progress_says_nothing_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    with render.progress("Working"):
        pass
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (3 << 20, "3.0 MiB"), (5 << 40, "5.0 TiB")],
)
def test_sizes_read_well(size_bytes: int, text: str) -> None:
    assert render.size(size_bytes) == text


def test_a_long_list_is_read_line_by_line_and_a_short_one_on_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    render.record({"few": ["a", "b"], "many": [f"x{n}" for n in range(7)]}, "table")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split(maxsplit=1) == ["few", "a, b"]
    assert [line.split()[-1] for line in lines[1:]] == [f"x{n}" for n in range(7)]


def test_what_lies_within_a_value_is_named_by_its_way() -> None:
    value = {"git": {"commit": "abc", "dirty": False}, "none": {}, "python": "3.11"}
    assert render.pairs(value) == "git.commit=abc, git.dirty=false, none=–, python=3.11"
