"""Third-party values where no annotation told of them, made plain for msgspec.

`-> dict[str, float]` around numpy scalars, `-> Any` around a DataFrame: the type's own module tells
which library to ask, and nothing is imported that the value has not already brought.
"""

from __future__ import annotations

from typing import Any

from dosirak.payload import arrays, images, models, tables, tensors
from dosirak.payload.leaf import Leaf
from dosirak.payload.problems import a_type


def make_plain(value: Any) -> Any:
    """`enc_hook` for JSON.

    Raises:
        TypeError: nothing here knows the type.
    """
    return _plain(value, packed=False)


def make_packable(value: Any) -> Any:
    """`enc_hook` for msgpack."""
    return _plain(value, packed=True)


def _plain(value: Any, *, packed: bool) -> Any:
    leaf = _leaf_of(type(value))
    if leaf is not None:
        return leaf.pack(value) if packed else leaf.write(value)
    module = type(value).__module__.partition(".")[0]
    if module == "numpy" and hasattr(value, "item"):
        return value.item() if value.dtype.kind in "biufUS" else arrays.to_lists(value)
    if module == "pandas":
        return _plain_pandas(value)
    if isinstance(value, str | bytes | int | float | dict | list | tuple):
        return _plain_subclass(value)
    raise TypeError(f"{a_type(value)} has no wire form")


def _leaf_of(kind: type) -> Leaf | None:
    families = (arrays, tables, tensors, images, models)
    return next((leaf for family in families if (leaf := family.recognise(kind, ()))), None)


def _plain_pandas(value: Any) -> Any:
    name = type(value).__name__
    if name in ("NAType", "NaTType"):
        return None
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"a {name} has no wire form")


def _plain_subclass(value: Any) -> Any:
    """msgspec writes exact built-in types; a subclass of one is written as its base."""
    bases: tuple[Any, ...] = (str, bytes, int, float, dict, list, tuple)
    for base in bases:
        if isinstance(value, base) and type(value) is not base:
            return base(value)
    raise TypeError(f"{a_type(value)} has no wire form")
