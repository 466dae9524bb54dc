"""What an author may add to a type hint with `Annotated[...]` to say more about a payload.

    Annotated[np.ndarray, Shape(None, 4), DType("float32")]
    Annotated[pd.DataFrame, Columns("sepal", "petal")]
    Annotated[pd.DataFrame, Columns(sepal="float64", species="str")]
    Annotated[bytes, MediaType("image/png")]

Values only: nothing here imports the libraries it speaks about.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

_BY_PYTHON_TYPE = {float: "float64", int: "int64", bool: "bool", str: "str"}
_ALIASES = {
    "float": "float64",
    "double": "float64",
    "int": "int64",
    "string": "str",
    "utf8": "str",
    "object": "any",
    "boolean": "bool",
    "datetime64[ns]": "datetime",
    "datetime64[us]": "datetime",
    "datetime64": "datetime",
}
_KNOWN = frozenset(
    ["bool", "str", "datetime", "any", "bfloat16", "complex64", "complex128"]
    + [f"float{bits}" for bits in (16, 32, 64)]
    + [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
)


def dtype_name(dtype: Any) -> str:
    """Return the one name dosirak uses for a dtype given as text, Python type or library object.

    Raises:
        TypeError: it is none that can travel (the service author's fault).
    """
    if isinstance(dtype, type) and dtype in _BY_PYTHON_TYPE:
        return _BY_PYTHON_TYPE[dtype]
    text = dtype.__name__ if isinstance(dtype, type) else str(dtype)
    text = text.lower().removeprefix("torch.").strip()
    name = _ALIASES.get(text, text)
    if name not in _KNOWN:
        raise TypeError(f"{dtype!r} is not a dtype that can travel")
    return name


class _Annotation:
    """A value that equals another of the same content, and can be a dictionary key."""

    __slots__ = ()

    def _content(self) -> Any:
        raise NotImplementedError

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self._content() == other._content()  # type: ignore[attr-defined]

    def __hash__(self) -> int:
        return hash((type(self), self._content()))


class Shape(_Annotation):
    """The shape of an array or tensor; `None` is a length that may vary."""

    __slots__ = ("dimensions",)

    def __init__(self, *dimensions: int | None) -> None:
        self.dimensions = dimensions

    def _content(self) -> Any:
        return self.dimensions

    def __repr__(self) -> str:
        return f"Shape({', '.join(map(repr, self.dimensions))})"


class DType(_Annotation):
    """The element type of an array, tensor, series or of every column of a table."""

    __slots__ = ("name",)

    def __init__(self, dtype: Any) -> None:
        self.name = dtype_name(dtype)

    def _content(self) -> Any:
        return self.name

    def __repr__(self) -> str:
        return f"DType({self.name!r})"


class Columns(_Annotation):
    """The columns of a table, in order: names alone, or names with their dtypes.

    A table that arrives must have exactly these columns; the handler sees them in this order.
    """

    __slots__ = ("dtypes",)

    def __init__(self, *names: str, **dtypes: Any) -> None:
        named = {name: dtype_name(dtype) for name, dtype in dtypes.items()}
        self.dtypes: dict[str, str | None] = {**dict.fromkeys(names), **named}

    @classmethod
    def from_mapping(cls, dtypes: Mapping[str, Any]) -> Self:
        """Return the annotation for any names; None is a dtype left open."""
        columns = cls()
        columns.dtypes = {
            name: None if dtype is None else dtype_name(dtype) for name, dtype in dtypes.items()
        }
        return columns

    def _content(self) -> Any:
        return tuple(self.dtypes.items())

    def __repr__(self) -> str:
        return f"Columns({self.dtypes!r})"


class MediaType(_Annotation):
    """The media type of a file, image, text or bytes, such as `image/png` or `image/*`."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name.strip().lower()

    def _content(self) -> Any:
        return self.name

    def __repr__(self) -> str:
        return f"MediaType({self.name!r})"
