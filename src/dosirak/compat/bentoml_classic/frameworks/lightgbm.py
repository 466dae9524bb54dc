"""LightGBM models in LightGBM's text format."""

from __future__ import annotations

from typing import Any, Self

from dosirak.compat.bentoml_classic.artifacts import BentoServiceArtifact
from dosirak.compat.bentoml_classic.artifacts.libraries import need
from dosirak.compat.bentoml_classic.exceptions import ArtifactLoadingException, InvalidArgument

_OWNER = "LightGBMModelArtifact"


class LightGBMModelArtifact(BentoServiceArtifact):
    """Keeps a `lightgbm.Booster` as `<name>.txt`."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._model: Any = None

    def pack(self, model: Any, metadata: dict[str, Any] | None = None) -> Self:
        """Take a Booster.

        Raises:
            InvalidArgument: it is something else (the caller's fault).
        """
        if not isinstance(model, need("lightgbm", _OWNER).Booster):
            raise InvalidArgument(
                f"{_OWNER} cannot pack a {type(model).__name__}.",
                remedy="Pack a lightgbm.Booster; a scikit-learn model has one as booster_.",
            )
        self._model = model
        return self

    def get(self) -> Any:
        """Return the Booster."""
        return self._model

    def save(self, dst: str) -> None:
        """Write the Booster."""
        self._model.save_model(str(self.file_path(dst, ".txt")))

    def load(self, path: str) -> Self:
        """Read the Booster.

        Raises:
            ArtifactLoadingException: LightGBM cannot read the file.
        """
        lightgbm = need("lightgbm", _OWNER)
        try:
            return self.pack(lightgbm.Booster(model_file=str(self.file_path(path, ".txt"))))
        except lightgbm.basic.LightGBMError as error:
            raise ArtifactLoadingException(
                f"LightGBM cannot read the artifact {self.name!r}.", remedy="Save it again."
            ) from error

    def set_dependencies(self, env: Any) -> None:
        """Add lightgbm."""
        if env.infers:
            env.add_pip_packages(["lightgbm"])
