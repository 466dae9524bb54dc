from __future__ import annotations

import io
import sys

import click
import pytest

from dosirak.cli.options import ByteSize, KeyValue, confirm
from dosirak.errors import UsageError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", 1),
        ("1048576", 1 << 20),
        ("512KiB", 512 << 10),
        ("100 MiB", 100 << 20),
        ("2gib", 2 << 30),
    ],
)
def test_sizes_are_read_with_their_units(text: str, expected: int) -> None:
    assert ByteSize().convert(text, None, None) == expected


@pytest.mark.parametrize("text", ["", "0", "-1", "ten", "1.5MiB", "10MB", "٣", "MiB"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is not a size"):
        ByteSize().convert(text, None, None)


def test_labels_split_at_the_first_equals_sign() -> None:
    assert KeyValue().convert("formula=a=b", None, None) == ("formula", "a=b")


@pytest.mark.parametrize("text", ["", "key", "=value"])
def test_what_is_no_label_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is not key=value"):
        KeyValue().convert(text, None, None)


def test_yes_answers_the_question() -> None:
    confirm("Delete it?", yes=True)


def test_where_nobody_can_be_asked_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    with pytest.raises(UsageError) as caught:
        confirm("Delete it?", yes=False)
    assert "--yes" in caught.value.remedy


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_no_means_no(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stdin", _Terminal("n\n"))
    with pytest.raises(click.Abort):
        confirm("Delete it?", yes=False)
    assert capsys.readouterr().out == ""


def test_a_person_may_say_yes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", _Terminal("y\n"))
    confirm("Delete it?", yes=False)
