"""Values of golden examples as files: npy for arrays, Arrow for tables, JSON for the rest.

`write_value` returns a description (JSON values) that `read_value` needs to read the files again.
None of the formats can hold code. Libraries are looked up by the value's own type, so that nothing
is imported that the author has not already.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from dosirak.errors import CorruptContent, MissingDependency, UsageError
from dosirak.models.json_values import json_value
from dosirak.store.canonical import canonical_json

Description = Mapping[str, Any]

_ARRAY = "numpy.ndarray"
_TENSOR = "torch.Tensor"
_TABLES = ("pandas.DataFrame", "polars.DataFrame", "pyarrow.Table")
_SERIES = ("pandas.Series", "polars.Series")


def write_value(value: Any, directory: Path, name: str) -> dict[str, Any]:
    """Write a value as files whose names begin with `name`.

    Raises:
        UsageError: it has no safe file format (the caller's fault).
        MissingDependency: it is a table and pyarrow is not installed.
    """
    kind = kind_of(value)
    if kind in (_ARRAY, _TENSOR):
        return _write_array(_as_array(value), kind, directory, f"{name}.npy")
    if kind in _TABLES or kind in _SERIES:
        return _write_table(value, kind, directory, f"{name}.arrow")
    if _is_nested(value):
        return _write_nested(value, directory, name)
    data = canonical_json(json_value(value, f"The example's {name}"))
    (directory / f"{name}.json").write_bytes(data)
    return {"kind": "json", "file": f"{name}.json"}


def read_value(description: Description, directory: Path) -> Any:
    """Read a value back.

    Raises:
        CorruptContent: its files are not what the description says.
        MissingDependency: a library that it needs is not installed.
    """
    kind = description.get("kind")
    try:
        if kind in (_ARRAY, _TENSOR):
            return _read_array(kind, directory / description["file"])
        if kind in _TABLES or kind in _SERIES:
            return _read_table(kind, directory / description["file"])
        if kind == "json":
            return json.loads((directory / description["file"]).read_bytes())
        return _read_nested(description, directory)
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise CorruptContent(
            f"A golden example cannot be read: {error}.", remedy="Save the model again."
        ) from error


def libraries_of(description: Description) -> frozenset[str]:
    """Return the distributions without which `read_value` cannot read a value back."""
    kind = str(description.get("kind"))
    if kind in (_ARRAY, _TENSOR):
        return frozenset({"numpy"} if kind == _ARRAY else {"numpy", "torch"})
    if kind in _TABLES or kind in _SERIES:
        return frozenset({"pyarrow", kind.partition(".")[0]})
    items = description.get("items") or ()
    described = (item[1] for item in items) if kind == "dict" else items
    return frozenset[str]().union(*map(libraries_of, described))


def kind_of(value: Any) -> str:
    """Return `library.Class` of an array or table, or a subclass of one; else the class's name."""
    for base in type(value).__mro__:
        name = f"{base.__module__.partition('.')[0]}.{base.__qualname__}"
        if name in (_ARRAY, _TENSOR) or name in _TABLES or name in _SERIES:
            return name
    return "pyarrow.Table" if _is_arrow_table(value) else type(value).__name__


def plain(value: Any) -> Any:
    """Return a value as lists, dictionaries and scalars, for comparing."""
    kind = kind_of(value)
    if kind in (_ARRAY, _TENSOR):
        return _as_array(value).tolist()
    if kind == "pandas.DataFrame":
        return {str(name): value[name].tolist() for name in value.columns}
    if kind == "polars.DataFrame":
        return value.to_dict(as_series=False)
    if kind == "pyarrow.Table":
        return value.to_pydict()
    return value.to_list() if kind in _SERIES else _plain_container(value)


def _plain_container(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in cast("list[Any]", value)]
    return value.item() if hasattr(value, "item") and hasattr(value, "dtype") else value


def _is_arrow_table(value: Any) -> bool:
    return type(value).__module__ == "pyarrow.lib" and type(value).__name__ == "Table"


def _is_nested(value: Any) -> bool:
    """Whether a container holds an array or table somewhere."""
    if isinstance(value, Mapping):
        items = list(cast("Mapping[Any, Any]", value).values())
    elif isinstance(value, list | tuple):
        items = list(cast("list[Any]", value))
    else:
        return False
    return any("." in kind_of(item) or _is_nested(item) for item in items)


def _write_nested(value: Any, directory: Path, name: str) -> dict[str, Any]:
    pairs = value.items() if isinstance(value, Mapping) else enumerate(value)
    described = [
        (key, write_value(item, directory, f"{name}-{index}"))
        for index, (key, item) in enumerate(pairs)
    ]
    if isinstance(value, Mapping):
        if any(not isinstance(key, str) for key, _ in described):
            raise UsageError(
                f"The example's {name} has a key that is not text.", remedy="Use text for keys."
            )
        return {"kind": "dict", "items": [list(pair) for pair in described]}
    kind = "tuple" if isinstance(value, tuple) else "list"
    return {"kind": kind, "items": [item for _, item in described]}


def _read_nested(description: Description, directory: Path) -> Any:
    items = description["items"]
    if description["kind"] == "dict":
        return {key: read_value(item, directory) for key, item in items}
    values = [read_value(item, directory) for item in items]
    return tuple(values) if description["kind"] == "tuple" else values


def _as_array(value: Any) -> Any:
    if kind_of(value) != _TENSOR:
        return value
    try:
        return value.detach().cpu().numpy()
    except TypeError as error:
        raise UsageError(
            f"A tensor of {value.dtype} cannot be kept as an example.",
            remedy="Convert it to float32 first.",
        ) from error


def _write_array(array: Any, kind: str, directory: Path, file: str) -> dict[str, Any]:
    try:
        import_module("numpy").save(directory / file, array, allow_pickle=False)
    except ValueError as error:
        raise UsageError(
            f"An array of {array.dtype} cannot be kept as an example: it holds Python objects.",
            remedy="Convert it to numbers or fixed-width text, or use a list.",
        ) from error
    return {"kind": kind, "file": file}


def _read_array(kind: str, path: Path) -> Any:
    array = _library("numpy").load(path, allow_pickle=False)
    return array if kind == _ARRAY else _library("torch").from_numpy(array)


def _write_table(value: Any, kind: str, directory: Path, file: str) -> dict[str, Any]:
    arrow = _library("pyarrow")
    try:
        table = _as_arrow(value, kind, arrow)
        with _library("pyarrow.ipc").new_file(directory / file, table.schema) as writer:
            writer.write_table(table)
    except (arrow.ArrowInvalid, arrow.ArrowTypeError, arrow.ArrowNotImplementedError) as error:
        raise UsageError(
            f"A {kind} cannot be kept as an example: {error}.",
            remedy="Give every column one plain type.",
        ) from error
    return {"kind": kind, "file": file}


def _as_arrow(value: Any, kind: str, arrow: Any) -> Any:
    if kind == "pyarrow.Table":
        return value
    if kind.endswith(".Series"):
        value = value.to_frame()
    return arrow.Table.from_pandas(value) if kind.startswith("pandas") else value.to_arrow()


def _read_table(kind: str, path: Path) -> Any:
    with _library("pyarrow.ipc").open_file(path) as reader:
        table = reader.read_all()
    if kind == "pyarrow.Table":
        return table
    frame = table.to_pandas() if kind.startswith("pandas") else _library("polars").from_arrow(table)
    if kind == "pandas.Series":
        return frame.iloc[:, 0]
    return frame.to_series(0) if kind == "polars.Series" else frame


def _library(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        library = name.partition(".")[0]
        raise MissingDependency(
            f"Golden examples of this kind need {library}.",
            remedy=f"Install it with: pip install 'dosirak[{library}]'",
        ) from error
