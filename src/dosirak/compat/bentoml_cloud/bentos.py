"""What `bentoml` calls a bento → the reference of a sealed bundle.

./project/directory │ a bundle of dosirak, NAME or NAME:VERSION
"""

from __future__ import annotations

from pathlib import Path

from dosirak import deployment
from dosirak.bundles.report import BuildEvent


def sealed_bento(bento: str | Path) -> str:
    """Return the reference, with its exact version; a directory is sealed first.

    Raises:
        InvalidName: this can be no bundle's name.
        And what `dosirak.build` raises.
    """
    return deployment.sealed_reference(bento, _quiet)


def _quiet(event: BuildEvent) -> None:
    """Say nothing: whoever calls prints what was made."""
