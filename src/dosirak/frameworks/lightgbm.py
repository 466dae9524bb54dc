"""LightGBM: a Booster or a scikit-learn wrapper, in LightGBM's own text format.

The text holds the trees; the manifest holds what a wrapper adds (its class, parameters and labels),
so that `predict` gives labels again with no pickle. LightGBM's reader aborts the process on a
truncated or damaged file, so the text is walked here first.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dosirak.errors import UsageError
from dosirak.models.features import (
    fitting_rows,
    named_rows,
    plain_array,
    row_method,
    rows_hint,
    taking_rows,
)
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
    survives_json,
    writing,
)

NAME = "lightgbm"
_FORMAT = "lightgbm_text"
_FILE = "model.txt"
_WHAT = "LightGBM text"
_WRAPPERS = ("LGBMClassifier", "LGBMRegressor", "LGBMRanker")
_STATE = ("_best_iteration", "_objective", "_fitted_with_feature_names", "_n_features")
_TREE_SIZES = re.compile(rb"^tree_sizes=([0-9 ]*)$", re.MULTILINE)
_NOT_A_TREE = re.compile(rb"[^\n -~]")
_TREE_KEYS = (b"\nnum_leaves=", b"\nleaf_value=", b"\nshrinkage=")
_ENDING = b"\npandas_categorical:"


def detect(model: object) -> bool:
    """Whether it is a Booster or one of the scikit-learn wrappers."""
    return not lineage(model).isdisjoint({"lightgbm.Booster", "lightgbm.LGBMModel"})


def save(model: Any, directory: Path, *, options: Mapping[str, Any]) -> SavedFormat:
    """Write the text format.

    Raises:
        UsageError: the model is not fitted, has a custom objective or labels that JSON cannot
            hold, or is a class of the user's own.
    """
    checked_options(options, framework=NAME)
    with writing(_WHAT, directory, remedy="Fit the model before saving it."):
        booster = _booster(model)
        kept = _wrapper_options(model) if booster is not model else {"wrapper": ""}
        booster.save_model(str(directory / _FILE))
        _checked(directory)  # the library may not report a disk that filled up
    names = {"lightgbm", "numpy"} | ({"scikit-learn"} if kept["wrapper"] else set())
    return SavedFormat(
        _FORMAT,
        options=kept,
        library_versions=library_versions(names | ({"pandas"} if _names(model) else set())),
    )


def _booster(model: Any) -> Any:
    return model.booster_ if "lightgbm.LGBMModel" in lineage(model) else model


def _wrapper_options(model: Any) -> dict[str, Any]:
    kind = type(model)
    if kind.__name__ not in _WRAPPERS or not kind.__module__.startswith("lightgbm."):
        raise UsageError(
            f"{kind.__qualname__} is not one of LightGBM's own classes.",
            remedy="Save model.booster_, or one of: " + ", ".join(_WRAPPERS) + ".",
        )
    if callable(model.objective_):
        raise UsageError(
            "A custom objective is code, which LightGBM's text cannot hold.",
            remedy="Save model.booster_; its predictions are raw scores, as the wrapper's are.",
        )
    state = {name: getattr(model, name) for name in _STATE}
    kept = {"wrapper": kind.__name__, "parameters": json_values(model.get_params()), "state": state}
    if hasattr(model, "classes_"):
        kept["classes"] = _labels(model.classes_)
    return kept


def _labels(classes: Any) -> dict[str, Any]:
    labels = {"dtype": classes.dtype.str, "values": classes.tolist()}
    if not survives_json(labels):
        raise UsageError(
            "The class labels cannot be kept in a manifest.",
            remedy="Train with labels that are text, whole numbers or booleans.",
        )
    return labels


def load(directory: Path, saved: SavedFormat) -> Any:
    """Read the booster, inside its wrapper where it had one.

    Raises:
        CorruptContent: the file is not LightGBM's text, or the manifest names another class.
    """
    lightgbm = import_library("lightgbm", extra="lightgbm")
    path = _checked(directory)
    wrapper = saved.options.get("wrapper", "")
    if wrapper not in ("", *_WRAPPERS):
        raise corrupt(_WHAT, "its record names a class that LightGBM does not have")
    with reading(_WHAT):
        booster = lightgbm.Booster(model_file=str(path))
        if not wrapper:
            return booster
        return _wrapped(getattr(lightgbm, wrapper), booster, saved.options)


def _wrapped(kind: Any, booster: Any, options: Mapping[str, Any]) -> Any:
    """Rebuild a fitted wrapper the way scikit-learn does: its constructor, then its state."""
    model = kind(**options["parameters"])
    state = {name: options["state"][name] for name in _STATE}
    state |= {"_Booster": booster, "fitted_": True, "_n_features_in": state["_n_features"]}
    if "classes" in options:
        state |= _class_state(options["classes"])
    booster.best_iteration = state["_best_iteration"]
    model.__setstate__({**vars(model), **state})
    return model


def _class_state(labels: Mapping[str, Any]) -> dict[str, Any]:
    numpy = import_library("numpy", extra="lightgbm")
    preprocessing = import_library("sklearn.preprocessing", extra="sklearn")
    classes = numpy.asarray(labels["values"], dtype=numpy.dtype(labels["dtype"]))
    encoder = preprocessing.LabelEncoder().fit(classes)
    indices = encoder.transform(encoder.classes_)
    return {
        "_le": encoder,
        "_classes": encoder.classes_,
        "_n_classes": len(encoder.classes_),
        "_class_map": dict(zip(encoder.classes_, indices, strict=True)),
    }


def _checked(directory: Path) -> Path:
    """Walk the text: every tree where the header says, whole, and the ending in place."""
    path = checked_file(directory, _FILE, what=_WHAT, magic=b"tree\n")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
        header = _TREE_SIZES.search(text)
        if header is None:
            raise corrupt(_WHAT, "it has no tree sizes")
        start = header.end() + 2  # an empty line follows
        for index, size in enumerate(map(int, header.group(1).split())):
            _check_tree(text, index, start, start + size)
            start += size
        if text.find(b"end of trees", start) < 0 or text.rfind(_ENDING) < start:
            raise corrupt(_WHAT, "it ends too early")
    return path


def _check_tree(text: mmap.mmap, index: int, start: int, end: int) -> None:
    head = b"Tree=%d\n" % index
    if end > len(text) or text[start : start + len(head)] != head:
        raise corrupt(_WHAT, f"tree {index} is not where it should be")
    if any(text.find(key, start, end) < 0 for key in _TREE_KEYS):
        raise corrupt(_WHAT, f"tree {index} is incomplete")
    if _NOT_A_TREE.search(text, start, end):
        raise corrupt(_WHAT, f"tree {index} holds bytes that are no text")


def _names(model: Any) -> tuple[str, ...]:
    """The features' names, unless the library numbered them itself."""
    names = tuple(_booster(model).feature_name())
    numbered = tuple(f"Column_{index}" for index in range(len(names)))
    return () if names == numbered else names


def methods(model: Any) -> tuple[ModelMethod, ...]:
    """Offer `predict`, and `predict_proba` for classifiers; tables if features have names."""
    numpy = import_library("numpy", extra="lightgbm")
    hint = _input_hint(model, numpy)
    offered = [name for name in ("predict", "predict_proba") if hasattr(model, name)]
    return tuple(row_method(name, hint, numpy.ndarray) for name in offered)


def _input_hint(model: Any, numpy: Any) -> Any:
    names = _names(model)
    pandas = optional_library("pandas") if names else None
    if pandas is not None and any("_" in name for name in names):
        return pandas.DataFrame  # some of them may have been spaces: see `_spelt`
    return rows_hint(numpy, pandas, names=names, width=_booster(model).num_feature())


def call(model: Any, method: str, value: Any) -> Any:
    """Predict for rows in an array or a table.

    Raises:
        InvalidInput: the rows do not have the model's features.
    """
    if method not in ("predict", "predict_proba") or not hasattr(model, method):
        raise UsageError(f"The model has no method {method!r}.", remedy="Use predict.")
    names = _names(model)
    rows = fitting_rows(_spelt(value), names=names, width=_booster(model).num_feature())
    if _booster(model) is not model:
        rows = named_rows(rows, names, optional_library("pandas"))
    numpy = import_library("numpy", extra="lightgbm")
    with taking_rows(import_library("lightgbm.basic", extra="lightgbm").LightGBMError):
        result = getattr(model, method)(rows)
    return plain_array(result, numpy)


def _spelt(value: Any) -> Any:
    """Spell a table's column names as LightGBM does: it stores a space as an underscore."""
    columns = [str(column) for column in getattr(value, "columns", ())]
    if not any(" " in column for column in columns):
        return value
    return value.set_axis([column.replace(" ", "_") for column in columns], axis=1)


def requirements(saved: SavedFormat) -> tuple[str, ...]:
    """Return LightGBM and what its wrapper and its tables need."""
    return pins(saved.library_versions)
