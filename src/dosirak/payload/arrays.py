"""numpy arrays: nested lists in JSON, a map in msgpack, npy as a whole body.

    JSON     [[5.1, 3.5], [4.9, 3.0]]
    msgpack  {"dtype": "<f8", "shape": [2, 2], "data": bytes}, or nested lists
    npy      see `npy`

Text is never read as numbers. Integers stay exact. JSON has no NaN or infinity: in an array of
floats both are written as `null`, and `null` is read as NaN; npy and msgpack carry them unchanged.
A value read from npy or msgpack is a read-only view of the request.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, get_args, get_origin

from dosirak.payload.annotations import DType, Shape
from dosirak.payload.leaf import Leaf, Written, json_type, type_problem
from dosirak.payload.media import NPY, MediaRange
from dosirak.payload.npy import check_elements, dump_npy, load_npy
from dosirak.payload.problems import NoJsonForm, Problem, a_type

_DESCR = re.compile(r"[<>|=]?[biufcUSMm]\d{1,9}(\[\w{1,8}\])?", re.ASCII)
_FLOAT_KINDS = "fc"
_MOST_EXAMPLE_ELEMENTS = 4096


class ArrayForm:
    """What arrays and tensors share: the checks of dtype and shape, and both wire forms."""

    def __init__(self, shape: tuple[int | None, ...] | None, dtype: str | None) -> None:
        self.shape = shape
        self.dtype = dtype

    def from_wire(self, value: Any) -> Any:
        """Return the array that nested lists or the msgpack map describe."""
        array = _unpack(value) if type(value) is dict else from_lists(value)
        return self.conform(array)

    def conform(self, array: Any) -> Any:
        """Return the array in the declared dtype.

        Raises:
            Problem: the shape differs, or the dtype cannot be reached without loss of meaning.
        """
        if self.shape is not None:
            check_shape(array.shape, self.shape)
        return array if self.dtype is None else cast(array, self.dtype)

    def schema(self, kind: str) -> dict[str, Any]:
        """Return nested arrays of numbers as deep as the declared shape."""
        items = _element_schema(self.dtype)
        for size in reversed(self.shape or (None,)):
            length = {} if size is None else {"minItems": size, "maxItems": size}
            items = {"type": "array", "items": items, **length}
        if self.shape is None:
            items = {"type": "array"}
        extensions: dict[str, Any] = {"x-dosirak-type": kind}
        if self.dtype is not None:
            extensions["x-dosirak-dtype"] = self.dtype
        if self.shape is not None:
            extensions["x-dosirak-shape"] = list(self.shape)
            extensions |= self._example()
        return {**items, **extensions}

    def _example(self) -> dict[str, Any]:
        sizes = [1 if size is None else size for size in self.shape or ()]
        if math.prod(sizes) > _MOST_EXAMPLE_ELEMENTS:
            return {}
        value = example_element(self.dtype)
        for size in reversed(sizes):
            value = [value] * size
        return {"examples": [value]}


def example_element(dtype: str | None) -> Any:
    """Return a value of the dtype for the example in a schema; a number where it is open."""
    if dtype is None or dtype == "any" or dtype.startswith(("float", "bfloat", "complex")):
        return 1.5
    if "int" in dtype:
        return 1
    return {"bool": True, "datetime": "2000-01-01T00:00:00Z"}.get(dtype, "text")


class ArrayLeaf(Leaf):
    """One `np.ndarray` as its hint describes it."""

    kind = "ndarray"
    media_types = (NPY,)
    raw_first = False
    compact = True
    is_file = False

    def __init__(self, form: ArrayForm) -> None:
        self.form = form

    def read(self, value: Any) -> Any:
        """Make the array from nested lists or the msgpack map."""
        return self.form.from_wire(value)

    def write(self, value: Any) -> Any:
        """Return nested lists; msgspec writes NaN and infinities as null."""
        return to_lists(self.form.conform(as_array(value)))

    def pack(self, value: Any) -> Any:
        """Return the map of dtype, shape and bytes."""
        return pack_array(self.form.conform(as_array(value)))

    def schema(self) -> dict[str, Any]:
        """Return nested arrays of numbers."""
        return self.form.schema(self.kind)

    def takes(self, media: MediaRange) -> bool:
        """Whether this is npy."""
        return media.name == NPY

    def load(self, body: memoryview, media: MediaRange) -> Any:
        """View the body as an array."""
        return self.form.conform(load_npy(body))

    def dump(self, value: Any, media_type: str) -> Written:
        """Write npy."""
        return Written(dump_npy(self.form.conform(as_array(value))), media_type)


def recognise(hint: Any, annotations: Sequence[Any]) -> Leaf | None:
    """Return the leaf of an array hint: `np.ndarray` or `npt.NDArray[np.float32]`."""
    origin = get_origin(hint) or hint
    if getattr(origin, "__name__", "") != "ndarray" or not _is_numpy(origin):
        return None
    return ArrayLeaf(ArrayForm(declared_shape(annotations), _declared_dtype(hint, annotations)))


def declared_shape(annotations: Sequence[Any]) -> tuple[int | None, ...] | None:
    """Return the dimensions of the `Shape` among the annotations, if any."""
    return next((a.dimensions for a in annotations if isinstance(a, Shape)), None)


def declared_dtype(annotations: Sequence[Any]) -> str | None:
    """Return the name of the `DType` among the annotations, if any."""
    return next((a.name for a in annotations if isinstance(a, DType)), None)


def _declared_dtype(hint: Any, annotations: Sequence[Any]) -> str | None:
    explicit = declared_dtype(annotations)
    parts = get_args(hint)
    if explicit is not None or len(parts) < 2:
        return explicit
    element = (get_args(parts[1]) or (Any,))[0]
    # npt.NDArray[Any] and abstract types such as np.floating say nothing definite.
    concrete = isinstance(element, type) and _is_numpy(element)
    abstract = ("generic", "number", "integer", "floating", "inexact", "signedinteger",
                "unsignedinteger", "complexfloating", "flexible", "character")  # fmt: skip
    return DType(element).name if concrete and element.__name__ not in abstract else None


def _is_numpy(kind: Any) -> bool:
    return getattr(kind, "__module__", "").partition(".")[0] == "numpy"


def from_lists(value: Any) -> Any:
    """Return the array of nested JSON lists or of one number.

    Raises:
        Problem: the lists are ragged, or hold something that is no number, boolean or text.
    """
    import numpy as np

    if not isinstance(value, list | int | float | tuple):
        raise type_problem("an array", value)
    try:
        array = np.array(value)
    except (ValueError, TypeError, OverflowError) as error:
        raise Problem("the nested arrays are ragged: each must have one length") from error
    if array.dtype.kind in "biuf":
        return array
    if array.dtype.kind in "OU":
        return _mixed(value, array)
    raise Problem(f"expected an array of numbers, got {json_type(value)}")


def _mixed(value: Any, array: Any) -> Any:
    """Tell apart what numpy cannot hold plainly: nulls, text, huge integers, mixtures."""
    import numpy as np

    kinds = {type(element) for element in np.array(value, dtype=object).ravel()}
    if kinds == {str}:
        return array
    if kinds <= {float, int, type(None)} and not kinds <= {int}:
        return np.array(value, dtype=np.float64)
    if kinds == {int}:
        raise Problem("an integer does not fit 64 bits")
    if kinds & {list, dict}:
        raise Problem("the nested arrays are ragged, or hold objects")
    raise Problem("the array mixes numbers with text or other values")


def _unpack(value: dict[str, Any]) -> Any:
    """Return the array of a msgpack map, as a view of its bytes."""
    import numpy as np

    if set(value) != {"dtype", "shape", "data"}:
        raise Problem("expected an array, or an object of dtype, shape and data")
    descr, shape, data = value["dtype"], value["shape"], value["data"]
    if not (isinstance(descr, str) and _DESCR.fullmatch(descr)):
        raise Problem("the dtype is not one of plain numbers, text or times", field="dtype")
    if not isinstance(data, bytes):
        raise Problem("expected bytes", field="data")
    sizes_fit = isinstance(shape, list) and len(shape) <= 32
    if not sizes_fit or not all(type(size) is int and 0 <= size < 2**48 for size in shape):
        raise Problem("expected at most 32 lengths, none negative", field="shape")
    try:
        dtype = np.dtype(descr)
    except (TypeError, ValueError) as error:
        raise Problem(f"the dtype {descr!r} is not known", field="dtype") from error
    if dtype.itemsize == 0 or math.prod(shape) * dtype.itemsize != len(data):
        raise Problem("dtype, shape and the length of data disagree", field="data")
    flat = np.frombuffer(data, dtype=dtype) if data else np.empty(0, dtype)
    check_elements(flat)
    try:
        array = flat.reshape(shape)
    except ValueError as error:
        raise Problem("is larger than an array can be", field="shape") from error
    return array if dtype.isnative else array.astype(dtype.newbyteorder("="))


def check_shape(actual: tuple[int, ...], declared: tuple[int | None, ...]) -> None:
    """Compare a shape with the declared one.

    Raises:
        Problem: they differ.
    """
    fits = len(actual) == len(declared) and all(
        want is None or have == want for have, want in zip(actual, declared, strict=True)
    )
    if not fits:
        wanted = ", ".join("any" if size is None else str(size) for size in declared)
        raise Problem(f"expected shape ({wanted}), got ({', '.join(map(str, actual))})")


def cast(array: Any, dtype: str) -> Any:
    """Return the array in `dtype`, where that changes no value's meaning.

    Integers become floats, and wider or narrower of their kind; floats never become integers,
    booleans and text become nothing else.

    Raises:
        Problem: the values are of another kind, or out of range.
    """
    import numpy as np

    wanted = np.dtype("float32" if dtype == "bfloat16" else _numpy_name(dtype))
    have = array.dtype
    if have == wanted or dtype == "any":
        return array
    if array.size == 0:
        return array.astype(wanted)
    if wanted.kind in "iu" and have.kind in "iu":
        return _narrow(array, wanted)
    reachable = {"f": "fiu", "c": "fciu", "U": "US", "M": "MU", "b": "b"}.get(wanted.kind, "")
    if have.kind not in reachable:
        raise Problem(f"expected {_kind_words(wanted.kind)}, got {_kind_words(have.kind)}")
    return array.astype(wanted)


def _narrow(array: Any, wanted: Any) -> Any:
    import numpy as np

    limits = np.iinfo(wanted)
    if int(array.min()) < limits.min or int(array.max()) > limits.max:
        raise Problem(f"a value is out of the range of {wanted}")
    return array.astype(wanted)


def _numpy_name(dtype: str) -> str:
    return {"datetime": "datetime64[us]"}.get(dtype, dtype)


def _kind_words(kind: str) -> str:
    words = {"f": "numbers", "i": "integers", "u": "integers", "b": "booleans", "U": "text"}
    return words.get(kind, "other values")


def as_array(value: Any) -> Any:
    """Return a handler's result as an array.

    Raises:
        Problem: it is ragged or holds Python objects.
    """
    import numpy as np

    try:
        array = np.asarray(value)
    except (ValueError, TypeError, RuntimeError) as error:
        raise Problem(f"{a_type(value)} cannot become an array") from error
    if array.dtype.kind == "O":
        array = from_lists(array.tolist())
    if array.dtype.kind == "V":
        raise Problem("structured arrays cannot travel")
    return _portable(array)


def _portable(array: Any) -> Any:
    """Long doubles differ from machine to machine, and nothing on a wire holds them."""
    widest = {"f": ("float64", 8), "c": ("complex128", 16)}.get(array.dtype.kind)
    return array.astype(widest[0]) if widest and array.itemsize > widest[1] else array


def to_lists(array: Any) -> Any:
    """Return nested Python lists that msgspec can write."""
    if array.dtype.kind in _FLOAT_KINDS + "biuU":
        if array.dtype.kind == "c":
            raise NoJsonForm("complex numbers have no JSON form; ask for npy or msgpack")
        return array.tolist()
    if array.dtype.kind in "Mm":
        return array.astype(str).tolist()
    raise NoJsonForm(f"an array of dtype {array.dtype} has no JSON form; ask for npy or msgpack")


def pack_array(array: Any) -> Mapping[str, Any]:
    """Return the msgpack map of an array."""
    return {"dtype": array.dtype.str, "shape": list(array.shape), "data": array.tobytes()}


def _element_schema(dtype: str | None) -> dict[str, Any]:
    if dtype is None:
        return {}
    if dtype.startswith(("float", "bfloat")):
        return {"type": ["number", "null"]}
    if "int" in dtype:
        return {"type": "integer"}
    return {"type": {"bool": "boolean"}.get(dtype, "string")}
