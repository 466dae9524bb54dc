"""Picture files → numpy arrays, for the three image adapters."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePath
from typing import Any

from dosirak.compat.bentoml_classic.exceptions import MissingDependencyException
from dosirak.compat.bentoml_classic.types import FileLike

DEFAULT_FORMATS = (".jpg", ".png", ".jpeg", ".tiff", ".webp", ".bmp")


class WrongPicture(ValueError):
    """The file is not a picture that can be read."""


def has_format(name: str | None, formats: Iterable[str]) -> bool:
    """Whether the file's name ends in one of `formats`."""
    return PurePath(name or "").suffix.lower() in formats


def read_picture(file: FileLike, mode: str) -> Any:
    """Return the picture as an array in a Pillow mode such as `RGB` or `L`.

    Raises:
        WrongPicture: the file is no readable picture (the remote caller's fault).
        MissingDependencyException: Pillow or numpy is not installed.
    """
    try:
        import numpy as np  # noqa: PLC0415 - ADR 0004
        from PIL import Image  # noqa: PLC0415 - ADR 0004
    except ImportError as error:
        raise MissingDependencyException(
            "Image adapters need Pillow and numpy.", remedy="Install pillow and numpy."
        ) from error
    try:
        with Image.open(file.stream) as picture:
            return np.array(picture.convert(mode))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise WrongPicture from error
