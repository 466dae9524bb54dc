"""From the text a person gave to `serve` to a spec and its models; the author's code runs here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from dosirak import models
from dosirak.serving.dataplane import LoadableModel
from dosirak.spec.loading import import_target
from dosirak.spec.service_spec import ServiceSpec


def open_service(target: str, *, home: Path) -> tuple[ServiceSpec, Mapping[str, LoadableModel]]:
    """Return what `target` names and the stored model for each of its attributes.

    Raises:
        DosirakError: the target, its code or a model cannot be had; the message says which.
    """
    imported = import_target(target, directory=Path.cwd())
    return imported.spec, {
        requirement.attribute: models.get(str(requirement.reference))
        for requirement in imported.spec.models
    }
