"""XGBoost models in XGBoost's own format: a Booster comes back as one, an XGBModel as its class."""

from __future__ import annotations

import json
from typing import Any, Self

from dosirak.compat.bentoml_classic.artifacts import BentoServiceArtifact
from dosirak.compat.bentoml_classic.artifacts.libraries import need
from dosirak.compat.bentoml_classic.exceptions import ArtifactLoadingException, InvalidArgument

_OWNER = "XgboostModelArtifact"


class XgboostModelArtifact(BentoServiceArtifact):
    """Keeps a model as `<name>.ubj`; reads 0.13's `<name>.model` too.

    0.13 took only a Booster, whose `predict` wants a DMatrix. This takes XGBoost's scikit-learn
    models as well and gives back the same class; and a Booster given back takes tables and arrays
    besides a DMatrix.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._model: Any = None
        self._served: Any = None

    def pack(self, model: Any, metadata: dict[str, Any] | None = None) -> Self:
        """Take a Booster or an XGBModel.

        Raises:
            InvalidArgument: it is neither (the caller's fault).
        """
        xgboost = need("xgboost", _OWNER)
        if not isinstance(model, xgboost.Booster | xgboost.XGBModel):
            raise InvalidArgument(
                f"{_OWNER} cannot pack a {type(model).__name__}.",
                remedy="Pack an xgboost.Booster or one of XGBoost's scikit-learn models.",
            )
        self._model = model
        is_booster = isinstance(model, xgboost.Booster)
        self._served = _accepting_tables(xgboost, model) if is_booster else model
        return self

    def get(self) -> Any:
        """Return the model."""
        return self._served

    def save(self, dst: str) -> None:
        """Write the model and, for an XGBModel, the name of its class."""
        self._model.save_model(self.file_path(dst, ".ubj"))
        xgboost = need("xgboost", _OWNER)
        if isinstance(self._model, xgboost.XGBModel):
            name = _public_class(xgboost, self._model).__name__
            self.file_path(dst, ".class.json").write_text(json.dumps({"class": name}), "utf-8")

    def load(self, path: str) -> Self:
        """Read the model as the class it was.

        Raises:
            ArtifactLoadingException: this XGBoost cannot read the file.
        """
        xgboost = need("xgboost", _OWNER)
        described = self.file_path(path, ".class.json")
        name = json.loads(described.read_text("utf-8"))["class"] if described.is_file() else ""
        model = _class_named(xgboost, name)()
        saved = self.file_path(path, ".ubj")
        try:
            # Given as bytes, XGBoost judges 0.13's files by their content and not by their suffix.
            old = self.file_path(path, ".model")
            model.load_model(saved if saved.is_file() else bytearray(old.read_bytes()))
        except xgboost.core.XGBoostError as error:
            raise ArtifactLoadingException(
                f"XGBoost {xgboost.__version__} cannot read the artifact {self.name!r}.",
                remedy="Save the model again; XGBoost 3.1 no longer reads the old binary format.",
            ) from error
        return self.pack(model)

    def set_dependencies(self, env: Any) -> None:
        """Add xgboost; its scikit-learn models need scikit-learn too."""
        if not env.infers:
            return
        env.add_pip_packages(["xgboost"])
        if self._model is not None and hasattr(self._model, "get_xgb_params"):
            env.add_pip_packages(["scikit-learn"])


def _accepting_tables(xgboost: Any, booster: Any) -> Any:
    """Return a copy of the Booster whose `predict` takes what an adapter gives."""

    class TableBooster(xgboost.Booster):
        """A Booster that makes its own DMatrix."""

        def predict(self, data: Any, *args: Any, **kwargs: Any) -> Any:
            """Predict for a DMatrix, table or array; a flat array is one column."""
            return super().predict(self._matrix(data), *args, **kwargs)

        def _matrix(self, data: Any) -> Any:
            if isinstance(data, xgboost.DMatrix):
                return data
            if hasattr(data, "columns"):
                return xgboost.DMatrix(data)
            array = data.reshape(-1, 1) if getattr(data, "ndim", 2) == 1 else data
            # Without names of its own an array has the Booster's, by position.
            return xgboost.DMatrix(array, feature_names=self.feature_names)

    return TableBooster(model_file=booster.save_raw("ubj"))


def _public_class(xgboost: Any, model: Any) -> Any:
    """Return the nearest of XGBoost's own classes: a derived one is not there when loading."""
    return next(kind for kind in type(model).__mro__ if kind.__module__.startswith("xgboost."))


def _class_named(xgboost: Any, name: str) -> Any:
    if not name:
        return xgboost.Booster
    kind = getattr(xgboost, name, None)
    if isinstance(kind, type) and issubclass(kind, xgboost.XGBModel):
        return kind
    raise ArtifactLoadingException(
        f"{name!r} is not a model of XGBoost {xgboost.__version__}.",
        remedy="Install the version that saved it, named in requirements.txt.",
    )
