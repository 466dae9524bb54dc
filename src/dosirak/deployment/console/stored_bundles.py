"""Bundles and models as pages show them: what their manifests say, and who uses them.

Nothing here loads a model or runs a bundle's code, and one that is damaged is listed as that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dosirak.bundles import SHELF as BUNDLES
from dosirak.bundles import Bundle
from dosirak.deployment.records import DeploymentState
from dosirak.errors import DosirakError
from dosirak.models.model import Model
from dosirak.models.saved import SHELF as MODELS
from dosirak.naming import check_name
from dosirak.store import Store

_CHOICES = 20


@dataclass(frozen=True, slots=True)
class StoredRow:
    """One line of a list.

    Attributes:
        about: one sentence, or why it cannot be read.
        kind: the framework of a model, the front end of a bundle.
        used_by: deployments whose replicas run it.
    """

    name: str
    version: str
    created_at: datetime
    size_bytes: int
    kind: str
    about: str
    used_by: tuple[str, ...] = ()
    damaged: bool = False


def bundle_rows(store: Store, deployments: Iterable[DeploymentState]) -> list[StoredRow]:
    """Return every bundle, by name, the newest version first."""
    users = users_of(deployments)
    return [
        _bundle_row(found, users)
        for found in BUNDLES.survey(store=store)
        if isinstance(found, Bundle)
    ]


def model_rows(store: Store) -> list[StoredRow]:
    """Return every model, by name, the newest version first."""
    return [_model_row(found) for found in MODELS.survey(store=store) if isinstance(found, Model)]


def users_of(states: Iterable[DeploymentState]) -> dict[str, tuple[str, ...]]:
    """Return the deployments that use each bundle, by its digest: that serve it, or run it."""
    users: dict[str, tuple[str, ...]] = {}
    for state in states:
        running = {replica.revision for replica in state.replicas if replica.phase.alive}
        used = {
            revision.bundle_id
            for number, revision in state.revisions.items()
            if number in running or number == state.deployment.active_revision
        }
        for digest in used:
            users[digest] = (*users.get(digest, ()), state.deployment.name)
    return users


def bundle_shown(
    store: Store, reference: str, deployments: Iterable[DeploymentState]
) -> dict[str, Any]:
    """Return what the page of a bundle is made from.

    Raises:
        BundleNotFound: there is none.
        CorruptContent: it is damaged.
    """
    bundle = BUNDLES.get(reference, store=store)
    return {
        "bundle": bundle,
        "apis": bundle.schema.get("apis", []),
        "used_by": users_of(deployments).get(bundle.id, ()),
    }


def model_shown(store: Store, reference: str) -> dict[str, Any]:
    """Return what the page of a model is made from.

    Raises:
        ModelNotFound: there is none.
        CorruptContent: it is damaged.
    """
    model = MODELS.get(reference, store=store)
    size_bytes = sum(file.size_bytes for file in model.files)
    return {"model": model, "size_bytes": size_bytes}


def schema_of(store: Store, reference: str) -> Mapping[str, Any]:
    """Return the API schema of a bundle."""
    return BUNDLES.get(reference, store=store).schema


def bundle_choices(store: Store, reference: str) -> list[str]:
    """Return the newest versions of the bundle of this name, to choose the next revision from."""
    name = reference.partition(":")[0]
    try:
        check_name(name)
        entries = store.entries(BUNDLES.kind, name)
    except DosirakError:
        return []  # it was deleted, or is damaged: the page must still show the deployment
    return [str(entry.reference) for entry in entries][:_CHOICES]


def _bundle_row(bundle: Bundle, users: Mapping[str, tuple[str, ...]]) -> StoredRow:
    try:
        kind, about, size = bundle.front_end, bundle.description_text, bundle.size_bytes
        damaged = False
    except DosirakError as error:
        kind, about, size, damaged = "", str(error), 0, True
    return StoredRow(
        name=bundle.name,
        version=bundle.version,
        created_at=bundle.created_at,
        size_bytes=size,
        kind=kind,
        about=about,
        used_by=users.get(bundle.id, ()),
        damaged=damaged,
    )


def _model_row(model: Model) -> StoredRow:
    try:
        kind, about, damaged = model.framework, "", False
        size = sum(file.size_bytes for file in model.files)
    except DosirakError as error:
        kind, about, size, damaged = "", str(error), 0, True
    return StoredRow(
        name=model.name,
        version=model.version,
        created_at=model.created_at,
        size_bytes=size,
        kind=kind,
        about=about,
        damaged=damaged,
    )
