"""What exactly is served: the content behind a target, so that workers and reloads compare.

A worker reports it once the author's code was imported and before a model is loaded. The revision
is a digest: equal content has an equal one, here and on every replica, also after a rollback.
"""

from __future__ import annotations

import hashlib
import sys
import sysconfig
from pathlib import Path
from uuid import uuid4

import msgspec

from dosirak.bundles.project import OWN_FILE, PROJECT_FILE
from dosirak.bundles.targets import OpenedTarget
from dosirak.spec.dependencies import models_needed

SETTINGS_FILES = (OWN_FILE, PROJECT_FILE)
_REVISION_DIGITS = 12


class ServiceIdentity(msgspec.Struct, frozen=True):
    """What a worker opened.

    Attributes:
        revision: equal for equal content.
        models: the exact `name:version` behind each attribute.
        floating: the reference of each attribute that names no fixed version.
        root: the directory of the author's own files; empty for a bundle and a model.
        files: the author's files that were imported, from `root`.
        began_ns: when their import began, as files tell time; 0 where there are none.
    """

    revision: str = ""
    models: dict[str, str] = {}
    floating: dict[str, str] = {}
    root: str = ""
    files: tuple[str, ...] = ()
    began_ns: int = 0


def identity_of(opened: OpenedTarget, target: str, *, began_ns: int) -> ServiceIdentity:
    """Say what `opened` is.

    Args:
        opened: the target, its code imported.
        target: what it was opened by.
        began_ns: when the import began, as files tell time; one that was written since may not be
            what was imported, so the revision is then one of its own.
    """
    models = {attribute: str(model.reference) for attribute, model in opened.models.items()}
    ids = {attribute: model.id for attribute, model in opened.models.items()}
    if opened.bundle is not None:
        return ServiceIdentity(_digest({"bundle": opened.bundle.id}), models)
    if opened.root is None:
        return ServiceIdentity(_digest({"models": ids}), models)
    root = opened.root.resolve()
    files = _own_files(root)
    content: dict[str, object] = {
        "target": opened.spec.target or target,
        "models": ids,
        "files": {str(path.relative_to(root)): _file_digest(path) for path in files},
    }
    if any(_written_after(path, began_ns) for path in files):
        content["once"] = uuid4().hex
    floating = {
        need.attribute: str(need.reference)
        for need in models_needed(opened.spec)
        if models.get(need.attribute) != str(need.reference)
    }
    return ServiceIdentity(
        _digest(content),
        models,
        floating,
        str(root),
        tuple(str(path.relative_to(root)) for path in files),
        began_ns,
    )


def _own_files(root: Path) -> list[Path]:
    """Return the author's files that this process imported, and the project's settings."""
    installed = tuple({Path(sysconfig.get_path(name)) for name in ("purelib", "platlib", "stdlib")})
    found = {root / name for name in SETTINGS_FILES}
    for module in list(sys.modules.values()):
        text = getattr(module, "__file__", None)
        path = Path(text).resolve() if isinstance(text, str) else None
        if path is None or not path.is_relative_to(root):
            continue
        if not any(path.is_relative_to(place) for place in installed):
            found.add(path)
    return sorted(path for path in found if path.is_file())


def _digest(content: dict[str, object]) -> str:
    data = msgspec.json.encode(content, order="deterministic")
    return hashlib.sha256(data).hexdigest()[:_REVISION_DIGITS]


def _file_digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""  # Gone meanwhile.


def _written_after(path: Path, began_ns: int) -> bool:
    try:
        return path.stat().st_mtime_ns >= began_ns
    except OSError:
        return True
