"""Following what is served: newer versions in the store, and the author's files.

    watchfiles ─▶ something happened ─▶ look what it means now ─▶ news? ─▶ reload

The system tells of changes; every few seconds the store is looked at anyway, for file systems that
tell nobody (a network's), and so are the author's files: what is written while a reload goes on,
perhaps where nobody watched yet, is found by its time. A version in the store is complete when it
is visible, so nothing half written is ever loaded. Only what is *new* is reloaded: after a return
to an older version the server stays there until a newer one is saved, and a version that was
refused is not tried again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path

from watchfiles import Change, awatch

from dosirak.errors import DosirakError
from dosirak.naming import Reference
from dosirak.observe.logs import ROOT_LOGGER
from dosirak.serving.identity import SETTINGS_FILES, ServiceIdentity
from dosirak.serving.reloads import Followed, ReloadOrder, followed_by, news
from dosirak.serving.revisions import Revisions
from dosirak.store import Store

_LOOK_EVERY_MS = 5_000
# A moment of quiet ends a change: an editor writes several files, or one in several steps.
_QUIET_MS = 50
_LONGEST_CHANGE_MS = 500
_RETRY_S = 5.0

_log = logging.getLogger(f"{ROOT_LOGGER}.serving.front")


class Watch:
    """Reloads when there is something new.

    Args:
        revisions: what is served.
        store: where versions appear.
    """

    def __init__(self, revisions: Revisions, store: Store) -> None:
        self._revisions = revisions
        self._store = store

    def names(self) -> tuple[str, ...]:
        """Return the references without a fixed version that are followed."""
        return tuple(sorted({followed.reference for followed in self._followed()}))

    async def follow_store(self) -> None:
        """Reload whenever a reference without a fixed version means another version."""
        seen = self._followed()
        while True:
            async for _ in _ticks(self._reference_directories()):
                followed = self._followed()
                seen = {key: seen.get(key, exact) for key, exact in followed.items()}
                found = await asyncio.to_thread(self._resolve, followed)
                new = news(seen, found)
                seen |= found
                if new:
                    await self._reload(", ".join(new))
                if self._followed().keys() != followed.keys():
                    break
            else:
                await asyncio.sleep(_RETRY_S)

    async def follow_files(self) -> None:
        """Reload whenever the author's own source or settings change."""
        seen: dict[str, int] = {}
        while True:
            directories = source_directories(self._identity())
            if not directories:
                return
            async for changes in _changes(directories):
                identity = self._identity()
                times_ns = await asyncio.to_thread(change_times_ns, identity)
                told = own_changes(changes, identity)
                late = late_changes(times_ns, seen, began_ns=identity.began_ns)
                seen = times_ns
                if changed := sorted({*told, *late}):
                    await self._reload(f"{', '.join(changed)} changed")
                if source_directories(self._identity()) != directories:
                    break
            else:
                await asyncio.sleep(_RETRY_S)

    async def _reload(self, reason: str) -> None:
        try:
            await self._revisions.reload(ReloadOrder(), reason=reason)
        except DosirakError as error:
            _log.debug("Not reloaded: %s", error)  # It was reported where it happened.
        except Exception as error:
            _log.error("Reloading failed; what is served goes on.", exc_info=error)

    def _identity(self) -> ServiceIdentity:
        return self._revisions.current.served.identity

    def _followed(self) -> dict[Followed, str]:
        return followed_by(self._revisions.target, self._revisions.current.served)

    def _reference_directories(self) -> list[Path]:
        return [
            self._store.reference_directory(followed.kind, Reference.parse(followed.reference).name)
            for followed in self._followed()
        ]

    def _resolve(self, followed: Iterable[Followed]) -> dict[Followed, str]:
        """Return what each reference means now; a name that is gone means nothing new."""
        found = {key: self._exact(key) for key in followed}
        return {key: exact for key, exact in found.items() if exact}

    def _exact(self, followed: Followed) -> str:
        with contextlib.suppress(DosirakError):
            return str(self._store.resolve(followed.kind, followed.reference).reference)
        return ""


def source_directories(identity: ServiceIdentity) -> list[Path]:
    """Return the directories that hold the author's own files. Pure."""
    if not identity.root:
        return []
    root = Path(identity.root)
    return sorted({root, *((root / file).parent for file in identity.files)})


def own_changes(changes: Iterable[tuple[Change, str]], identity: ServiceIdentity) -> list[str]:
    """Return which of the author's files changed, as seen from their root. Pure."""
    root = Path(identity.root)
    paths = {Path(path) for _, path in changes}
    return sorted(
        str(path.relative_to(root))
        for path in paths
        if path.is_relative_to(root) and (path.suffix == ".py" or path.name in SETTINGS_FILES)
    )


def change_times_ns(identity: ServiceIdentity) -> dict[str, int]:
    """Return when each imported file was last changed or replaced; what is gone is left out.

    A file's change time is asked for: a copy may bring along any time of writing.
    """
    found: dict[str, int] = {}
    for file in identity.files:
        with contextlib.suppress(OSError):
            found[file] = Path(identity.root, file).stat().st_ctime_ns
    return found


def late_changes(
    times_ns: Mapping[str, int], seen: Mapping[str, int], *, began_ns: int
) -> list[str]:
    """Return which files may be another than was imported. Pure.

    Args:
        times_ns: when each file changed.
        seen: the same at the last look: what was tried already is not tried again.
        began_ns: when the import began.
    """
    return sorted(
        file for file, at_ns in times_ns.items() if at_ns >= began_ns and seen.get(file) != at_ns
    )


async def _changes(directories: Iterable[Path]) -> AsyncIterator[set[tuple[Change, str]]]:
    """Say what changed in these directories; nothing at first, and now and then anyway."""
    present = [path for path in directories if path.is_dir()]
    if not present:
        return
    yield set()
    async for changes in awatch(
        *present,
        recursive=False,
        step=_QUIET_MS,
        debounce=_LONGEST_CHANGE_MS,
        rust_timeout=_LOOK_EVERY_MS,
        yield_on_timeout=True,
    ):
        yield changes


async def _ticks(directories: Iterable[Path]) -> AsyncIterator[None]:
    """Say when something may have changed below these directories, and now and then anyway."""
    present = [path for path in directories if path.is_dir()]
    if not present:
        return
    async for _ in awatch(
        *present,
        watch_filter=None,
        recursive=False,
        step=_QUIET_MS,
        debounce=_LONGEST_CHANGE_MS,
        rust_timeout=_LOOK_EVERY_MS,
        yield_on_timeout=True,
    ):
        yield
