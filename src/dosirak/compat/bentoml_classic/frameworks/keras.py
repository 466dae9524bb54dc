"""Keras models in Keras' own format, with Keras 3 or the one inside TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from dosirak.compat.bentoml_classic.artifacts import BentoServiceArtifact
from dosirak.compat.bentoml_classic.artifacts.libraries import need
from dosirak.compat.bentoml_classic.exceptions import InvalidArgument

_OWNER = "KerasModelArtifact"


class KerasModelArtifact(BentoServiceArtifact):
    """Keeps a model as `<name>.keras`; reads 0.13's `<name>.h5` too.

    Custom objects are not saved: give them as `default_custom_objects`, whose code travels with the
    service, or register them with Keras.

    Args:
        name: the artifact's name.
        default_custom_objects: the author's own classes by name, given to Keras when loading.
        store_as_json_and_weights: write the architecture and the weights as two files.
    """

    def __init__(
        self,
        name: str,
        default_custom_objects: Mapping[str, Any] | None = None,
        store_as_json_and_weights: bool = False,
    ) -> None:
        super().__init__(name)
        self._custom_objects = default_custom_objects
        self._as_json_and_weights = store_as_json_and_weights
        self._model: Any = None

    def pack(self, data: Any, metadata: dict[str, Any] | None = None) -> Self:
        """Take a model, or a dict with `model` and `custom_objects`.

        Raises:
            InvalidArgument: there is no model in it (the caller's fault).
        """
        model = data["model"] if isinstance(data, dict) else data
        if isinstance(data, dict):
            self._custom_objects = data.get("custom_objects", self._custom_objects)
        if not isinstance(model, need("keras", _OWNER).Model):
            raise InvalidArgument(
                f"{_OWNER} cannot pack a {type(model).__name__}.", remedy="Pack a keras.Model."
            )
        self._model = model
        return self

    def get(self) -> Any:
        """Return the model."""
        return self._model

    def save(self, dst: str) -> None:
        """Write the model."""
        if not self._as_json_and_weights:
            self._model.save(self.file_path(dst, ".keras"))
            return
        self.file_path(dst, "_json.json").write_text(self._model.to_json(), "utf-8")
        self._model.save_weights(self.file_path(dst, ".weights.h5"))

    def load(self, path: str) -> Self:
        """Read the model."""
        models = need("keras", _OWNER).models
        architecture = self.file_path(path, "_json.json")
        if architecture.is_file():
            model = models.model_from_json(
                architecture.read_text("utf-8"), custom_objects=self._custom_objects
            )
            model.load_weights(self.file_path(path, ".weights.h5"))
            return self.pack(model)
        saved = self.file_path(path, ".keras")
        file = saved if saved.is_file() else self.file_path(path, ".h5")
        return self.pack(models.load_model(file, custom_objects=self._custom_objects))

    def set_dependencies(self, env: Any) -> None:
        """Add keras."""
        if env.infers:
            env.add_pip_packages(["keras"])
