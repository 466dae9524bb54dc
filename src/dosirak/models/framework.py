"""How an ML library saves and loads: the protocol, and lookup by entry point.

A framework is a module registered in the group `dosirak.frameworks` under its library's name. The
first-party ones live in `dosirak.frameworks`, one file per library, each with the same names.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Protocol, cast

from dosirak.errors import DosirakError, MissingDependency, UsageError

GROUP = "dosirak.frameworks"


@dataclass(frozen=True, slots=True)
class SavedFormat:
    """What a framework wrote, kept in the model's manifest; `load` needs nothing else.

    Attributes:
        format: the file format's name, such as `skops`, `ubj`, `safetensors`, `onnx`, `pickle`.
        pickle: whether loading can run code that the files name (see `models.trust`).
        options: JSON values that `load` needs (class name, list of audited types, …).
        library_versions: distribution → version of what wrote the files.
    """

    format: str
    pickle: bool = False
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    library_versions: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class ModelMethod:
    """One way to call a loaded model without user code, for `dosirak serve NAME`.

    Attributes:
        name: the api's name, such as `predict`.
        parameter: the parameter's name; the client's keyword.
        input_hint: the type hint of the one input, as an author would write it.
        output_hint: the type hint of the result.
        batchable: rows in, rows out.
    """

    name: str
    parameter: str
    input_hint: Any
    output_hint: Any
    batchable: bool = True


class Framework(Protocol):
    """The names that a framework module offers. The library is imported only inside functions."""

    NAME: str

    def detect(self, model: object) -> bool:
        """Whether this framework saves `model`; decided from its type's module, no import."""
        ...

    def save(self, model: Any, directory: Path, *, options: Mapping[str, Any]) -> SavedFormat:
        """Write `model` as files under `directory` (empty, inside the store's own disk).

        Every framework knows the option `allow_pickle`: a permission, which it uses only where
        nothing safer can hold the model. It refuses every option that it does not know.

        Raises:
            UsageError: the model or an option cannot be saved this way (the caller's fault).
            UntrustedContent: only pickle could hold it, and `allow_pickle` was not given.
        """
        ...

    def load(self, directory: Path, saved: SavedFormat) -> Any:
        """Read the model back. Every file has been verified against its digest.

        Raises:
            CorruptContent: the files are not in the format (whoever made them is at fault).
            UntrustedContent: the files need more trust than `saved` records.
        """
        ...

    def methods(self, model: Any) -> tuple[ModelMethod, ...]:
        """Say how the loaded model may be called; the first is the default."""
        ...

    def call(self, model: Any, method: str, value: Any) -> Any:
        """Call the loaded model with one decoded input."""
        ...

    def requirements(self, saved: SavedFormat) -> tuple[str, ...]:
        """Return the distributions (`name==version`) that loading needs."""
        ...


@cache
def framework_names() -> tuple[str, ...]:
    """Return the names of every registered framework, `pickle` last."""
    names = {point.name for point in entry_points(group=GROUP)}
    return tuple(sorted(names, key=lambda name: (name == "pickle", name)))


@cache
def framework(name: str) -> Framework:
    """Load the framework registered under `name`.

    Raises:
        UsageError: nothing is registered under it.
        MissingDependency: its module cannot be imported.
    """
    point = next((point for point in entry_points(group=GROUP) if point.name == name), None)
    if point is None:
        raise UsageError(
            f"No framework is called {name!r}.",
            remedy=f"Use one of: {', '.join(framework_names())}.",
        )
    try:
        return cast(Framework, point.load())
    except Exception as error:  # somebody else's module may raise whatever it likes
        raise _not_importable(point, error) from error


def _not_importable(point: EntryPoint, error: Exception) -> MissingDependency:
    told = str(error) if isinstance(error, ImportError) else f"{type(error).__name__}: {error}"
    distribution = point.dist.name if point.dist is not None else ""
    remedy = f"Install it with: pip install 'dosirak[{point.name}]'"
    if distribution not in ("", "dosirak"):
        remedy = f"Repair or uninstall the distribution {distribution!r}, which registers it."
    return MissingDependency(
        f"The framework {point.name!r} cannot be imported: {told}.", remedy=remedy
    )


def detect_framework(model: object) -> Framework | None:
    """Return the first framework, other than pickle, that saves `model`.

    One that is broken is left out, with a warning that names it.
    """
    names = (name for name in framework_names() if name != "pickle")
    return next((framework(name) for name in names if _claims(name, model)), None)


def _claims(name: str, model: object) -> bool:
    try:
        return framework(name).detect(model)
    except Exception as error:  # one that cannot be asked must not stop the others
        told = error.message if isinstance(error, DosirakError) else f"{type(error).__name__}"
        warnings.warn(
            f"The framework {name!r} was left out when looking for the one that saves the model:"
            f" {told.rstrip('.')}.",
            stacklevel=5,
        )
        return False
