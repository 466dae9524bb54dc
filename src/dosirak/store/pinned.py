"""References that go on meaning what they first meant, for processes that serve one thing for long.

    first worker: PinnedStore.resolve("iris:latest") → iris:3, leased → pins ─┐
    front:        PinnedStore(pins).hold()      every digest is leased        │
    next worker:  PinnedStore(pins).resolve("iris:latest") → iris:3 ◀─────────┘

What a pin names may be followed by a newer version, or be deleted: its files stay as long as a
process holds a lease on them, and leases end with the process.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from dosirak.errors import NotFound
from dosirak.naming import Reference
from dosirak.store.content_store import Store
from dosirak.store.entry import Entry, Kind


@dataclass(frozen=True, slots=True)
class Pin:
    """What a reference was found to mean.

    Attributes:
        kind: `models` or `bundles`.
        asked: the reference, `name:version` or `name:latest`.
        entry: what it means; None when there was nothing.
    """

    kind: Kind
    asked: str
    entry: Entry | None


class PinnedStore(Store):
    """A store that resolves a reference once, and leases what it finds.

    Args:
        root: the store's folder.
        pins: what references are already known to mean.
    """

    def __init__(self, root: Path, pins: Iterable[Pin] = ()) -> None:
        super().__init__(root)
        self._pins = {(pin.kind, pin.asked): pin for pin in pins}
        self._leases = ExitStack()

    @property
    def pins(self) -> tuple[Pin, ...]:
        """What references mean here, given and found."""
        return tuple(self._pins.values())

    def resolve(self, kind: Kind, reference: Reference | str) -> Entry:
        """Find what a reference means, as `Store.resolve` does it, but once.

        Raises:
            NotFound: there is nothing, or there was nothing when it was first asked for.
        """
        asked = str(Reference.parse(str(reference)))
        pin = self._pins.get((kind, asked))
        if pin is None:
            return self._resolve(kind, asked)
        if pin.entry is None:
            raise self._references.not_found(kind, Reference.parse(asked))
        return pin.entry

    def hold(self) -> None:
        """Lease the files of every pin until `close` or the end of the process.

        Raises:
            CorruptContent: something is not there any more, or its manifest is damaged.
            StorageError: the disk failed.
        """
        for digest in {pin.entry.digest for pin in self._pins.values() if pin.entry is not None}:
            self._leases.enter_context(self.lease(digest))

    def close(self) -> None:
        """Let go of every lease."""
        self._leases.close()

    def _resolve(self, kind: Kind, asked: str) -> Entry:
        try:
            found = super().resolve(kind, asked)
        except NotFound:
            self._pins[kind, asked] = Pin(kind, asked, None)
            raise
        self._leases.enter_context(self.lease(found.digest))
        for meaning in (asked, str(found.reference)):
            self._pins[kind, meaning] = Pin(kind, meaning, found)
        return found
