"""Artifacts for objects of no particular library: pickled, JSON, text."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any, Self

from dosirak.compat.bentoml_classic.artifacts.artifact import BentoServiceArtifact
from dosirak.compat.bentoml_classic.artifacts.pickles import cloudpickle_module


class PickleArtifact(BentoServiceArtifact):
    """Keeps any object as `<name>.pkl`. Loading runs code: load only what you made or trust.

    Args:
        name: the artifact's name.
        pickle_module: a module with `dump` and `load`, or its name; cloudpickle if None.
    """

    def __init__(self, name: str, pickle_module: Any = None) -> None:
        super().__init__(name)
        self._pickle_module = pickle_module
        self._object: Any = None
        self.saved_format = "pickle"

    def _pickle(self) -> Any:
        if self._pickle_module is None:
            return cloudpickle_module()
        if isinstance(self._pickle_module, str):
            return importlib.import_module(self._pickle_module)
        return self._pickle_module

    def pack(self, obj: Any, metadata: dict[str, Any] | None = None) -> Self:
        """Take the object."""
        self._object = obj
        return self

    def save(self, dst: str) -> None:
        """Pickle the object."""
        with self.file_path(dst, ".pkl").open("wb") as file:
            self._pickle().dump(self._object, file)

    def load(self, path: str) -> Self:
        """Unpickle the object."""
        with self.file_path(path, ".pkl").open("rb") as file:
            return self.pack(self._pickle().load(file))

    def get(self) -> Any:
        """Return the object."""
        return self._object

    def set_dependencies(self, env: Any) -> None:
        """Add cloudpickle, when it is what reads the file."""
        if self._pickle_module is None:
            env.add_pip_packages(["cloudpickle"])


class JSONArtifact(BentoServiceArtifact):
    """Keeps a JSON value as `<name>.json`.

    Args:
        name: the artifact's name.
        encoding: the file's.
        json_module: anything with `dumps` and `loads`; the standard library's if None.
    """

    def __init__(self, name: str, encoding: str = "utf-8", json_module: Any = None) -> None:
        super().__init__(name)
        self._encoding = encoding
        self.json_module = json_module or json
        self._content: Any = None
        self._options: dict[str, Any] = {}

    def pack(
        self, content: Any, metadata: dict[str, Any] | None = None, **json_dumps_kwargs: Any
    ) -> Self:
        """Take the value; other arguments go to `dumps`."""
        self._content = content
        self._options = json_dumps_kwargs
        return self

    def save(self, dst: str) -> None:
        """Write the value."""
        text = self.json_module.dumps(self._content, **self._options)
        data = text if isinstance(text, bytes) else text.encode(self._encoding)
        self.file_path(dst, ".json").write_bytes(data)

    def load(self, path: str) -> Self:
        """Read the value."""
        text = self.file_path(path, ".json").read_bytes().decode(self._encoding)
        return self.pack(self.json_module.loads(text))

    def get(self) -> Any:
        """Return the value."""
        return self._content


class TextFileArtifact(BentoServiceArtifact):
    """Keeps text as `<name><file_extension>`.

    Args:
        name: the artifact's name.
        file_extension: the file's suffix, dot included.
        encoding: the file's.
    """

    def __init__(self, name: str, file_extension: str = ".txt", encoding: str = "utf-8") -> None:
        super().__init__(name)
        self._file_extension = file_extension
        self._encoding = encoding
        self._content = ""

    def _file(self, folder: str) -> Path:
        return self.file_path(folder, self._file_extension)

    def pack(self, content: str, metadata: dict[str, Any] | None = None) -> Self:
        """Take the text."""
        self._content = content
        return self

    def save(self, dst: str) -> None:
        """Write the text."""
        self._file(dst).write_bytes(self._content.encode(self._encoding))

    def load(self, path: str) -> Self:
        """Read the text."""
        return self.pack(self._file(path).read_bytes().decode(self._encoding))

    def get(self) -> str:
        """Return the text."""
        return self._content
