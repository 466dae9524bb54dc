"""What the controller needs to know of sealed bundles; read once each, for they never change."""

from __future__ import annotations

from dosirak import bundles
from dosirak.deployment.records import Revision
from dosirak.errors import BundleNotFound, CorruptContent


class BundleFacts:
    """Facts of bundles in the store, kept by their ids."""

    def __init__(self) -> None:
        self._idempotent_paths: dict[str, tuple[str, ...]] = {}

    def idempotent_paths(self, revision: Revision) -> tuple[str, ...]:
        """Return the paths of the apis that may be called twice; none if the bundle is gone.

        Handing in a task is not idempotent, whatever its run is: it would run twice.
        """
        known = self._idempotent_paths.get(revision.bundle_id)
        if known is None:
            known = _read(revision.bundle)
            self._idempotent_paths[revision.bundle_id] = known
        return known


def _read(reference: str) -> tuple[str, ...]:
    try:
        apis = bundles.get(reference).schema.get("apis", ())
    except (BundleNotFound, CorruptContent):
        return ()
    return tuple(
        api["route"] for api in apis if api.get("idempotent") and api.get("kind") != "task"
    )
