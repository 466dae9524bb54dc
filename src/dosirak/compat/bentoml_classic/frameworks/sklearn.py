"""scikit-learn models: skops when it can hold the model, pickle as 0.13 did when it cannot."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from dosirak.compat.bentoml_classic.artifacts import BentoServiceArtifact
from dosirak.compat.bentoml_classic.artifacts.libraries import need
from dosirak.compat.bentoml_classic.artifacts.pickles import read_joblib, write_pickle
from dosirak.compat.bentoml_classic.exceptions import ArtifactLoadingException


class SklearnModelArtifact(BentoServiceArtifact):
    """Keeps a scikit-learn model as `<name>.skops`, or as `<name>.pkl` where it needs pickle.

    A model with parts of the author's own (a function in a `FunctionTransformer`, a derived class)
    needs pickle; loading that runs code. bentoml.yml records which was used.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._model: Any = None
        self.saved_format = ""

    def pack(self, sklearn_model: Any, metadata: dict[str, Any] | None = None) -> Self:
        """Take the model."""
        self._model = sklearn_model
        return self

    def get(self) -> Any:
        """Return the model."""
        return self._model

    def save(self, dst: str) -> None:
        """Write the model without pickle if that is possible."""
        if _save_skops(self._model, self.file_path(dst, ".skops")):
            self.saved_format = "skops"
            return
        # cloudpickle, so that what the author defined in a script comes along.
        write_pickle(self._model, self.file_path(dst, ".pkl"))
        self.saved_format = "pickle"

    def load(self, path: str) -> Self:
        """Read the model; a `.pkl` may come from this class or from 0.13's joblib."""
        safe, pickled = self.file_path(path, ".skops"), self.file_path(path, ".pkl")
        if safe.is_file():
            self.saved_format = "skops"
            return self.pack(need("skops.io", "SklearnModelArtifact", "skops").load(safe))
        if pickled.is_file():
            self.saved_format = "pickle"
            return self.pack(read_joblib(pickled))
        raise ArtifactLoadingException(
            f"The artifact {self.name!r} has no file.", remedy="Save the service again."
        )

    def set_dependencies(self, env: Any) -> None:
        """Add scikit-learn and what reads the file."""
        if env.infers:
            env.add_pip_packages(["scikit-learn", "skops", "joblib"])


def _save_skops(model: Any, path: Path) -> bool:
    """Write the file and say whether it needs no trust; leaves nothing if it does."""
    try:
        import skops.io as skops  # noqa: PLC0415 - ADR 0004
    except ImportError:
        return False
    try:
        skops.dump(model, path)
        safe = not skops.get_untrusted_types(file=path)
    # skops raises many kinds for what it cannot hold; pickle is then the classic way.
    except Exception:
        safe = False
    if not safe:
        path.unlink(missing_ok=True)
    return safe
