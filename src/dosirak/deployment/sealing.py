"""What people name when they deploy → the exact reference of a sealed bundle.

    a Bundle │ name:version in the store │ a directory (sealed first) │ a bare model (sealed alone)

A directory is sealed before anything is asked of the platform: a build that fails deploys nothing.
"""

from __future__ import annotations

import os
from pathlib import Path

from dosirak import bundles, models
from dosirak.bundles import Bundle
from dosirak.bundles.checkout import is_checkout
from dosirak.bundles.report import Report
from dosirak.errors import BundleNotFound, InvalidName, ModelNotFound, NotFound, UsageError


def sealed_reference(wanted: str | Path | Bundle, report: Report | None = None) -> str:
    """Return the reference, with its exact version where this store has it.

    Args:
        wanted: a bundle, its reference, or a project's directory.
        report: receives what happens while a directory is sealed.

    Raises:
        InvalidName: this can be no bundle's name.
        NotFound: there is no such directory.
        And what `dosirak.build` raises.
    """
    if isinstance(wanted, Bundle):
        return str(wanted.reference)
    if _names_directory(wanted):
        return str(_built(Path(wanted).expanduser(), report).reference)
    text = str(wanted)
    try:
        return str(bundles.get(text).reference)
    except BundleNotFound:
        # What is not here may be in the platform's own store, which is another one if it is far.
        alone = _sealed_model(text, report)
        return text if alone is None else str(alone.reference)


def _built(directory: Path, report: Report | None) -> Bundle:
    if not directory.is_dir():
        raise NotFound(f"There is no directory {str(directory)!r}.", remedy="Check the path.")
    if is_checkout(directory):
        raise UsageError(
            f"{str(directory)!r} is a bundle that was checked out.",
            remedy="Deploy the bundle itself: `dosirak bundles list` shows what is in the store.",
        )
    return bundles.build(directory, report=report)


def _sealed_model(text: str, report: Report | None) -> Bundle | None:
    try:
        model = models.get(text)
    except (ModelNotFound, InvalidName):
        return None
    return bundles.save(model.spec(), report=report)


def _names_directory(wanted: str | Path) -> bool:
    """Whether this is a path. A name in the store comes before a directory of the same name."""
    if isinstance(wanted, Path) or wanted.startswith((".", "/", "~")) or os.sep in wanted:
        return True
    if ":" in wanted or not Path(wanted).is_dir():
        return False
    try:
        bundles.get(wanted)
    except (BundleNotFound, InvalidName):
        return True
    return False
