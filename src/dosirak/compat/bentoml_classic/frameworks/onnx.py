"""ONNX models, given back as an ONNX Runtime session."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from dosirak.compat.bentoml_classic.artifacts import BentoServiceArtifact
from dosirak.compat.bentoml_classic.artifacts.libraries import need
from dosirak.compat.bentoml_classic.exceptions import InvalidArgument

_BACKENDS = ("onnxruntime", "onnxruntime-gpu")
_OWNER = "OnnxModelArtifact"


class OnnxModelArtifact(BentoServiceArtifact):
    """Keeps a model as `<name>.onnx`; `get` is an `onnxruntime.InferenceSession`.

    Args:
        name: the artifact's name.
        backend: `onnxruntime` or `onnxruntime-gpu`.
        providers: ONNX Runtime's execution providers; all that are there if None.
    """

    def __init__(
        self,
        name: str,
        backend: str = "onnxruntime",
        providers: Sequence[str] | None = None,
    ) -> None:
        super().__init__(name)
        if backend not in _BACKENDS:
            raise InvalidArgument(
                f"{_OWNER} does not know the backend {backend!r}.",
                remedy=f"Use one of: {', '.join(_BACKENDS)}.",
            )
        self.backend = backend
        self._providers = providers
        self._source: Any = None
        self._session: Any = None

    def pack(self, path_or_model_proto: Any, metadata: dict[str, Any] | None = None) -> Self:
        """Take a ModelProto or the path of an `.onnx` file.

        Raises:
            InvalidArgument: it is neither (the caller's fault).
        """
        is_path = isinstance(path_or_model_proto, str | Path)
        if not (is_path and Path(path_or_model_proto).is_file()) and not hasattr(
            path_or_model_proto, "SerializeToString"
        ):
            raise InvalidArgument(
                f"{_OWNER} needs a ModelProto or the path of an .onnx file.",
                remedy="Pack one of them.",
            )
        self._source, self._session = path_or_model_proto, None
        return self

    def get(self) -> Any:
        """Return the session, made when first asked for."""
        if self._session is None:
            runtime = need("onnxruntime", _OWNER, self.backend)
            source = self._source
            model = str(source) if isinstance(source, str | Path) else source.SerializeToString()
            providers = self._providers or runtime.get_available_providers()
            self._session = runtime.InferenceSession(model, providers=list(providers))
        return self._session

    def save(self, dst: str) -> None:
        """Write the model."""
        path = self.file_path(dst, ".onnx")
        if isinstance(self._source, str | Path):
            shutil.copyfile(self._source, path)
        else:
            path.write_bytes(self._source.SerializeToString())

    def load(self, path: str) -> Self:
        """Read the model."""
        return self.pack(self.file_path(path, ".onnx"))

    def set_dependencies(self, env: Any) -> None:
        """Add the backend."""
        if env.infers:
            env.add_pip_packages([self.backend])
