"""The seam between msgspec and the types it does not know: arrays, tables, images, models, ….

A `Leaf` reads and writes one such type, as one author's hint describes it. msgspec calls back with
nothing but a type, so each leaf gets a placeholder class of its own, which stands in its place in
the types that msgspec compiles; `read_hook`, `write_hook` and `pack_hook` find the leaf from it.
"""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

from msgspec import Struct

from dosirak.payload.media import MediaRange
from dosirak.payload.problems import Problem, a_type


class Written(Struct, frozen=True):
    """A raw body on its way out."""

    body: bytes
    content_type: str
    filename: str = ""


class RawForm(Protocol):
    """How one value alone can be a whole body that is neither JSON nor msgpack.

    Attributes:
        media_types: what `dump` can write, best first; `load` may take more (see `takes`).
        raw_first: whether a result is written raw unless the caller asks otherwise.
        compact: whether dosirak's own client sends and asks for it rather than JSON.
        is_file: whether it goes as a file of its own in a form.
    """

    media_types: tuple[str, ...]
    raw_first: bool
    compact: bool
    is_file: bool

    def takes(self, media: MediaRange) -> bool:
        """Whether `load` can read a body of this media type."""
        ...

    def load(self, body: memoryview, media: MediaRange) -> Any:
        """Read a body.

        Raises:
            Problem: the bytes are not what the media type says.
        """
        ...

    def dump(self, value: Any, media_type: str) -> Written:
        """Write a value as one of `media_types`.

        Raises:
            Problem: the value does not fit.
        """
        ...


class Leaf:
    """Reads and writes values of one type that msgspec does not know."""

    kind: ClassVar[str]

    def read(self, value: Any) -> Any:
        """Make the value from JSON or msgpack values.

        Raises:
            Problem: they do not describe such a value.
        """
        raise NotImplementedError

    def write(self, value: Any) -> Any:
        """Return what msgspec can write as JSON.

        Raises:
            Problem: the value does not fit the hint.
        """
        raise NotImplementedError

    def pack(self, value: Any) -> Any:
        """Return what msgspec can write as msgpack; the same as `write`, unless bytes do better."""
        return self.write(value)

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema of the JSON form, with `x-dosirak-*` extensions."""
        raise NotImplementedError


class _Anything(type):
    """msgspec checks that a hook returned an instance of the placeholder: it always did."""

    leaf: Leaf

    def __instancecheck__(cls, instance: object) -> bool:
        return True


def placeholder(leaf: Leaf) -> Any:
    """Return a class that stands for the leaf in types given to msgspec."""
    return _Anything(leaf.kind, (), {"leaf": leaf})


def leaf_of(wire: Any) -> Leaf | None:
    """Return the leaf that a type stands for, if it is a placeholder."""
    return wire.leaf if isinstance(wire, _Anything) else None


def read_hook(kind: Any, value: Any) -> Any:
    """`dec_hook` for requests."""
    try:
        return kind.leaf.read(value)
    except Problem:
        raise
    except Exception as error:
        # Third-party constructors and validators meet hostile values here: whatever they raise, the
        # caller's value did not fit.
        raise Problem(reason_of(error)) from error


def write_hook(kind: Any, value: Any) -> Any:
    """`dec_hook` for results on their way to JSON."""
    return kind.leaf.write(value)


def pack_hook(kind: Any, value: Any) -> Any:
    """`dec_hook` for results on their way to msgpack."""
    return kind.leaf.pack(value)


def schema_hook(kind: Any) -> dict[str, Any]:
    """`schema_hook` for JSON Schema."""
    return kind.leaf.schema()


def reason_of(error: Exception) -> str:
    """Say in one line why a library refused a value, without showing the server's insides."""
    if isinstance(error, ValueError | TypeError | AssertionError | OverflowError):
        first_line = str(error).strip().partition("\n")[0][:200].rstrip(".")
        return first_line or "the value does not fit"
    return "the value cannot be read"


def type_problem(expected: str, value: Any) -> Problem:
    """Return the problem of a value of another type."""
    return Problem(f"expected {expected}, got {json_type(value)}")


def json_type(value: Any) -> str:
    """Name a decoded value's type in a caller's words."""
    names: dict[type, str] = {
        bool: "true or false",
        int: "an integer",
        float: "a number",
        str: "text",
        list: "an array",
        dict: "an object",
        bytes: "bytes",
        type(None): "null",
    }
    return names.get(type(value)) or a_type(value)
