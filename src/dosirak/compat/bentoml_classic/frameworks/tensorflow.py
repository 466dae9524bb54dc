"""TensorFlow SavedModels."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any, Self

from dosirak.compat.bentoml_classic.artifacts import BentoServiceArtifact
from dosirak.compat.bentoml_classic.artifacts.libraries import need

_OWNER = "TensorflowSavedModelArtifact"


class TensorflowSavedModelArtifact(BentoServiceArtifact):
    """Keeps a SavedModel as the directory `<name>_saved_model`; `get` is what TensorFlow loads."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._path = Path()
        self._model: Any = None

    def pack(
        self,
        obj: Any,
        metadata: dict[str, Any] | None = None,
        signatures: Any = None,
        options: Any = None,
    ) -> Self:
        """Take a trackable object, or the path of a SavedModel."""
        self._model = None
        if isinstance(obj, str | Path):
            self._path = Path(obj)
            return self
        self._scratch = tempfile.TemporaryDirectory()
        self._path = Path(self._scratch.name) / "saved_model"
        tensorflow = need("tensorflow", _OWNER)
        tensorflow.saved_model.save(obj, str(self._path), signatures=signatures, options=options)
        return self

    def get(self) -> Any:
        """Return the loaded SavedModel, read when first asked for."""
        if self._model is None:
            self._model = need("tensorflow", _OWNER).saved_model.load(str(self._path))
        return self._model

    def save(self, dst: str) -> None:
        """Write the SavedModel."""
        shutil.copytree(self._path, self.file_path(dst, "_saved_model"))

    def load(self, path: str) -> Self:
        """Read the SavedModel."""
        return self.pack(self.file_path(path, "_saved_model"))

    def set_dependencies(self, env: Any) -> None:
        """Add tensorflow."""
        if env.infers:
            env.add_pip_packages(["tensorflow"])
