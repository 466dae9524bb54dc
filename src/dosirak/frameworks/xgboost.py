"""XGBoost: a Booster or a scikit-learn wrapper, in XGBoost's own UBJSON.

The wrapper's class name and the parameters that JSON can hold are kept in the manifest; the file
holds everything that decides a prediction. Files are checked for well-formedness before XGBoost
reads them, because its reader crashes the process on a truncated one.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dosirak.errors import UsageError
from dosirak.models.features import fitting_rows, row_method, rows_hint, taking_rows
from dosirak.models.framework import ModelMethod, SavedFormat
from dosirak.models.library import (
    import_library,
    library_versions,
    lineage,
    optional_library,
    pins,
)
from dosirak.models.model_file import (
    checked_file,
    checked_options,
    corrupt,
    json_values,
    reading,
    writing,
)
from dosirak.models.ubjson import check_ubjson

NAME = "xgboost"
_FORMAT = "ubj"
_FILE = "model.ubj"
_WHAT = "XGBoost UBJSON"
_WRAPPERS = ("XGBClassifier", "XGBRegressor", "XGBRanker", "XGBRFClassifier", "XGBRFRegressor")
_MACHINE_PARAMETERS = frozenset({"device", "callbacks", "verbosity"})


def detect(model: object) -> bool:
    """Whether it is a Booster or one of the scikit-learn wrappers."""
    return not lineage(model).isdisjoint({"xgboost.Booster", "xgboost.XGBModel"})


def save(model: Any, directory: Path, *, options: Mapping[str, Any]) -> SavedFormat:
    """Write UBJSON.

    Raises:
        UsageError: the model is not fitted, or is a class of the user's own.
    """
    checked_options(options, framework=NAME)
    wrapper = _wrapper_name(model)
    path = directory / _FILE
    with writing(_WHAT, directory, remedy="Fit the model before saving it."):
        model.save_model(path)
        check_ubjson(path)  # the library may not report a disk that filled up
    names = {"xgboost", "numpy"} | ({"scikit-learn"} if wrapper else set())
    return SavedFormat(
        _FORMAT,
        options={"wrapper": wrapper, "parameters": _parameters(model) if wrapper else {}},
        library_versions=library_versions(names | ({"pandas"} if _names(model) else set())),
    )


def _wrapper_name(model: Any) -> str:
    if "xgboost.XGBModel" not in lineage(model):
        return ""
    kind = type(model)
    if kind.__name__ not in _WRAPPERS or not kind.__module__.startswith("xgboost."):
        raise UsageError(
            f"{kind.__qualname__} is not one of XGBoost's own classes.",
            remedy="Save model.get_booster(), or one of: " + ", ".join(_WRAPPERS) + ".",
        )
    return kind.__name__


def _parameters(model: Any) -> dict[str, Any]:
    """What was asked for at training, less what belongs to the training machine."""
    given = {name: value for name, value in model.get_params().items() if value is not None}
    return json_values({n: v for n, v in given.items() if n not in _MACHINE_PARAMETERS})


def load(directory: Path, saved: SavedFormat) -> Any:
    """Read the booster, inside its wrapper where it had one.

    Raises:
        CorruptContent: the file is not XGBoost's UBJSON, or the manifest names another class.
    """
    xgboost = import_library("xgboost", extra="xgboost")
    path = checked_file(directory, _FILE, what=_WHAT, magic=b"{")
    check_ubjson(path)
    wrapper = saved.options.get("wrapper", "")
    if wrapper not in ("", *_WRAPPERS):
        raise corrupt(_WHAT, "its record names a class that XGBoost does not have")
    with reading(_WHAT):
        kind = getattr(xgboost, wrapper or "Booster")
        model = kind(**saved.options.get("parameters", {}))
        model.load_model(path)
    return model


def _booster(model: Any) -> Any:
    return model.get_booster() if hasattr(model, "get_booster") else model


def _names(model: Any) -> tuple[str, ...]:
    return tuple(_booster(model).feature_names or ())


def methods(model: Any) -> tuple[ModelMethod, ...]:
    """Offer `predict`, and `predict_proba` for classifiers; tables if features have names."""
    numpy = import_library("numpy", extra="xgboost")
    booster = _booster(model)
    names = _names(model)
    kinds = booster.feature_types or ()
    hint = rows_hint(
        numpy,
        optional_library("pandas") if names else None,
        names=names,
        width=booster.num_features(),
        dtypes={
            name: "float64" for name, kind in zip(names, kinds, strict=False) if kind == "float"
        },
    )
    offered = [name for name in ("predict", "predict_proba") if hasattr(model, name)]
    return tuple(row_method(name, hint, numpy.ndarray) for name in offered)


def call(model: Any, method: str, value: Any) -> Any:
    """Predict for rows in an array or a table.

    Raises:
        InvalidInput: the rows do not have the model's features.
    """
    numpy = import_library("numpy", extra="xgboost")
    booster = _booster(model)
    rows = fitting_rows(value, names=_names(model), width=booster.num_features())
    if booster is not model and method in ("predict", "predict_proba") and hasattr(model, method):
        with taking_rows():
            return numpy.asarray(getattr(model, method)(rows))
    if method != "predict":
        raise UsageError(f"The model has no method {method!r}.", remedy="Use predict.")
    with taking_rows():
        return numpy.asarray(booster.predict(_matrix(booster, rows)))


def _matrix(booster: Any, rows: Any) -> Any:
    xgboost = import_library("xgboost", extra="xgboost")
    if hasattr(rows, "columns"):
        return xgboost.DMatrix(rows, enable_categorical=True)
    return xgboost.DMatrix(
        rows, feature_names=booster.feature_names, feature_types=booster.feature_types
    )


def requirements(saved: SavedFormat) -> tuple[str, ...]:
    """Return XGBoost and what its wrapper and its tables need."""
    return pins(saved.library_versions)
