"""A model that refuses the columns of a table which the api takes as it comes.

`pd.DataFrame` alone promises any columns, so nobody but the model can know that some are wrong. The
libraries say so in words of their own; where those can be read the caller gets a 400 that names
the columns, and everywhere else the log tells the author of `Columns`. A table whose columns are
declared has passed their check: what a model refuses then is the service's fault. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

from dosirak.errors import FieldProblem, InvalidInput
from dosirak.payload.problems import join_path

_MISSING = "is missing"
_UNKNOWN = "is not a column that the model was trained with"
_ORDER = FieldProblem("", "the columns are not in the order in which the model was trained")
# What wrong columns make user code raise; the rest has other reasons.
_KINDS = (AttributeError, KeyError, TypeError, ValueError)


def open_tables(description: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the paths of an api's parameters that are tables of any columns.

    Args:
        description: what the api's codec says of itself.
    """
    return tuple(
        "" if parameter.get("root") else str(parameter["name"])
        for parameter in description.get("parameters", ())
        if _is_open(parameter.get("schema") or {})
    )


def _is_open(schema: Mapping[str, Any]) -> bool:
    if schema.get("x-dosirak-type") == "table":
        return "x-dosirak-columns" not in schema
    return any(map(_is_open, schema.get("anyOf", ())))


def refused_columns(
    error: BaseException, tables: tuple[str, ...], given: Iterable[Any]
) -> InvalidInput | None:
    """Return the caller's error where a model refused the columns of one of `tables`.

    A column that is said to be missing and was sent, or to be unknown and was not, is the doing of
    the service on the way to its model, and none of the caller's.

    Args:
        error: what the model raised.
        tables: the parameters that take any columns.
        given: what the caller sent for each parameter.
    """
    problems = _problems(error)
    sent = _column_names(given)
    if not problems or any(_is_own_doing(problem, sent) for problem in problems):
        return None
    # Of several tables nobody can say which one it was.
    at = tables[0] if len(tables) == 1 else ""
    fields = [FieldProblem(join_path(at, field), reason) for field, reason in problems]
    name, reason = problems[0]
    about = f"'{name}' {reason}" if name else reason
    place = f" at '{at}'" if at else ""
    return InvalidInput(
        f"The table{place} does not have the columns that the model takes: {about}.",
        remedy="Send the columns that the model was trained with, in their order.",
        fields=fields,
    )


def _column_names(values: Iterable[Any]) -> frozenset[str]:
    names: list[Any] = []
    for value in values:
        # An Arrow table's `columns` are its data.
        found = getattr(value, "column_names", None)
        # Not by `+=`: an index of columns would take the list for a value to add to each name.
        names.extend(getattr(value, "columns", ()) if found is None else found)
    return frozenset(map(str, names))


def _is_own_doing(problem: FieldProblem, sent: frozenset[str]) -> bool:
    if problem.reason == _MISSING:
        return problem.field in sent
    return problem.reason == _UNKNOWN and problem.field not in sent


def advise(error: BaseException, tables: tuple[str, ...]) -> None:
    """Tell the reader of the log, with the traceback, of what might have prevented an error."""
    if isinstance(error, _KINDS):
        names = ", ".join(map(repr, filter(None, tables))) or "the body"
        error.add_note(
            f"Any columns are accepted at {names}. If they are the reason: declare them, as in"
            " Annotated[pd.DataFrame, dosirak.Columns('a', 'b')], and a request without them is a"
            " 400 that names them."
        )


def _problems(error: BaseException) -> list[FieldProblem]:
    read = _READERS.get(library_of(error))
    return list(read(str(error))) if read else []


def library_of(error: BaseException) -> str:
    """Return the package in which an exception was raised."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    module = cast(str, trace.tb_frame.f_globals.get("__name__") or "") if trace else ""
    return module.partition(".")[0]


def _sklearn(words: str) -> Iterable[FieldProblem]:
    if words.startswith("columns are missing: {"):  # a ColumnTransformer
        yield from (FieldProblem(name, _MISSING) for name in re.findall(r"'([^']+)'", words))
    counts = re.match(r"X has (\d+) features?, but \w+ is expecting (\d+) features?", words)
    if counts:
        yield _count(*counts.groups())
    if not words.startswith("The feature names should match those that were passed during fit."):
        return
    if "must be in the same order" in words:
        yield _ORDER
    reason = ""
    for line in words.splitlines():
        if line.startswith("- ") and reason and line != "- ...":
            yield FieldProblem(line[2:], reason)
        elif line.startswith("Feature names "):
            reason = _MISSING if "now missing" in line else _UNKNOWN


def _xgboost(words: str) -> Iterable[FieldProblem]:
    counts = re.match(r"Feature shape mismatch, expected: (\d+), got (\d+)", words)
    if counts:
        yield _count(counts[2], counts[1])
    if not words.startswith("feature_names mismatch:"):
        return
    missing = re.search(r"^expected (.*) in input data$", words, re.MULTILINE)
    unknown = re.search(r"^training data did not have the following fields: (.*)$", words, re.M)
    for found, reason in ((missing, _MISSING), (unknown, _UNKNOWN)):
        yield from (FieldProblem(name, reason) for name in (found[1].split(", ") if found else ()))
    if not missing and not unknown:
        yield _ORDER


def _lightgbm(words: str) -> Iterable[FieldProblem]:
    counts = re.match(
        r"The number of features in data \((\d+)\) is not the same as it was in training data"
        r" \((\d+)\)",
        words,
    )
    if counts:
        yield _count(*counts.groups())


def _catboost(words: str) -> Iterable[FieldProblem]:
    missing = re.search(r"Feature (.*) is present in model but not in pool", words)
    if missing:
        yield FieldProblem(missing[1], _MISSING)
    moved = re.search(r"At position \d+ should be feature with name (.*) \(found (.*)\)", words)
    if moved:
        yield FieldProblem(moved[1], f"is missing where '{moved[2]}' stands")


def _count(given: str, taken: str) -> FieldProblem:
    return FieldProblem("", f"the table has {given} columns and the model takes {taken}")


_READERS: Mapping[str, Callable[[str], Iterable[FieldProblem]]] = {
    "sklearn": _sklearn,
    "xgboost": _xgboost,
    "lightgbm": _lightgbm,
    "catboost": _catboost,
}
