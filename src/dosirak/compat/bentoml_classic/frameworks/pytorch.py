"""PyTorch modules: TorchScript in its own format, other modules pickled as 0.13 did."""

from __future__ import annotations

import zipfile
from typing import Any, Self

from dosirak.compat.bentoml_classic.artifacts import BentoServiceArtifact
from dosirak.compat.bentoml_classic.artifacts.libraries import need
from dosirak.compat.bentoml_classic.artifacts.pickles import read_pickle, write_pickle
from dosirak.compat.bentoml_classic.exceptions import ArtifactLoadingException, InvalidArgument


class PytorchModelArtifact(BentoServiceArtifact):
    """Keeps a `torch.nn.Module` as `<name>.pt`. A module that is not TorchScript needs pickle.

    Args:
        name: the artifact's name.
        file_extension: the file's suffix, dot included.
    """

    def __init__(self, name: str, file_extension: str = ".pt") -> None:
        super().__init__(name)
        self._file_extension = file_extension
        self._model: Any = None
        self.saved_format = ""

    def pack(self, model: Any, metadata: dict[str, Any] | None = None) -> Self:
        """Take the module.

        Raises:
            InvalidArgument: it is no module (the caller's fault).
        """
        torch = need("torch", type(self).__name__)
        if not isinstance(model, torch.nn.Module):
            raise InvalidArgument(
                f"{type(self).__name__} cannot pack a {type(model).__name__}.",
                remedy="Pack a torch.nn.Module or TorchScript module.",
            )
        self._model = model
        return self

    def get(self) -> Any:
        """Return the module."""
        return self._model

    def save(self, dst: str) -> None:
        """Write the module."""
        path = self.file_path(dst, self._file_extension)
        torch = need("torch", type(self).__name__)
        if isinstance(self._model, torch.jit.ScriptModule):
            self.saved_format = "torchscript"
            torch.jit.save(self._model, str(path))
            return
        self.saved_format = "pickle"
        write_pickle(self._model, path)

    def load(self, path: str) -> Self:
        """Read the module.

        Raises:
            ArtifactLoadingException: there is no module in the file.
        """
        file = self.file_path(path, self._file_extension)
        try:
            return self.pack(self._read(file))
        except InvalidArgument as error:
            raise ArtifactLoadingException(
                f"The artifact {self.name!r} holds no module.", remedy="Save it again."
            ) from error

    def _read(self, path: Any) -> Any:
        if zipfile.is_zipfile(path):
            self.saved_format = "torchscript"
            return need("torch", type(self).__name__).jit.load(str(path))
        self.saved_format = "pickle"
        return read_pickle(path)

    def set_dependencies(self, env: Any) -> None:
        """Add torch, and what reads a pickled module."""
        if env.infers:
            env.add_pip_packages(["torch", "cloudpickle"])


class PytorchLightningModelArtifact(BentoServiceArtifact):
    """Keeps a Lightning module as TorchScript, `<name>.pt`; gives back the TorchScript module."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._model: Any = None

    def pack(self, path_or_model: Any, metadata: dict[str, Any] | None = None) -> Self:
        """Take a Lightning module, a TorchScript module, or the path of a TorchScript file.

        Raises:
            InvalidArgument: it is none of them (the caller's fault).
        """
        torch = need("torch", type(self).__name__)
        if isinstance(path_or_model, torch.jit.ScriptModule):
            self._model = path_or_model
        elif hasattr(path_or_model, "to_torchscript"):
            self._model = path_or_model.to_torchscript()
        elif isinstance(path_or_model, str):
            self._model = torch.jit.load(path_or_model)
        else:
            raise InvalidArgument(
                f"{type(self).__name__} cannot pack a {type(path_or_model).__name__}.",
                remedy="Pack a LightningModule, a TorchScript module or the path of one.",
            )
        return self

    def get(self) -> Any:
        """Return the TorchScript module."""
        return self._model

    def save(self, dst: str) -> None:
        """Write the module."""
        torch = need("torch", type(self).__name__)
        torch.jit.save(self._model, str(self.file_path(dst, ".pt")))

    def load(self, path: str) -> Self:
        """Read the module."""
        return self.pack(str(self.file_path(path, ".pt")))

    def set_dependencies(self, env: Any) -> None:
        """Add torch: a TorchScript module needs no Lightning."""
        if env.infers:
            env.add_pip_packages(["torch"])
