"""Options and questions that several commands share, spelled once."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from dosirak.errors import UsageError

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])

output_option = click.option(
    "-o",
    "--output",
    "output_format",
    type=click.Choice(["table", "json", "yaml"]),
    default="table",
    show_default=True,
    help="How to print the answer.",
)

yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


class WholeNumber(click.IntRange):
    """An integer within bounds."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read the number; say in words what was expected, and of which option or variable."""
        return _read(super().convert, value, param, ctx, f"a whole number{_bounds(self)}")


class Seconds(click.FloatRange):
    """A number of seconds within bounds."""

    name = "seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read the number (see `WholeNumber`)."""
        return _read(super().convert, value, param, ctx, f"a number of seconds{_bounds(self)}")


def _read(
    convert: Callable[..., Any],
    value: Any,
    param: click.Parameter | None,
    ctx: click.Context | None,
    expected: str,
) -> Any:
    try:
        number = convert(value, param, ctx)
        if math.isfinite(number):
            return number
    except click.BadParameter:
        pass
    raise click.BadParameter(f"{value!r} is not {expected}.", ctx, param, _source(param, ctx))


def _bounds(kind: click.IntRange | click.FloatRange) -> str:
    if kind.min is not None and kind.max is not None:
        return f" from {kind.min} to {kind.max}"
    return "" if kind.min is None else f" {'above' if kind.min_open else 'of at least'} {kind.min}"


def _source(param: click.Parameter | None, ctx: click.Context | None) -> str | None:
    """Return where a value came from, when that is not an option on the command line."""
    if param is None or ctx is None:
        return None
    if ctx.get_parameter_source(param.name) is not ParameterSource.ENVIRONMENT:
        return f"'{param.opts[0]}'"
    return f"the environment variable {param.envvar}"


class KeyValue(click.ParamType):  # pyright: ignore[reportMissingTypeArgument] - since click 8.5
    """`key=value`, for labels."""

    name = "key=value"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        """Split at the first `=`."""
        if isinstance(value, tuple):
            return value  # pyright: ignore[reportUnknownVariableType]
        key, equals, text = str(value).partition("=")
        if not key or not equals:
            self.fail(f"{value!r} is not key=value.", param, ctx)
        return key, text


class ByteSize(click.ParamType):  # pyright: ignore[reportMissingTypeArgument] - since click 8.5
    """A number of bytes: `1048576`, `512KiB`, `100MiB`, `2GiB`."""

    name = "size"
    _UNITS = (("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("", 1))

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read the number and its unit."""
        if isinstance(value, int):
            return value
        text = str(value).strip()
        unit, factor = next(pair for pair in self._UNITS if text.lower().endswith(pair[0].lower()))
        number = text[: len(text) - len(unit)].strip()
        if not number.isascii() or not number.isdigit() or int(number) == 0:
            self.fail(f"{value!r} is not a size such as 512KiB, 100MiB or 2GiB.", param, ctx)
        return int(number) * factor


def confirm(question: str, *, yes: bool) -> None:
    """Ask before something is lost; where nobody can be asked, refuse.

    Raises:
        UsageError: the input is not a terminal and `--yes` was not given.
        click.Abort: the answer was no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(
            f"Nobody can be asked: {question}", remedy="Give --yes to go on without a question."
        )
    click.confirm(question, abort=True, err=True)
