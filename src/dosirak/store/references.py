"""References: which content a name and version mean, and which version is the latest.

Changes of one name happen under its `.lock`. Beside the records, `.order` holds the greatest time
ever given to a version of the name, so that versions keep their order when the clock steps back,
and a hint naming the latest version. The hint is written before the record it names: if that record
exists it is the latest, and if it does not, the records themselves are read. A name with ten
thousand versions is therefore saved to and resolved without reading them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import Any, cast

import msgspec

from dosirak.errors import (
    AlreadyExists,
    BundleNotFound,
    CorruptContent,
    ModelNotFound,
    NotFound,
    UsageError,
)
from dosirak.naming import Reference, check_name, check_version, is_name, is_version
from dosirak.store.canonical import canonical_json
from dosirak.store.durability import (
    discard,
    is_no_file,
    make_directories,
    make_directory,
    read_file,
    replace_file,
    sync_directory,
    write_file,
)
from dosirak.store.entry import EPOCH, KINDS, DamagedEntry, Entry, Kind, Origin
from dosirak.store.layout import Layout
from dosirak.store.locks import locked
from dosirak.store.record import corrupt_record, decode_record, encode_record, seal, unseal

_NOT_FOUND: Mapping[Kind, type[NotFound]] = {"models": ModelNotFound, "bundles": BundleNotFound}
_LABELS_REMEDY = "Give labels as text: {'team': 'search'}."
_STEP_NS = 1000  # versions and times count whole microseconds


@dataclass(frozen=True, slots=True)
class Draft:
    """What is known of an entry before its version and time are decided."""

    kind: Kind
    name: str
    version: str | None
    digest: str
    labels: Mapping[str, str]
    provenance: Mapping[str, Any]
    origin: Origin
    created_at_ns: int | None = None  # an import keeps the time at which its content was made


@dataclass(frozen=True, slots=True)
class _Order:
    floor_ns: int = 0
    latest: str = ""
    latest_ns: int = 0

    def with_entry(self, entry: Entry) -> _Order:
        floor_ns = max(self.floor_ns, entry.created_at_ns)
        if (entry.created_at_ns, entry.version) < (self.latest_ns, self.latest):
            return replace(self, floor_ns=floor_ns)
        return _Order(floor_ns, entry.version, entry.created_at_ns)


def version_at(time_ns: int) -> str:
    """Return the version generated for a time; later times have greater versions."""
    return (EPOCH + timedelta(microseconds=time_ns // _STEP_NS)).strftime("%Y%m%d-%H%M%S-%f")


def check_kind(kind: Kind) -> Kind:
    """Return `kind` unchanged.

    Raises:
        UsageError: it is not one (the calling code's fault).
    """
    if kind not in KINDS:
        raise UsageError(f"{kind!r} is not a kind.", remedy=f"Use one of: {', '.join(KINDS)}.")
    return kind


class References:
    """The records under one store's root."""

    def __init__(self, layout: Layout, clock: Callable[[], int]) -> None:
        self._layout = layout
        self._clock = clock

    def names(self, kind: Kind) -> list[str]:
        """Return every name of a kind in order, also those whose versions are all deleted."""
        return list(filter(is_name, _listed(self._layout.names(check_kind(kind)))))

    def versions(self, kind: Kind, name: str) -> list[str]:
        """Return every version of a name, as text in order."""
        directory = self._layout.versions(check_kind(kind), check_name(name))
        return list(filter(is_version, _listed(directory)))

    def entries(self, kind: Kind, name: str | None = None) -> Iterator[Entry]:
        """Yield the entries of a name, or of all names in order, the newest version first."""
        for found in self.names(kind) if name is None else [name]:
            yield from sorted(self._entries(kind, found), key=_age, reverse=True)

    def survey(self, kind: Kind, name: str | None = None) -> Iterator[Entry | DamagedEntry]:
        """Yield the entries as `entries` does and, behind those of its name, what is damaged."""
        for found in self.names(kind) if name is None else [name]:
            seen = [self._surveyed(kind, Reference(found, v)) for v in self.versions(kind, found)]
            sound = [entry for entry in seen if isinstance(entry, Entry)]
            yield from sorted(sound, key=_age, reverse=True)
            yield from (entry for entry in seen if isinstance(entry, DamagedEntry))

    def _surveyed(self, kind: Kind, reference: Reference) -> Entry | DamagedEntry | None:
        try:
            return self.read(kind, reference)
        except CorruptContent as error:
            return DamagedEntry(kind, reference, error.message, error.remedy)

    def resolve(self, kind: Kind, reference: Reference) -> Entry:
        """Find the entry that a reference means: exact, latest, or by a unique start.

        Raises:
            NotFound: there is none (`ModelNotFound` or `BundleNotFound`).
            UsageError: several versions begin so.
            CorruptContent: its record is damaged.
        """
        check_kind(kind)
        found = self._latest(kind, reference.name) if reference.is_latest else None
        found = found or self.read(kind, reference) or self._by_start(kind, reference)
        if found is None:
            raise self.not_found(kind, reference)
        return found

    def read(self, kind: Kind, reference: Reference) -> Entry | None:
        """Read the record of an exact reference, if there is one."""
        return _read(str(self._layout.versions(kind, reference.name)), kind, reference)

    def exists(self, kind: Kind, reference: Reference) -> bool:
        """Whether an exact reference has a record, damaged or not."""
        return os.path.lexists(
            self._layout.versions(check_kind(kind), reference.name) / reference.version
        )

    def not_found(self, kind: Kind, reference: Reference) -> NotFound:
        """Say that nothing has this reference."""
        return _NOT_FOUND[kind](
            f"There is no {reference} in {kind}.", remedy=self._instead_of(kind, reference)
        )

    def _instead_of(self, kind: Kind, reference: Reference) -> str:
        """Say what was perhaps meant by a reference that nothing has."""
        if known := self.versions(kind, reference.name):
            count = "is 1 version" if len(known) == 1 else f"are {len(known)} versions"
            return f"There {count} of it: {_shown(known[::-1])}."
        close = get_close_matches(reference.name, self.names(kind), n=5)
        if near := [name for name in close if self.versions(kind, name)][:3]:
            return f"Did you mean {' or '.join(near)}?"
        other: Kind = "bundles" if kind == "models" else "models"
        if self.versions(other, reference.name):
            return f"There is one in {other}. List what is there with: dosirak {kind} list"
        return f"List what is there with: dosirak {kind} list"

    def add(self, draft: Draft, *, scratch: Path) -> Entry:
        """Write a record; nothing happens when the same version already means the same content.

        Raises:
            AlreadyExists: the version means other content.
            CorruptContent: the version exists and its record is damaged.
        """
        directory = self._layout.versions(draft.kind, draft.name)
        make_directories(directory.parent)
        make_directory(directory)
        sync_directory(directory.parent)
        with locked(directory / ".lock"):
            existing = self._existing(draft)
            return existing or self._add(draft, directory, scratch)

    def remove(self, kind: Kind, reference: Reference, *, scratch: Path) -> None:
        """Remove the record of an exact reference, damaged or not.

        Raises:
            NotFound: another process has just removed it.
        """
        directory = self._layout.versions(kind, reference.name)
        with locked(directory / ".lock"):
            order = self._order(kind, reference.name)
            try:
                _remove(directory / reference.version, scratch)
            except FileNotFoundError as error:
                raise self.not_found(kind, reference) from error
            sync_directory(directory)
            if order.latest == reference.version:
                self._renew_hint(kind, reference.name, order, scratch)

    def _existing(self, draft: Draft) -> Entry | None:
        if draft.version is None:
            return None
        reference = Reference(draft.name, draft.version)
        existing = self.read(draft.kind, reference)
        if existing is not None and existing.digest != draft.digest:
            raise already_exists(draft.kind, reference)
        return existing

    def _add(self, draft: Draft, directory: Path, scratch: Path) -> Entry:
        order = self._order(draft.kind, draft.name)
        entry = self._dated(draft, order, directory)
        staged = scratch / f"record.{os.urandom(8).hex()}"
        write_file(staged, encode_record(entry))
        changed = order.with_entry(entry)
        if changed != order:
            self._write_order(directory, changed, scratch)
        path = directory / entry.version
        staged.rename(path)
        try:
            sync_directory(directory)
        except OSError:
            with suppress(OSError):  # what was not certainly stored is not left to be found
                path.unlink()
            raise
        return entry

    def _dated(self, draft: Draft, order: _Order, directory: Path) -> Entry:
        now_ns = self._clock() // _STEP_NS * _STEP_NS
        if draft.created_at_ns is not None:
            time_ns = min(draft.created_at_ns // _STEP_NS * _STEP_NS, now_ns)
        else:
            time_ns = max(now_ns, order.floor_ns + _STEP_NS)
        version = draft.version
        if version is None:
            while (directory / version_at(time_ns)).exists():
                time_ns += _STEP_NS
            version = version_at(time_ns)
        return Entry(
            kind=draft.kind,
            reference=Reference(draft.name, version),
            digest=draft.digest,
            created_at_ns=time_ns,
            labels=draft.labels,
            provenance=draft.provenance,
            origin=draft.origin,
        )

    def _latest(self, kind: Kind, name: str) -> Entry | None:
        order = _read_order(self._layout.versions(kind, name))
        if order is not None and order.latest:
            hinted = self.read(kind, Reference(name, order.latest))
            if hinted is not None and hinted.created_at_ns == order.latest_ns:
                return hinted
        return max(self._entries(kind, name), key=_age, default=None)

    def _by_start(self, kind: Kind, reference: Reference) -> Entry | None:
        if reference.is_latest:
            return None
        versions = self.versions(kind, reference.name)
        found = [version for version in versions if version.startswith(reference.version)]
        if len(found) > 1:
            raise UsageError(
                f"{len(found)} versions of {reference.name} in {kind} begin with"
                f" {reference.version!r}.",
                remedy=f"Write more of it; there are {', '.join(found[:5])}.",
            )
        return self.read(kind, Reference(reference.name, found[0])) if found else None

    def _entries(self, kind: Kind, name: str) -> Iterator[Entry]:
        directory = str(self._layout.versions(kind, check_name(name)))
        for version in filter(is_version, _listed(directory)):
            entry = _read(directory, kind, Reference(name, version))
            if entry is not None:  # deleted meanwhile otherwise
                yield entry

    def _order(self, kind: Kind, name: str) -> _Order:
        """Read a name's order, or find it again from the records that can be read."""
        order = _read_order(self._layout.versions(kind, name))
        if order is not None:
            return order
        order = _Order()
        for version in self.versions(kind, name):
            with suppress(CorruptContent):
                entry = self.read(kind, Reference(name, version))
                order = order.with_entry(entry) if entry is not None else order
        return order

    def _renew_hint(self, kind: Kind, name: str, order: _Order, scratch: Path) -> None:
        """Name the latest of the remaining records; with a damaged one among them, none."""
        fresh = _Order(floor_ns=order.floor_ns)
        with suppress(CorruptContent):
            remaining = _Order(floor_ns=order.floor_ns)
            for entry in self._entries(kind, name):
                remaining = remaining.with_entry(entry)
            fresh = remaining
        self._write_order(self._layout.versions(kind, name), fresh, scratch)

    def _write_order(self, directory: Path, order: _Order, scratch: Path) -> None:
        values = {
            "floor_ns": order.floor_ns,
            "latest": order.latest,
            "latest_ns": order.latest_ns,
        }
        path = directory / ".order"
        if path.is_dir() and not path.is_symlink():
            discard(path)  # nothing can be renamed onto it
        replace_file(path, seal(values), scratch=scratch)


def _read(directory: str, kind: Kind, reference: Reference) -> Entry | None:
    try:
        data = read_file(f"{directory}/{reference.version}")
    except FileNotFoundError:
        return None
    except OSError as error:
        if is_no_file(error):
            raise corrupt_record(kind, reference) from error
        raise
    return decode_record(data, kind, reference)


def _remove(path: Path, scratch: Path) -> None:
    """Remove a record, or whatever lies in its place; a folder goes as a whole, with the scratch.

    Raises:
        FileNotFoundError: there is nothing.
    """
    if path.is_dir() and not path.is_symlink():
        path.rename(scratch / f"record.{os.urandom(8).hex()}")
    else:
        path.unlink()


def _age(entry: Entry) -> tuple[int, str]:
    return entry.created_at_ns, entry.version


def _listed(directory: Path | str) -> list[str]:
    """Return what a folder holds, in order; a stray file is no folder and holds nothing."""
    try:
        names = os.listdir(directory)  # noqa: PTH208 - text is all that is wanted, ten times faster
    except FileNotFoundError:
        return []
    except NotADirectoryError:
        if Path(directory).parent.is_dir():
            return []
        raise
    return sorted(name for name in names if not name.startswith("."))


def _read_order(directory: Path) -> _Order | None:
    """Read the order, if it is there and whole; it only repeats what the records say."""
    try:
        return msgspec.json.decode(unseal(read_file(directory / ".order")) or b"", type=_Order)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
    except OSError as error:
        if is_no_file(error):
            return None
        raise


def already_exists(kind: Kind, reference: Reference) -> AlreadyExists:
    """Return the error for a version that is to mean other content than it does."""
    return AlreadyExists(
        f"{reference} exists in {kind} with other content.",
        remedy="Choose another version, or leave it out to have one generated.",
    )


def check_labels(labels: object) -> None:
    """Refuse labels that are not text by text.

    Raises:
        UsageError: they are not (the caller's fault).
    """
    if not isinstance(labels, Mapping):
        raise UsageError(f"{labels!r} are no labels.", remedy=_LABELS_REMEDY)
    for key, value in cast(Mapping[object, object], labels).items():
        if not _is_text(key) or not _is_text(value):
            raise UsageError(f"The label {key!r} is not text.", remedy=_LABELS_REMEDY)


def checked_draft(draft: Draft) -> Draft:
    """Return `draft` unchanged.

    Raises:
        InvalidName: its name or version breaks the grammar (the caller's fault).
        UsageError: its labels are not text, its provenance has no JSON form, or its kind is not
            one.
    """
    check_kind(draft.kind)
    check_name(draft.name)
    if draft.version is not None:
        check_version(draft.version)
    check_labels(draft.labels)
    try:
        canonical_json(dict(draft.provenance))
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"The provenance of {draft.name} cannot be stored: {error}.",
            remedy="Use JSON values only.",
        ) from error
    return draft


def _is_text(value: object) -> bool:
    """Whether `value` is text that can be written: half a surrogate pair cannot."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(versions: list[str]) -> str:
    return ", ".join(versions[:3]) + (", …" if len(versions) > 3 else "")
