"""What `bentoml` calls a bento → the reference of a sealed bundle.

    ./project/directory           sealed
    name, name:version            a bundle of dosirak
    Name, Name:version, its path  a classic service that was saved, artifacts and all: sealed once

A saved classic service travels whole, beside a module that loads it as `bentoml.load` does.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

from dosirak import bundles, deployment
from dosirak.bundles.report import BuildEvent
from dosirak.compat.bentoml_classic.bundle.description import (
    Description,
    is_bundle,
    read_description,
)
from dosirak.compat.bentoml_classic.bundle.repository import Repository
from dosirak.errors import BundleNotFound, InvalidName, NotFound
from dosirak.naming import Reference, name_from_identifier

_SAVED = "saved"
_SERVICE = '''"""A classic service as it was saved."""

from pathlib import Path

from dosirak.compat.bentoml_classic import load

service = load(str(Path(__file__).parent / "saved"))
'''


def sealed_bento(bento: str | Path) -> str:
    """Return the reference, with its exact version.

    Raises:
        InvalidName: this can be no bento's name.
        And what `dosirak.build` raises.
    """
    saved = _saved(bento)
    if saved is None:
        return deployment.sealed_reference(bento, _quiet)
    return _sealed(saved)


def _saved(bento: str | Path) -> Description | None:
    """Return the classic service that is meant, if one is."""
    directory = Path(bento).expanduser()
    if directory.is_dir():
        return read_description(directory) if is_bundle(directory) else None
    if isinstance(bento, Path) or _is_bundle_of_dosirak(bento):
        return None
    try:
        return Repository.from_environment().find(bento)
    except NotFound:
        return None


def _is_bundle_of_dosirak(name: str) -> bool:
    try:
        bundles.get(name)
    except (BundleNotFound, InvalidName):
        return False
    return True


def _sealed(saved: Description) -> str:
    """Seal a saved service under its own version, unless that was done before."""
    reference = Reference(name_from_identifier(saved.name), saved.version)
    if _is_bundle_of_dosirak(str(reference)):
        return str(reference)
    with tempfile.TemporaryDirectory(prefix="dosirak-bento-") as folder:
        project = Path(folder)
        shutil.copytree(saved.directory, project / _SAVED)
        (project / "service.py").write_text(_SERVICE, encoding="utf-8")
        requirements = json.dumps(_requirements(saved.directory / "requirements.txt"))
        (project / "dosirak.toml").write_text(
            f'service = "service.py:service"\nrequirements = {requirements}\n', encoding="utf-8"
        )
        sealed = bundles.build(
            project, name=reference.name, version=reference.version, report=_quiet
        )
    return str(sealed.reference)


def _requirements(path: Path) -> list[str]:
    """Return what a saved service needs, without this project itself and options of pip."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    wanted = (line.partition("#")[0].strip() for line in lines)
    own = ("-", "dosirak", "bentoml")
    return [line for line in wanted if line and not line.lower().startswith(own)]


def _quiet(event: BuildEvent) -> None:
    """Say nothing: whoever calls prints what was made."""
