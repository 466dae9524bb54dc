"""What is wrong with an input, and where: from any reader's exception to `InvalidInput`.

msgspec says the place at the end of its message (`… - at `$.flowers[2].age``), and stops at
the first problem; the readers of arrays, tables and models raise `Problem`, which may hold several.
Both become `FieldProblem`s, whose paths are written as a caller would: `flowers[2].age`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from dosirak.errors import FieldProblem, InvalidInput
from dosirak.payload.choices import choices_at

MAX_PROBLEMS = 20
TOO_WIDE = "an integer does not fit 64 bits, the most that msgpack holds"

_PLACE = re.compile(r" - at `(?:key in )?\$(?P<path>.*)`$", re.DOTALL)
_WRONG_CHOICE = re.compile(r"Invalid enum value (.*)", re.DOTALL)
_TYPE_NAMES = {
    "`str`": "text",
    "`int`": "an integer",
    "`float`": "a number",
    "`bool`": "true or false",
    "`object`": "an object",
    "`array`": "an array",
    "`null`": "null",
    "`bytes`": "bytes",
}
_QUOTED_TYPE = re.compile("|".join(map(re.escape, _TYPE_NAMES)))


class Problem(ValueError):
    """One or more things wrong with a value; paths are relative to that value."""

    def __init__(self, reason: str, *, field: str = "", more: Iterable[FieldProblem] = ()) -> None:
        super().__init__(reason)
        self.problems = (FieldProblem(field, reason), *more)

    @classmethod
    def of(cls, problems: list[FieldProblem]) -> Problem:
        """Return one exception for several problems (at least one)."""
        first, *rest = problems
        return cls(first.reason, field=first.field, more=rest)


class NoFormHere(Problem):
    """A result is sound, but one media type cannot hold it: the caller may ask for another."""


class NoJsonForm(NoFormHere):
    """JSON cannot hold it."""


class NoMsgpackForm(NoFormHere):
    """msgpack cannot hold it."""


def join_path(parent: str, child: str) -> str:
    """Join `flowers` and `[2].age` or `age`."""
    if not parent or not child or child.startswith("["):
        return parent + child
    return f"{parent}.{child}"


def explain(error: Exception, at: str = "", wire: Any = None) -> list[FieldProblem]:
    """Return the problems that an exception from a reader stands for.

    Args:
        error: what msgspec or a reader raised.
        at: the path of the value that was being read.
        wire: its type, for what only the type says.
    """
    if isinstance(error, Problem):
        return [FieldProblem(join_path(at, field), reason) for field, reason in error.problems]
    message = str(error)
    if isinstance(error, OverflowError) and "serialize ints" in message:
        message = TOO_WIDE
    place = _PLACE.search(message)
    path = place["path"].removeprefix(".") if place else ""
    cause = error.__cause__
    if isinstance(error, msgspec.ValidationError) and isinstance(cause, Problem):
        return explain(cause, join_path(at, path))
    reason = _PLACE.sub("", message)
    wrong_choice = _WRONG_CHOICE.match(reason)
    if wrong_choice and (choices := choices_at(wire, place["path"] if place else "")):
        return [FieldProblem(join_path(at, path), f"{wrong_choice[1]} is not one of {choices}")]
    return [FieldProblem(join_path(at, path), _plain(reason))]


def invalid_input(problems: list[FieldProblem]) -> InvalidInput:
    """Return the error for these problems; the message names the first."""
    shown = problems[:MAX_PROBLEMS]
    first = shown[0]
    place = f"'{first.field}'" if first.field else "the body"
    more = f" (and {len(shown) - 1} more)" if len(shown) > 1 else ""
    return InvalidInput(
        f"The input is not valid at {place}: {first.reason}{more}.",
        remedy="Correct the fields named; the API schema says what each one takes.",
        fields=shown,
    )


def a_type(value: Any) -> str:
    """Name a value's Python type with its article: `a DataFrame`, `an ndarray`."""
    name = type(value).__name__
    spoken_with_vowel = name[:1].lower() in "aeio" or name == "ndarray"
    return f"{'an' if spoken_with_vowel else 'a'} {name}"


def _plain(reason: str) -> str:
    """Say msgspec's words as a sentence part: `Expected `int`, got `str`` → expected an integer…"""
    text = _QUOTED_TYPE.sub(lambda match: _TYPE_NAMES[match[0]], reason).replace("`", "'")
    return text[:1].lower() + text[1:]
