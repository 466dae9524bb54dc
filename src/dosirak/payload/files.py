"""Files: a `pathlib.Path` parameter is an uploaded file, a returned `Path` is a download.

The upload is written into a directory of its own that only this user can read, and is deleted with
the last reference to the path; a handler that wants to keep it copies it. In JSON a file is base64.
"""

from __future__ import annotations

import base64
import binascii
import mimetypes
import os
import re
import shutil
import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any

from dosirak.payload.annotations import MediaType
from dosirak.payload.leaf import Leaf, Written, type_problem
from dosirak.payload.media import OCTETS, MediaRange
from dosirak.payload.problems import Problem
from dosirak.payload.scalars import concrete

_UNSAFE = re.compile(r"[^\w.() -]")
_MAX_NAME = 100


class UploadedFile(type(Path())):
    """A file in a temporary directory that goes when this path does."""

    @classmethod
    def holding(cls, body: bytes | memoryview, name: str) -> UploadedFile:
        """Write the body under a safe form of the name."""
        directory = tempfile.mkdtemp(prefix="dosirak-upload-")
        path = cls(directory, safe_name(name))
        # Bound before the write, so that a full disk leaves nothing behind.
        weakref.finalize(path, shutil.rmtree, directory, True)
        path.write_bytes(body)
        return path


def safe_name(name: str) -> str:
    """Return the last part of a sender's file name, harmless in a directory and a shell."""
    last = PurePath(name.replace("\\", "/")).name
    text = _UNSAFE.sub("_", last).lstrip(".-")[-_MAX_NAME:]
    return text or "upload"


class FileLeaf(Leaf):
    """One `Path`."""

    kind = "file"
    raw_first = True
    compact = True
    is_file = True

    def __init__(self, media_type: MediaType | None) -> None:
        self._media_type = media_type
        self._range = MediaRange(media_type.name if media_type else "*/*")
        self.media_types = (concrete(self._range.name, OCTETS),)

    def read(self, value: Any) -> Any:
        """Make a file from base64 text or bytes."""
        return UploadedFile.holding(read_bytes(value), f"upload{self._suffix(self._range.name)}")

    def write(self, value: Any) -> Any:
        """Return the file's content; msgspec writes it as base64."""
        return _content(value)

    def schema(self) -> dict[str, Any]:
        """Return base64 text."""
        schema: dict[str, Any] = {"type": "string", "contentEncoding": "base64"}
        if self._media_type is not None:
            schema["contentMediaType"] = self._media_type.name
        return {**schema, "x-dosirak-type": self.kind}

    def takes(self, media: MediaRange) -> bool:
        """Whether this is the declared media type, or bytes of no stated kind."""
        return self._range.covers(media.name) or media.name == OCTETS

    def load(self, body: memoryview, media: MediaRange) -> Any:
        """Write the body to a file."""
        return self.load_named(body, media, "")

    def load_named(self, body: memoryview, media: MediaRange, filename: str) -> Any:
        """Write the body to a file with the sender's name for it, made safe."""
        return UploadedFile.holding(body, filename or f"upload{self._suffix(media.name)}")

    def dump(self, value: Any, media_type: str) -> Written:
        """Return the file's content with its media type and name."""
        body = _content(value)
        name = _name(value)
        if self._media_type is None or "*" in self._media_type.name:
            media_type = mimetypes.guess_type(name)[0] or media_type
        return Written(body, media_type, name)

    @staticmethod
    def _suffix(media_type: str) -> str:
        return (mimetypes.guess_extension(media_type) or "") if "*" not in media_type else ""


def read_bytes(value: Any) -> bytes:
    """Return bytes from msgpack bytes or JSON base64.

    Raises:
        Problem: it is neither.
    """
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise type_problem("base64 text", value)
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Problem("is not base64") from error


def _content(value: Any) -> bytes:
    if isinstance(value, bytes | bytearray):
        return bytes(value)
    if isinstance(value, str | os.PathLike):
        try:
            return Path(value).read_bytes()
        except OSError as error:
            raise Problem(f"the file cannot be read: {error.strerror}") from error
    if hasattr(value, "read"):
        content = value.read()
        return content.encode() if isinstance(content, str) else bytes(content)
    raise Problem(f"expected a path, got {type(value).__name__}")


def _name(value: Any) -> str:
    source = value if isinstance(value, str | os.PathLike) else getattr(value, "name", "")
    return PurePath(os.fspath(source)).name if isinstance(source, str | os.PathLike) else ""


def recognise(hint: Any, annotations: Sequence[Any]) -> Leaf | None:
    """Return the leaf of a `Path` hint."""
    if not (isinstance(hint, type) and issubclass(hint, PurePath)):
        return None
    return FileLeaf(next((a for a in annotations if isinstance(a, MediaType)), None))
