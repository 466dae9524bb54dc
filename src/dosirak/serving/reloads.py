"""Reloading, as decisions: what an order may name, what changed, what is new in the store. Pure.

order + what is served ─▶ target ─▶ (a worker opens it) ─▶ the same content? ─▶ outcome
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import msgspec

from dosirak.bundles.targets import PinnedTarget, TargetKind
from dosirak.errors import DosirakError, InvalidInput, InvalidName, ReloadRefused
from dosirak.naming import Reference
from dosirak.serving.identity import ServiceIdentity
from dosirak.store import Kind

Outcome = Literal["swapped", "unchanged", "refused"]


class ReloadOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to serve from now on.

    Attributes:
        target: another version of what is served, as `name:version`; what the server was started
            with, looked up anew, when empty.
    """

    target: str = ""


class ReloadOutcome(msgspec.Struct, frozen=True):
    """How a reload ended.

    Attributes:
        outcome: `swapped`, or `unchanged` when the same content is served already; a state may
            also say `refused`.
        revision: what is served now.
        previous: what was served before; the same when nothing changed.
        target: what is served, by its exact version where it has one.
        models: the exact model of each attribute.
        changes: what is different, for people.
        took_s: seconds from the order to the answer.
        error: why the new revision was refused; empty otherwise.
    """

    outcome: Outcome
    revision: str
    previous: str
    target: str
    models: dict[str, str]
    changes: tuple[str, ...] = ()
    took_s: float = 0.0
    error: str = ""


class ReloadState(msgspec.Struct, frozen=True):
    """What a server serves, and its last reload.

    Attributes:
        previous_target: what to reload to go back; empty when nothing was served before.
        reloading: another revision is being prepared.
        last: how the last reload ended; None when there was none.
    """

    revision: str
    target: str
    models: dict[str, str]
    previous_target: str
    reloading: bool
    last: ReloadOutcome | None


@dataclass(frozen=True, slots=True)
class Served:
    """What one revision is.

    Attributes:
        target: what its workers were told to open.
        identity: what they found.
        kind: where the target was found; the same for every revision of one server.
        content: the id of what was found in the store; empty for files.
    """

    target: str
    identity: ServiceIdentity
    kind: TargetKind = "files"
    content: str = ""

    def is_what(self, pinned: PinnedTarget) -> bool:
        """Whether a target is known to be this, before anybody opens it."""
        same = (self.target, self.kind, self.content) == pinned
        return same and bool(self.content)


class Followed(NamedTuple):
    """A reference without a fixed version, and where alone the store is asked for it."""

    reference: str
    kind: Kind


def target_of(order: ReloadOrder, *, started_with: str, served: Served) -> str:
    """Return what an order asks to open.

    Whoever may reload may not turn the server into another service: a server of files goes on with
    those files, and one of a name with another version of it, a bundle's or a model's as before.

    Args:
        order: the order.
        started_with: what the server was started with.
        served: what is served now.

    Raises:
        InvalidInput: the order names something else.
    """
    if order.target in ("", started_with):
        return started_with
    pinned = None if served.kind == "files" else _reference(served.target)
    asked = _reference(order.target)
    if asked is None or pinned is None or asked.name != pinned.name:
        raise InvalidInput(
            f"This server serves {started_with!r}; a reload cannot make it serve"
            f" {order.target[:200]!r}.",
            remedy="Name another version of the same bundle or model, or leave the target out.",
        )
    return order.target


def changes_between(old: Served, new: Served) -> tuple[str, ...]:
    """Say in few words what is different."""
    changes: list[str] = []
    if old.target != new.target:
        changes.append(f"{old.target} → {new.target}")
    before, after = old.identity, new.identity
    for attribute in sorted({*before.models, *after.models}):
        was, now = before.models.get(attribute), after.models.get(attribute)
        if now not in (was, new.target):
            changes.append(f"{attribute}: {was or 'none'} → {now or 'none'}")
    if not changes and before.revision != after.revision:
        changes.append("source")
    return tuple(changes)


def refusal(error: DosirakError) -> ReloadRefused:
    """Say that a new revision is not served, and why."""
    return ReloadRefused(
        f"The new revision was refused, the old one serves on: {error.message}",
        remedy=error.remedy,
        fields=error.fields,
    )


def followed_by(started_with: str, served: Served) -> dict[Followed, str]:
    """Return every reference without a fixed version that a revision stands on, and its version."""
    identity = served.identity
    followed = {
        Followed(reference, "models"): identity.models[attribute]
        for attribute, reference in identity.floating.items()
    }
    if served.kind != "files" and served.target != started_with:
        followed[Followed(started_with, served.kind)] = served.target
    return followed


def news(seen: Mapping[Followed, str], found: Mapping[Followed, str]) -> tuple[str, ...]:
    """Say which references mean something else than when they were last looked at."""
    return tuple(
        f"{seen[followed]} → {exact}"
        for followed, exact in found.items()
        if followed in seen and seen[followed] != exact
    )


def _reference(text: str) -> Reference | None:
    try:
        return Reference.parse(text)
    except InvalidName:
        return None
