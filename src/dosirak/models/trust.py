"""Who may have code run by a model file: the one place that decides it.

A pickle, and any format that names code to run, loads when it was saved into this very store, or
when the caller vouches for exactly this content. Whether a format can run code is what the manifest
says; a manifest that lies is caught by the framework, which never unpickles what its record does
not call a pickle, and here for the names that every reader knows.
"""

from __future__ import annotations

from dosirak.errors import UntrustedContent
from dosirak.models.framework import SavedFormat
from dosirak.store import Entry

_PICKLES = ("pickle", "joblib", "dill")


def runs_code(framework: str, saved: SavedFormat) -> bool:
    """Whether loading can run code that the files name."""
    names = (framework.lower(), saved.format.lower())
    return saved.pickle or any(word in name for word in _PICKLES for name in names)


def check_trust(
    entry: Entry, framework: str, saved: SavedFormat, *, trust: bool | str | None
) -> None:
    """Let a model load, or not.

    Args:
        entry: the model's entry in the store.
        framework: the name of the framework that would load it.
        saved: what the manifest says of the files.
        trust: True vouches for whatever the reference means now; a model's id vouches for that
            content only; None leaves it to where the model came from.

    Raises:
        UntrustedContent: loading could run code that nobody vouches for.
    """
    if isinstance(trust, str) and trust != entry.digest:
        raise UntrustedContent(
            f"{entry.reference} is {entry.digest}, not the content that was vouched for ({trust}).",
            remedy="Look at the model again before trusting it.",
        )
    if trust or entry.origin == "local" or not runs_code(framework, saved):
        return
    raise UntrustedContent(
        f"{entry.reference} was imported, and loading its format ({saved.format}) can run code.",
        remedy="Ask for it in a safe format; or, if you trust whoever made it, load it with"
        f" trust={entry.digest!r}.",
    )
