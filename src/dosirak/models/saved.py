"""Save a trained model; the doors to those that are saved are the shelf's."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dosirak.errors import UntrustedContent, UsageError
from dosirak.models import examples as golden
from dosirak.models.framework import (
    Framework,
    SavedFormat,
    detect_framework,
    framework_names,
)
from dosirak.models.framework import framework as named_framework
from dosirak.models.json_values import json_object, json_value
from dosirak.models.library import library_versions
from dosirak.models.model import FILES, FORMAT, Model
from dosirak.models.model_service import describe_methods
from dosirak.naming import check_name, check_version
from dosirak.store import FileEntry, Shelf, Store, default_store
from dosirak.store.references import check_labels

SHELF = Shelf("models", Model)


def save_model(
    name: str,
    model: Any,
    *,
    version: str | None = None,
    framework: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    labels: Mapping[str, str] | None = None,
    examples: Any = None,
    allow_pickle: bool = False,
    options: Mapping[str, Any] | None = None,
    store: Store | None = None,
) -> Model:
    """Keep a trained model under a name.

    Args:
        name: 1 to 128 of a-z, 0-9, '.', '_' and '-'.
        model: the trained object.
        version: None has one generated, later than all before. Saving the same content under the
            same version again is no error.
        framework: the library that saves it; None finds it by the object's type.
        metadata: JSON values that travel with the model.
        labels: text that stays with this reference, for finding.
        examples: one batch of inputs, or a tuple of batches, whose outputs are recorded now and
            replayed before the model is used elsewhere.
        allow_pickle: pickle may be used where no safe format holds the model.
        options: the framework's own.
        store: None takes the store that the environment names.

    Raises:
        UsageError: a name, an option, the metadata or the examples cannot be kept (the caller's
            fault).
        UntrustedContent: only pickle could hold it, and `allow_pickle` was not given.
        AlreadyExists: the version exists with other content.
        StorageError: the disk failed; the old state stands.
    """
    check_name(name)
    if version is not None:
        check_version(version)
    check_labels({} if labels is None else labels)
    said = json_object(metadata, "metadata")
    chosen = _framework_for(model, framework, allow_pickle=allow_pickle)
    target = store or default_store()
    with target.writing() as transaction:
        saved = _write(chosen, model, transaction.directory, options, allow_pickle=allow_pickle)
        recorded = _taste(chosen, model, saved, transaction.directory, examples)
        files = transaction.add_tree(transaction.directory)
        methods = describe_methods(chosen, model)
        manifest = _manifest(chosen, saved, said, recorded, methods, files)
        entry = transaction.commit(
            "models", name, version, manifest, labels=labels, provenance=_provenance()
        )
    return Model(target, entry)


def _framework_for(model: Any, name: str | None, *, allow_pickle: bool) -> Framework:
    if name is not None:
        return named_framework(name)
    found = detect_framework(model)
    if found is not None:
        return found
    if allow_pickle:
        return named_framework("pickle")
    kind = f"{type(model).__module__}.{type(model).__qualname__}"
    raise UntrustedContent(
        f"No framework has a safe format for a {kind}.",
        remedy="Pass allow_pickle=True to pickle it, if you accept that pickle runs code; or name"
        f" one of: {', '.join(framework_names())}.",
    )


def _write(
    chosen: Framework,
    model: Any,
    scratch: Path,
    options: Mapping[str, Any] | None,
    *,
    allow_pickle: bool,
) -> SavedFormat:
    directory = scratch / FILES
    directory.mkdir(mode=0o700)
    if options is not None and not isinstance(options, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UsageError(
            f"The options are a {type(options).__name__}, not a dictionary.",
            remedy="Give a dictionary: options={'name': value}.",
        )
    given = dict(options or {})
    if allow_pickle:
        given["allow_pickle"] = True
    return chosen.save(model, directory, options=given)


def _taste(
    chosen: Framework, model: Any, saved: SavedFormat, scratch: Path, examples: Any
) -> tuple[golden.Example, ...]:
    """Record the golden examples, and try them on the files just written."""
    if examples is None:
        return ()
    directory = scratch / golden.DIRECTORY
    directory.mkdir(mode=0o700)
    loaded = chosen.load(scratch / FILES, saved)
    # Some libraries save one type and load another (a graph, a session): only that can be called.
    source = model if type(model) is type(loaded) else loaded
    recorded = golden.record(chosen, source, golden.batches_of(examples), directory)
    problems = golden.compare(chosen, loaded, recorded, directory)
    if problems:
        raise UsageError(
            f"The saved model does not answer as the one in memory: {'; '.join(problems[:3])}.",
            remedy="Check that the model is deterministic, or save it without examples.",
        )
    return recorded


def _manifest(
    chosen: Framework,
    saved: SavedFormat,
    metadata: Mapping[str, Any],
    recorded: tuple[golden.Example, ...],
    methods: list[dict[str, Any]],
    files: tuple[FileEntry, ...],
) -> dict[str, Any]:
    if not any(file.path.startswith(f"{FILES}/") for file in files):
        raise UsageError(
            f"The framework {chosen.NAME!r} wrote no file.", remedy="Report this to its author."
        )
    # What reads the examples is needed wherever the model is: they are replayed before it serves.
    versions = {**library_versions(golden.libraries(recorded)), **saved.library_versions}
    return {
        "format": FORMAT,
        "framework": chosen.NAME,
        "saved": {
            "format": saved.format,
            "pickle": saved.pickle,
            "options": json_value(saved.options, "the framework's options"),
            "library_versions": json_value(versions, "the library versions"),
        },
        "metadata": metadata,
        "examples": [example.describe() for example in recorded],
        "methods": methods,
        "files": [file.describe() for file in files],
    }


def _provenance() -> dict[str, Any]:
    """Say where the model was saved; never part of its id."""
    return {
        "python": platform.python_version(),
        "system": sys.platform,
        "machine": platform.machine(),
    }
