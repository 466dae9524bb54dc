"""Arguments that name what is in the store: completed by the shell, and exact where it matters.

Completion reads the store and runs nobody's code; whatever goes wrong there, the shell is offered
nothing, for a complaint in the middle of a line being typed helps nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import click
from click.shell_completion import CompletionItem

from dosirak import bundles, models
from dosirak.errors import BundleNotFound, CorruptContent, DosirakError, InvalidName, UsageError
from dosirak.naming import Reference
from dosirak.store import Kind, Shelf, default_store

Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]

all_option = click.option(
    "--all", "every", is_flag=True, help="Every version of a NAME given without one."
)


def completes(*kinds: Kind, files: bool = False) -> Completer:
    """Return a completer of the store's names and versions; of files where nothing matches."""

    def complete(
        context: click.Context, parameter: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        known = (text for kind in kinds for text in _known(kind))
        found = [CompletionItem(text) for text in known if text.startswith(incomplete)]
        return found or ([CompletionItem(incomplete, type="file")] if files else [])

    return complete


def complete_api(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete an api of the TARGET already typed, where that is in the store."""
    try:
        found = list(_apis(str(context.params.get("target") or "")))
    except DosirakError:
        return []
    return [CompletionItem(name) for name in found if name.startswith(incomplete)]


def versions_named(references: Iterable[str], *, every: bool, shelf: Shelf[Any]) -> list[Reference]:
    """Return the versions to be deleted, each of them said: by itself or by `--all`.

    Raises:
        UsageError: a name without a version; the latest is nobody's guess to make.
        NotFound: there is no such model or bundle.
    """
    chosen = [
        reference
        for text in references
        for reference in _versions_of(text, every=every, shelf=shelf)
    ]
    return list(dict.fromkeys(chosen))


def _versions_of(text: str, *, every: bool, shelf: Shelf[Any]) -> list[Reference]:
    if ":" in text:
        return [_exact_reference(text, shelf)]
    versions = [one.reference for one in shelf.survey(text)]
    if not versions:
        shelf.get(text)  # says that there is none
    if every:
        return versions
    shown = ", ".join(map(str, versions[:5])) + (", …" if len(versions) > 5 else "")
    raise UsageError(
        f"{text!r} does not say which version.",
        remedy=f"Name one ({shown}), or give --all to delete every version.",
    )


def _exact_reference(text: str, shelf: Shelf[Any]) -> Reference:
    """Return `text` as a reference, once it is one in full: what is deleted is nobody's guess.

    What is damaged cannot be found, but must be deleted all the same: then `text` is taken at its
    word.
    """
    said = Reference.parse(text)
    try:
        found: Reference = shelf.get(text).reference
    except CorruptContent:
        if said.is_latest:
            raise
        return said
    if found != said:
        raise UsageError(
            f"{text!r} does not name a version in full.", remedy=f"Name it in full: {found}."
        )
    return found


def _known(kind: Kind) -> list[str]:
    store = default_store()
    try:
        names = store.names(kind)
        return [*names, *(str(entry.reference) for entry in store.survey(kind))]
    except DosirakError:
        return []


def _apis(target: str) -> Iterator[str]:
    try:
        yield from (api["name"] for api in bundles.get(target).schema["apis"])
    except (InvalidName, BundleNotFound):
        yield from (method.name for method in models.get(target).manifest.methods)
