"""Golden examples: inputs and the outputs they gave when the model was saved.

They are recorded by calling the model through its framework, as `dosirak serve NAME` would, and
replayed wherever the model is about to be used: the proof that it answers there as it did here.
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

from dosirak.errors import DosirakError, UsageError
from dosirak.models.example_values import Description, libraries_of, plain, read_value, write_value
from dosirak.models.framework import Framework
from dosirak.store import Store

DIRECTORY = "examples"
RELATIVE_TOLERANCE = 1e-5
ABSOLUTE_TOLERANCE = 1e-6
_MAX_PROBLEMS = 5


@dataclass(frozen=True, slots=True)
class Example:
    """One recorded call.

    Attributes:
        method: the framework's method that was called.
        input: where the input is and how to read it.
        output: where the output is and how to read it.
        relative_tolerance: how far a number may be off, as a part of the expected one.
        absolute_tolerance: how far a number near zero may be off.
        rows: how many rows the input has; 0 when it has none, or they were not counted.
    """

    method: str
    input: Description
    output: Description
    relative_tolerance: float = RELATIVE_TOLERANCE
    absolute_tolerance: float = ABSOLUTE_TOLERANCE
    rows: int = 0

    def describe(self) -> dict[str, Any]:
        """Return the example's entry in the manifest."""
        return {
            "method": self.method,
            "input": dict(self.input),
            "output": dict(self.output),
            "relative_tolerance": self.relative_tolerance,
            "absolute_tolerance": self.absolute_tolerance,
            "rows": self.rows,
        }


def libraries(examples: Iterable[Example]) -> frozenset[str]:
    """Return the distributions that replaying examples needs, beside those of the model."""
    described = (side for example in examples for side in (example.input, example.output))
    return frozenset[str]().union(*map(libraries_of, described))


class Tasted(Protocol):
    """What a replay asks of a saved model; `Model` has it."""

    @property
    def store(self) -> Store: ...  # noqa: D102
    @property
    def id(self) -> str: ...  # noqa: D102
    @property
    def examples(self) -> tuple[Example, ...]: ...  # noqa: D102
    @property
    def framework_module(self) -> Framework: ...  # noqa: D102
    def load(self, *, trust: bool | str | None = None) -> Any: ...  # noqa: D102


def batches_of(examples: Any) -> tuple[Any, ...]:
    """Return the inputs that were given: a tuple is several batches, anything else is one."""
    return cast("tuple[Any, ...]", examples) if isinstance(examples, tuple) else (examples,)


def record(
    framework: Framework, model: Any, batches: Sequence[Any], directory: Path
) -> tuple[Example, ...]:
    """Call the model with each batch and write inputs and outputs under `directory`.

    Raises:
        UsageError: the model has no method to call or does not take an input, or a value cannot be
            kept (the caller's fault).
    """
    methods = framework.methods(model)
    if not methods:
        raise UsageError(
            f"Golden examples cannot be recorded: {framework.NAME} knows no method to call.",
            remedy="Save the model without examples.",
        )
    method = methods[0].name
    return tuple(
        Example(
            method=method,
            input=write_value(batch, directory, f"{index}-input"),
            output=write_value(
                _answer(framework, model, method, batch), directory, f"{index}-output"
            ),
            rows=_rows(batch),
        )
        for index, batch in enumerate(batches)
    )


def _rows(batch: Any) -> int:
    """Count the rows of an array, a table or a list; anything else has none."""
    shape = getattr(batch, "shape", None)
    if shape is not None:
        return int(shape[0]) if len(shape) else 0
    return len(cast("list[Any]", batch)) if isinstance(batch, list) else 0


def _answer(framework: Framework, model: Any, method: str, batch: Any) -> Any:
    try:
        return framework.call(model, method, batch)
    except DosirakError:
        raise
    except Exception as error:  # libraries raise whatever they like at what they do not like
        raise UsageError(
            f"The model does not take its example: {method} raised {_told(error)}.",
            remedy="Give inputs as the model takes them; a tuple is several batches.",
        ) from error


def _told(error: Exception) -> str:
    first_line = str(error).strip().partition("\n")[0].rstrip(".")
    return f"{type(error).__name__}: {first_line}"


def replay(model: Tasted, *, loaded: Any = None, trust: bool | str | None = None) -> list[str]:
    """Call a model with its golden examples and say how the answers differ; empty when they do not.

    Args:
        model: the saved model.
        loaded: the object that `model.load()` gave, where it is at hand; else it is loaded.
        trust: see `Model.load`.

    Raises:
        CorruptContent: the examples or the model cannot be read.
        UntrustedContent: the model may not be loaded.
    """
    if not model.examples:
        return []
    instance = model.load(trust=trust) if loaded is None else loaded
    with model.store.view(model.id, under=DIRECTORY) as directory:
        return compare(model.framework_module, instance, model.examples, directory)


def compare(
    framework: Framework, instance: Any, examples: Sequence[Example], directory: Path
) -> list[str]:
    """Call a loaded model with each example and say how the answers differ."""
    problems: list[str] = []
    for index, example in enumerate(examples):
        expected = read_value(example.output, directory)
        value = read_value(example.input, directory)
        try:
            actual = framework.call(instance, example.method, value)
        except DosirakError:
            raise
        except Exception as error:  # another version of the library may refuse what it took before
            problems.append(f"example {index}: {example.method} raised {_told(error)}")
            continue
        found = differences(plain(expected), plain(actual), example, f"example {index}")
        problems.extend(problem for problem, _ in zip(found, range(_MAX_PROBLEMS), strict=False))
    return problems


def differences(expected: Any, actual: Any, example: Example, where: str) -> Iterator[str]:
    """Yield where two plain values differ by more than the example's tolerances."""
    if isinstance(expected, Mapping) and isinstance(actual, Mapping):
        yield from _objects(dict(expected), dict(actual), example, where)
    elif isinstance(expected, list) and isinstance(actual, list):
        yield from _lists(cast("list[Any]", expected), cast("list[Any]", actual), example, where)
    elif not _alike(expected, actual, example):
        yield f"{where}: expected {expected!r}, got {actual!r}"


def _objects(
    expected: dict[Any, Any], actual: dict[Any, Any], example: Example, where: str
) -> Iterator[str]:
    if expected.keys() != actual.keys():
        yield f"{where}: expected the names {list(expected)}, got {list(actual)}"
        return
    for key, value in expected.items():
        yield from differences(value, actual[key], example, f"{where}.{key}")


def _lists(expected: list[Any], actual: list[Any], example: Example, where: str) -> Iterator[str]:
    if len(expected) != len(actual):
        yield f"{where}: expected {len(expected)} values, got {len(actual)}"
        return
    for index, (want, have) in enumerate(zip(expected, actual, strict=True)):
        yield from differences(want, have, example, f"{where}[{index}]")


def _alike(expected: Any, actual: Any, example: Example) -> bool:
    if isinstance(expected, bool) or not isinstance(expected, int | float | complex):
        return bool(expected == actual) and type(expected) is type(actual)
    if isinstance(actual, bool) or not isinstance(actual, int | float | complex):
        return False
    if isinstance(expected, int) and isinstance(actual, int):
        return expected == actual
    if cmath.isnan(expected) or cmath.isnan(actual):
        return cmath.isnan(expected) and cmath.isnan(actual)
    close = math.isclose if not isinstance(expected + actual, complex) else cmath.isclose
    return close(
        expected,  # pyright: ignore[reportArgumentType]
        actual,  # pyright: ignore[reportArgumentType]
        rel_tol=example.relative_tolerance,
        abs_tol=example.absolute_tolerance,
    )
