"""scikit-learn estimators and pipelines in skops: data and class names, never code.

Saving audits every class that the file names. Classes of scikit-learn, NumPy, SciPy and the
boosting libraries pass; anything else is the author's own code, must be allowed by name
(`trusted_types`), and is recorded as such. Loading trusts that record and never the file. What
skops cannot hold is refused, or pickled when `allow_pickle` was given. The archive itself is
written and read by `models.skops_archive`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from dosirak.errors import DosirakError, UntrustedContent, UsageError
from dosirak.models.features import (
    fitting_rows,
    named_rows,
    plain_array,
    row_method,
    rows_hint,
    taking_rows,
)
from dosirak.models.framework import ModelMethod, SavedFormat, framework
from dosirak.models.library import (
    distributions_of,
    import_library,
    library_versions,
    lineage,
    optional_library,
    packages_behind,
    pins,
)
from dosirak.models.model_file import checked_file, checked_options, corrupt, reading, writing
from dosirak.models.skops_archive import WrittenArchive, read_archive, write_archive

NAME = "sklearn"
_FORMAT = "skops"
_FILE = "model.skops"
_WHAT = "skops"
_METHODS = ("predict", "predict_proba", "decision_function")
_BOOSTING = frozenset({"xgboost", "lightgbm", "catboost"})
_SCIENTIFIC = frozenset({"sklearn", "numpy", "scipy"})
_KNOWN_TYPES = frozenset(
    {
        "collections.OrderedDict",
        "collections.defaultdict",
        "xgboost.core.Booster",
        "xgboost.sklearn.XGBClassifier",
        "xgboost.sklearn.XGBRegressor",
        "xgboost.sklearn.XGBRanker",
        "xgboost.sklearn.XGBRFClassifier",
        "xgboost.sklearn.XGBRFRegressor",
        "lightgbm.basic.Booster",
        "lightgbm.sklearn.LGBMClassifier",
        "lightgbm.sklearn.LGBMRegressor",
        "lightgbm.sklearn.LGBMRanker",
        "catboost.core.CatBoostClassifier",
        "catboost.core.CatBoostRegressor",
    }
)


def detect(model: object) -> bool:
    """Whether it is an estimator or pipeline that no boosting library claims."""
    packages = packages_behind(model)
    return "sklearn.BaseEstimator" in lineage(model) and packages.isdisjoint(_BOOSTING)


def save(model: Any, directory: Path, *, options: Mapping[str, Any]) -> SavedFormat:
    """Write skops; with `allow_pickle`, pickle what skops cannot hold.

    Raises:
        UntrustedContent: the model names code that was not allowed, or skops cannot hold it.
        UsageError: an option is wrong.
    """
    chosen = checked_options(options, framework=NAME, known={"trusted_types": list})
    allowed = frozenset(map(str, chosen.get("trusted_types", [])))
    try:
        return _save_skops(model, directory, allowed)
    except UntrustedContent:
        if chosen.get("allow_pickle") is not True:
            raise
    (directory / _FILE).unlink(missing_ok=True)
    return framework("pickle").save(model, directory, options={"allow_pickle": True})


def _save_skops(model: Any, directory: Path, allowed: frozenset[str]) -> SavedFormat:
    with writing(_WHAT, directory, remedy="Save something that scikit-learn can fit."):
        named = _written(model, directory / _FILE).untrusted_types()
    own = sorted(name for name in named if not _is_library_type(name))
    refused = [name for name in own if name not in allowed]
    if refused:
        raise UntrustedContent(
            f"The model names code that is not scikit-learn's: {', '.join(refused)}.",
            remedy=f"If you trust it, pass options={{'trusted_types': {refused!r}}}, or pass"
            " allow_pickle=True.",
        )
    return SavedFormat(
        _FORMAT,
        pickle=bool(own),  # loading imports and runs what these names say
        options={"trusted_types": sorted(named)},
        library_versions=library_versions(_distributions(model, named, own)),
    )


def _written(model: Any, path: Path) -> WrittenArchive:
    try:
        return write_archive(model, path)
    except (DosirakError, OSError, MemoryError):
        raise
    except Exception as error:
        raise UntrustedContent(
            f"skops cannot hold this model: {error}",
            remedy="Pass allow_pickle=True to pickle it, if you accept that pickle runs code.",
        ) from error


def _is_library_type(name: str) -> bool:
    """Whether the name is a class of a library that loading needs anyway."""
    if name in _KNOWN_TYPES:
        return True
    module, _, attribute = name.rpartition(".")
    if module.partition(".")[0] not in _SCIENTIFIC:
        return False
    try:
        return isinstance(getattr(import_module(module), attribute), type)
    except (ImportError, AttributeError):
        return False


def _distributions(model: Any, named: Iterable[str], own: Iterable[str]) -> set[str]:
    needed = {"scikit-learn", "skops", "numpy", "scipy"}
    needed |= {name.partition(".")[0] for name in named} & _BOOSTING
    if hasattr(model, "feature_names_in_"):
        needed.add("pandas")
    packages = {name.partition(".")[0] for name in own}
    return needed | set(distributions_of(packages)) if packages else needed


def load(directory: Path, saved: SavedFormat) -> Any:
    """Read the model back, building only the types that the manifest records.

    Raises:
        CorruptContent: the file is not skops.
        UntrustedContent: the file names a type that the manifest does not record, or the manifest
            records one that its own pickle flag does not own up to.
    """
    if saved.format == "pickle":
        return framework("pickle").load(directory, saved)
    exceptions = import_library("skops.io.exceptions", extra="sklearn")
    path = checked_file(directory, _FILE, what=_WHAT, magic=b"PK\x03\x04")
    recorded = _recorded_types(saved)
    with reading(_WHAT):
        try:
            return read_archive(path, trusted=recorded)
        except exceptions.UntrustedTypesFoundException as error:
            raise UntrustedContent(
                "The model's file names types that its record does not list.",
                remedy="Save the model again; do not load this file.",
            ) from error


def _recorded_types(saved: SavedFormat) -> list[str]:
    recorded = saved.options.get("trusted_types")
    if not isinstance(recorded, list):
        raise corrupt(_WHAT, "its record does not list the types it may hold")
    names = [str(name) for name in recorded]
    if not saved.pickle and not all(map(_is_library_type, names)):
        raise UntrustedContent(
            "The model's record lists code of its own without saying that loading runs code.",
            remedy="Save the model again; do not load this file.",
        )
    return names


def _names(model: Any) -> tuple[str, ...]:
    return tuple(map(str, getattr(model, "feature_names_in_", ())))


def methods(model: Any) -> tuple[ModelMethod, ...]:
    """Offer what the estimator has; tables if its features have names, texts if it reads texts."""
    numpy = import_library("numpy", extra="numpy")
    hint = _input_hint(model, numpy)
    return tuple(row_method(name, hint, numpy.ndarray) for name in _offered(model))


def _offered(model: Any) -> list[str]:
    found = [name for name in _METHODS if hasattr(model, name)]
    return found or [name for name in ("transform",) if hasattr(model, name)]


def _input_hint(model: Any, numpy: Any) -> Any:
    kinds = lineage(_first_step(model))
    if kinds & {"sklearn.CountVectorizer", "sklearn.HashingVectorizer"}:
        return list[str]
    if kinds & {"sklearn.DictVectorizer", "sklearn.FeatureHasher"}:
        return list[dict[str, Any]]
    names = _names(model)
    return rows_hint(
        numpy,
        optional_library("pandas") if names else None,
        names=names,
        width=getattr(model, "n_features_in_", None),
    )


def _first_step(model: Any) -> Any:
    while "sklearn.Pipeline" in lineage(model):
        model = model.steps[0][1]
    return model


def call(model: Any, method: str, value: Any) -> Any:
    """Run one method on rows; one result for each.

    Raises:
        InvalidInput: the rows do not have the model's features.
    """
    offered = _offered(model)
    if method not in offered:
        raise UsageError(
            f"The model has no method {method!r}.",
            remedy=f"Use one of: {', '.join(offered) or 'none; write a service for it'}.",
        )
    names = _names(model)
    rows = fitting_rows(value, names=names, width=getattr(model, "n_features_in_", None))
    with taking_rows():
        result = getattr(model, method)(named_rows(rows, names, optional_library("pandas")))
    return plain_array(result, import_library("numpy", extra="numpy"))


def requirements(saved: SavedFormat) -> tuple[str, ...]:
    """Return scikit-learn, skops and the libraries of the model's parts."""
    return pins(saved.library_versions)
