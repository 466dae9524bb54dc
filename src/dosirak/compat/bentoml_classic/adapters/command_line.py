"""Reads `--input …` and `--input-file …` of `bentoml run`, and `--input-NAME …` for several.

Unknown arguments are left alone: each adapter and output reads its own from the same list.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from dosirak.compat.bentoml_classic.exceptions import CLIException
from dosirak.compat.bentoml_classic.types import FileLike


class QuietParser(argparse.ArgumentParser):
    """An argument parser whose errors are dosirak's."""

    def __init__(self) -> None:
        super().__init__(add_help=False, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """Raise what argparse would print.

        Raises:
            CLIException: the arguments are wrong (the caller's fault).
        """
        raise CLIException(
            f"The arguments cannot be read: {message}.", remedy="Correct the command line."
        )


def read_inputs(arguments: Sequence[str], names: Sequence[str] = ()) -> list[tuple[FileLike, ...]]:
    """Return one tuple of files for each task; `names` are those of several inputs.

    Raises:
        CLIException: inputs are missing, of both kinds, or of different number.
    """
    suffixes = [f"-{name.replace('_', '-')}" for name in names] or [""]
    given, files = (
        _values(arguments, "--input", suffixes),
        _values(arguments, "--input-file", suffixes),
    )
    if any(given) and any(files):
        raise CLIException(
            "--input and --input-file were both given.", remedy="Give one kind of input."
        )
    columns = given if any(given) else files
    if not all(columns):
        wanted = " ".join(f"--input{suffix}" for suffix in suffixes)
        raise CLIException(
            "An input is missing.", remedy=f"Give {wanted}, or the same with --input-file."
        )
    if len({len(column) for column in columns}) != 1:
        raise CLIException(
            "The inputs are of different number.", remedy="Give each the same number of values."
        )
    read = _from_text if any(given) else _from_file
    return [tuple(read(value) for value in row) for row in zip(*columns, strict=True)]


def _values(arguments: Sequence[str], option: str, suffixes: Sequence[str]) -> list[list[str]]:
    parser = QuietParser()
    for number, suffix in enumerate(suffixes):
        parser.add_argument(option + suffix, dest=str(number), nargs="+", default=[])
    parsed = vars(parser.parse_known_args(list(arguments))[0])
    return [parsed[str(number)] for number in range(len(suffixes))]


def _from_text(value: str) -> FileLike:
    return FileLike(bytes_=value.encode())


def _from_file(value: str) -> FileLike:
    path = Path(value).absolute()
    if not path.is_file():
        raise CLIException(f"There is no file {value!r}.", remedy="Correct the path.")
    return FileLike(uri=path.as_uri())
