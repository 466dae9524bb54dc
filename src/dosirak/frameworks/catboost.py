"""CatBoost: its own binary format (`.cbm`), which holds class labels and parameters too.

The manifest keeps the class's name. Training puts a time and an id of its own into the model, so
the same model saves to the same bytes, while training twice gives two models.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dosirak.errors import UsageError
from dosirak.models.features import fitting_rows, plain_array, row_method, rows_hint, taking_rows
from dosirak.models.framework import ModelMethod, SavedFormat
from dosirak.models.library import (
    import_library,
    library_versions,
    lineage,
    optional_library,
    pins,
)
from dosirak.models.model_file import checked_file, checked_options, corrupt, reading, writing

NAME = "catboost"
_FORMAT = "cbm"
_FILE = "model.cbm"
_WHAT = "CatBoost"
_CLASSES = ("CatBoost", "CatBoostClassifier", "CatBoostRegressor", "CatBoostRanker")
_HEADER_BYTES = 8  # the magic, then the length of the core as a little-endian u32


def detect(model: object) -> bool:
    """Whether it is a CatBoost model of any kind."""
    return "catboost.CatBoost" in lineage(model)


def save(model: Any, directory: Path, *, options: Mapping[str, Any]) -> SavedFormat:
    """Write the `.cbm` file.

    Raises:
        UsageError: the model is not fitted, or is a class of the user's own.
    """
    checked_options(options, framework=NAME)
    kind = type(model)
    if kind.__name__ not in _CLASSES or not kind.__module__.startswith("catboost."):
        raise UsageError(
            f"{kind.__qualname__} is not one of CatBoost's own classes.",
            remedy="Save one of: " + ", ".join(_CLASSES) + ".",
        )
    with writing(_WHAT, directory, remedy="Fit the model before saving it."):
        model.save_model(str(directory / _FILE), format=_FORMAT)
        _checked(directory)  # the library may not report a disk that filled up
    libraries = {"catboost", "numpy"} | ({"pandas"} if _names(model) else set())
    return SavedFormat(
        _FORMAT, options={"class": kind.__name__}, library_versions=library_versions(libraries)
    )


def _checked(directory: Path) -> Path:
    path = checked_file(directory, _FILE, what=_WHAT, magic=b"CBM1")
    with path.open("rb") as file:
        core_bytes = int.from_bytes(file.read(_HEADER_BYTES)[4:], "little")
    if path.stat().st_size < _HEADER_BYTES + core_bytes:
        raise corrupt(_WHAT, "it ends too early")
    return path


def load(directory: Path, saved: SavedFormat) -> Any:
    """Read the model into its class.

    Raises:
        CorruptContent: the file is not CatBoost's, or the manifest names another class.
    """
    catboost = import_library("catboost", extra="catboost")
    path = _checked(directory)
    kind = saved.options.get("class")
    if kind not in _CLASSES:
        raise corrupt(_WHAT, "its record names a class that CatBoost does not have")
    with reading(_WHAT):
        return getattr(catboost, kind)().load_model(str(path), format=_FORMAT)


def _names(model: Any) -> tuple[str, ...]:
    """The features' names, unless the library numbered them itself."""
    names = tuple(model.feature_names_)
    return () if names == tuple(str(index) for index in range(len(names))) else names


def methods(model: Any) -> tuple[ModelMethod, ...]:
    """Offer `predict`, and `predict_proba` for classifiers; tables if features have names."""
    numpy = import_library("numpy", extra="catboost")
    names = _names(model)
    hint = rows_hint(
        numpy,
        optional_library("pandas") if names else None,
        names=names,
        width=len(model.feature_names_),
    )
    offered = [name for name in ("predict", "predict_proba") if hasattr(model, name)]
    return tuple(row_method(name, hint, numpy.ndarray) for name in offered)


def call(model: Any, method: str, value: Any) -> Any:
    """Predict for rows in an array or a table; one label or number for each row.

    Raises:
        InvalidInput: the rows do not have the model's features.
    """
    if method not in ("predict", "predict_proba") or not hasattr(model, method):
        raise UsageError(f"The model has no method {method!r}.", remedy="Use predict.")
    numpy = import_library("numpy", extra="catboost")
    rows = fitting_rows(value, names=_names(model), width=len(model.feature_names_))
    with taking_rows(import_library("catboost", extra="catboost").CatBoostError):
        result = plain_array(getattr(model, method)(rows), numpy)
    # Labels of several classes come as a column; every other library gives them flat.
    return result[:, 0] if result.ndim == 2 and result.shape[1] == 1 else result


def requirements(saved: SavedFormat) -> tuple[str, ...]:
    """Return CatBoost and what its tables need."""
    return pins(saved.library_versions)
