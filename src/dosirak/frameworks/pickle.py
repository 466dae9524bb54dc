"""Anything that pickle can hold, for a person who asks for it by name; never chosen by detection.

`cloudpickle` writes when it is installed (it also holds classes and functions of the main script),
else the standard library. The only file in the project that may unpickle a model: loading runs
code, so every manifest written here says so, and `models.trust` decides before `load` is called.
A loaded object that another framework knows is served the way that framework serves it.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dosirak.errors import UntrustedContent, UsageError
from dosirak.models.features import plain_array, row_method
from dosirak.models.framework import ModelMethod, SavedFormat, detect_framework
from dosirak.models.library import (
    distributions_of,
    import_library,
    library_versions,
    optional_library,
    pins,
)
from dosirak.models.model_file import checked_options, corrupt, reading, writing

NAME = "pickle"
_FORMAT = "pickle"
_FILE = "model.pkl"
_PROTOCOL = 5
_REMEDY = "Remove what cannot be pickled (open files, locks, threads) from the model."


def detect(model: object) -> bool:
    """Never: pickle is only used when it is asked for."""
    return False


def save(model: Any, directory: Path, *, options: Mapping[str, Any]) -> SavedFormat:
    """Pickle `model` into one file, streaming.

    Raises:
        UntrustedContent: `allow_pickle` was not given.
        UsageError: the model cannot be pickled.
    """
    chosen = checked_options(options, framework=NAME)
    if chosen.get("allow_pickle") is not True:
        raise UntrustedContent(
            "Pickle runs code when it is loaded, so it is used only when asked for.",
            remedy="Pass allow_pickle=True if you accept that.",
        )
    cloudpickle = optional_library("cloudpickle")
    with writing("a pickle", directory, remedy=_REMEDY), (directory / _FILE).open("wb") as file:
        packages = _dump(model, file, pickle if cloudpickle is None else cloudpickle)
    used = {"cloudpickle"} if cloudpickle is not None else set[str]()
    return SavedFormat(
        _FORMAT,
        pickle=True,
        options={"pickler": "pickle" if cloudpickle is None else "cloudpickle"},
        library_versions=library_versions({*distributions_of(packages), *used}),
    )


def _dump(model: Any, file: Any, library: Any) -> frozenset[str]:
    """Pickle and return the top-level packages whose classes and functions the file names."""
    packages: set[str] = set()

    class Recorder(library.Pickler):
        """Sees every object on its way into the file."""

        def persistent_id(self, obj: Any) -> None:
            """Record where the object comes from; None means `pickle it as usual`."""
            module = getattr(obj, "__module__", None) or type(obj).__module__
            if isinstance(module, str):
                packages.add(module.partition(".")[0])

    Recorder(file, protocol=_PROTOCOL).dump(model)
    return frozenset(packages - sys.stdlib_module_names - {"__main__", "builtins"})


def load(directory: Path, saved: SavedFormat) -> Any:
    """Unpickle; the caller has decided to trust the file.

    Raises:
        CorruptContent: the file is no pickle.
        UntrustedContent: the manifest does not say that this is a pickle.
        MissingDependency: a class in it comes from a module that is not installed.
    """
    if saved.format != _FORMAT or not saved.pickle:
        raise UntrustedContent(
            "The model's record does not say that its file is a pickle.",
            remedy="Save the model again with allow_pickle=True.",
        )
    if saved.options.get("pickler") == "cloudpickle":
        import_library("cloudpickle", extra="cloudpickle")
    path = directory / _FILE
    if not path.is_file():
        raise corrupt("pickle", f"{_FILE} is missing")
    with reading("pickle"), path.open("rb") as file:
        return pickle.load(file)  # noqa: S301 - the point of this module; trusted by the caller


def methods(model: Any) -> tuple[ModelMethod, ...]:
    """Offer what the object's own framework offers, else `predict` with arrays."""
    native = detect_framework(model)
    if native is not None:
        return native.methods(model)
    if not callable(getattr(model, "predict", model)):
        return ()
    numpy = import_library("numpy", extra="numpy")
    return (row_method("predict", numpy.ndarray, numpy.ndarray),)


def call(model: Any, method: str, value: Any) -> Any:
    """Call the object as its own framework would, else its `predict`, else the object itself."""
    native = detect_framework(model)
    if native is not None:
        return native.call(model, method, value)
    run = getattr(model, "predict", model)
    if method != "predict" or not callable(run):
        raise UsageError(
            f"The model has no method {method!r}.", remedy="Write a service that calls it."
        )
    return plain_array(run(value), import_library("numpy", extra="numpy"))


def requirements(saved: SavedFormat) -> tuple[str, ...]:
    """Return the distributions whose classes the pickle names."""
    return pins(saved.library_versions)
