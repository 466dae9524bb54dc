"""What calls cost, kept beside the store: a replica that starts again need not learn it anew.

One small file for each revision: the same content costs about the same. It is a beginning and no
more, so whatever goes wrong with it is of no consequence: the server then learns from nothing.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from dosirak.serving.cost_curve import CostCurve

_MOST_KEPT = 256
_MOST_BYTES = 1024 * 1024

_decoder = msgspec.json.Decoder(dict[str, CostCurve])


class CostMemory:
    """The curves of the revisions that were served from one home.

    Args:
        directory: where they are kept.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def recall(self, revision: str) -> dict[str, CostCurve]:
        """Return the curve of each api of a revision; nothing where nothing usable is kept."""
        try:
            with self._file(revision).open("rb") as file:
                curves = _decoder.decode(file.read(_MOST_BYTES))
        except (OSError, msgspec.MsgspecError, ValueError):
            return {}
        return {api: curve for api, curve in curves.items() if curve.is_sound}

    def keep(self, revision: str, curves: Mapping[str, CostCurve]) -> None:
        """Keep what was learned; a disk that refuses it is no reason to fail."""
        if not revision or not curves:
            return
        with contextlib.suppress(OSError):
            self._directory.mkdir(parents=True, exist_ok=True)
            file = self._file(revision)
            written = file.with_suffix(f".{os.getpid()}.tmp")
            written.write_bytes(msgspec.json.encode(curves))
            written.replace(file)
            self._forget_oldest()

    def _file(self, revision: str) -> Path:
        return self._directory / f"{revision}.json"

    def _forget_oldest(self) -> None:
        kept = sorted(self._directory.glob("*.json"), key=lambda file: file.stat().st_mtime)
        for file in kept[:-_MOST_KEPT]:
            file.unlink(missing_ok=True)
