"""What an author's function says of its api, and what it may not say."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Union

import msgspec
import numpy as np
import numpy.typing as npt
import pandas as pd
import pydantic
import pytest
from PIL import Image

from dosirak.errors import UnsupportedHint
from dosirak.payload.annotations import Columns, DType, MediaType, Shape
from dosirak.payload.codec import compile_codec
from dosirak.payload.signature import Signature, inspect_signature

if TYPE_CHECKING:
    from nowhere import Missing  # pyright: ignore


class Context:
    """Stands for the request context of an upper layer."""


class Custom:
    """A class that nothing knows how to write."""


class Tree(msgspec.Struct):
    children: list[Tree] = []


def read(function: Callable[..., Any], **options: Any) -> Signature:
    settings = {"where": "Iris.predict", "skip_self": False, "context_type": Context, **options}
    return inspect_signature(function, **settings)


def test_self_and_the_context_are_no_parameters() -> None:
    class Iris:
        async def predict(self, context: Context, flowers: pd.DataFrame, *, top: int = 3) -> int:
            return 1

    signature = read(Iris.predict, skip_self=True)
    assert [(p.name, p.required, p.kind) for p in signature.parameters] == [
        ("flowers", True, "either"),
        ("top", False, "keyword"),
    ]
    assert signature.context_parameter == "context"
    assert signature.is_async
    assert not signature.streams


def test_an_optional_context_is_found() -> None:
    def function(x: int, context: Context | None = None) -> None: ...

    assert read(function).context_parameter == "context"


def test_a_single_positional_only_parameter_is_the_root() -> None:
    def function(x: int, /, *, context: Context) -> None: ...

    assert [p.root for p in read(function).parameters] == [True]


def sync_items() -> Iterator[int]:
    yield 1


async def async_items() -> AsyncIterator[int]:
    yield 1


def generated() -> Generator[int, None, None]:
    yield 1


def iterated() -> Iterable[int]:
    yield 1


def returned() -> Iterator[int]:
    return iter([1])


@pytest.mark.parametrize("function", [sync_items, async_items, generated, iterated, returned])
def test_generators_are_streams_of_their_items(function: Callable[..., Any]) -> None:
    signature = read(function)
    assert signature.streams
    assert signature.returns.hint is int


def no_annotation(x) -> None: ...
def unknown_class(x: Custom) -> None: ...
def nested_unknown(x: dict[str, list[Custom]]) -> None: ...
def unknown_return() -> Custom: ...
def star_args(*args: int) -> None: ...
def star_kwargs(**kwargs: int) -> None: ...
def unresolved(x: Missing) -> None: ...
def root_beside_others(x: int, /, y: int) -> None: ...
def two_contexts(a: Context, b: Context) -> None: ...
def callback(x: Callable[[], int]) -> None: ...
def image_module(x: Image) -> None: ...  # pyright: ignore
def tuple_keys(x: dict[tuple[int, int], int]) -> None: ...
def bad_dtype(x: Annotated[np.ndarray, "fine"], y: complex) -> None: ...


@pytest.mark.parametrize(
    ("function", "named"),
    [
        (no_annotation, "'x' has no type annotation"),
        (unknown_class, "Custom"),
        (nested_unknown, "Custom"),
        (unknown_return, "'return'"),
        (star_args, r"\*args"),
        (star_kwargs, r"\*\*kwargs"),
        (unresolved, "Missing"),
        (root_beside_others, "positional-only"),
        (two_contexts, "more than one"),
        (callback, "Callable"),
        (image_module, "'x'"),
        (bad_dtype, "'y'"),
    ],
)
def test_what_cannot_travel_is_refused_with_its_place(
    function: Callable[..., Any], named: str
) -> None:
    with pytest.raises(UnsupportedHint, match=named) as caught:
        read(function)
    assert "Iris.predict" in caught.value.message
    assert caught.value.remedy


class Flower(pydantic.BaseModel):
    sepal: float
    parent: Flower | None = None


def described(
    table: Annotated[pd.DataFrame, Columns(a="float64", b="str")],
    array: Annotated[npt.NDArray[np.float32], Shape(None, 4)],
    image: Image.Image,
    upload: Annotated[Path, MediaType("application/pdf")],
    tree: Tree,
    flower: Flower,
    either: Union[int, str, None] = None,  # noqa: UP007
    nested: dict[str, Annotated[np.ndarray, DType("int8")]] = {},  # noqa: B006
) -> list[np.ndarray]: ...


def test_a_description_rebuilds_the_signature() -> None:
    description = compile_codec(read(described)).describe()
    schema = msgspec.json.decode(msgspec.json.encode(description))
    again = Signature.from_description(schema)
    assert [p.name for p in again.parameters] == [p.name for p in read(described).parameters]
    table, array, image, upload, tree, flower, either, nested = again.describe()["parameters"]
    assert (table, array, image, upload) == tuple(schema["parameters"][:4])
    assert either["schema"] == schema["parameters"][6]["schema"]
    assert nested["schema"]["additionalProperties"]["x-dosirak-dtype"] == "int8"
    assert tree["schema"]["type"] == flower["schema"]["type"] == "object"
    assert again.describe()["returns"] == schema["returns"]


def test_a_schema_stands_alone() -> None:
    text = msgspec.json.encode(read(described).describe())
    assert b"$ref" not in text
    assert b"x-dosirak-recursive" in text


def test_reading_hints_imports_no_library() -> None:
    program = (
        "import pkgutil, importlib, sys, dosirak.payload as p\n"
        "for m in pkgutil.iter_modules(p.__path__):\n"
        "    importlib.import_module('dosirak.payload.' + m.name)\n"
        "from dosirak.payload.signature import inspect_signature\n"
        "from dosirak.payload.codec import compile_codec, compile_client_codec\n"
        "from dosirak.payload.wire import WireRequest\n"
        "from pathlib import Path\n"
        "def f(a: int, b: Path, c: list[str]) -> dict[str, float]: ...\n"
        "s = inspect_signature(f, where='f', skip_self=False, context_type=None)\n"
        "compile_client_codec(s); c = compile_codec(s); c.describe(); c.encode({}, WireRequest())\n"
        "heavy = {'numpy','pandas','polars','pyarrow','torch','PIL','pydantic','attrs'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_default_of_a_set_is_described_in_one_order():
    program = (
        "from dosirak.payload.signature import inspect_signature\n"
        "names = frozenset({'alpha', 'beta', 'gamma', 'delta'})\n"
        "def api(tags: frozenset[str] = names) -> int: ...\n"
        "print(inspect_signature(api, where='api').describe())\n"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in "123"
    }
    assert len(told) == 1
