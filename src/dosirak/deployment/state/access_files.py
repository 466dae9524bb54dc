"""One file for each deployment, with the hashes of the tokens that its callers may have.

Replicas read and watch them, so that they check callers while the control plane is down, and a
revoked token is refused within a moment. No file holds a token. They are written under the
database's write lock: of two that change tokens at once, the later one writes the later file.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import msgspec

from dosirak.deployment.paths import PlatformPaths
from dosirak.deployment.state.database import PlatformState
from dosirak.deployment.state.scopes import covers
from dosirak.deployment.state.tokens import TokenRecord, digests, list_tokens
from dosirak.naming import check_name
from dosirak.store.durability import make_directories, replace_file
from dosirak.store.failures import translated

VERSION = 1


def access_file(paths: PlatformPaths, deployment: str) -> Path:
    """Return where a deployment's file is."""
    return paths.access / f"{check_name(deployment)}.json"


def publish_access(state: PlatformState, paths: PlatformPaths, deployments: Iterable[str]) -> None:
    """Write the files of these deployments as the tokens are now; call it whenever they change.

    A file that says so already is left alone.

    Raises:
        StorageError: the disk is full or refuses; the old file stands.
    """
    with (
        state.transaction() as transaction,
        translated("Writing who may call a deployment", paths.access),
    ):
        make_directories(paths.access)
        hashes = digests(transaction)
        valid = [each for each in list_tokens(transaction) if each.is_valid(transaction.now)]
        for deployment in deployments:
            _replace(access_file(paths, deployment), _content(deployment, valid, hashes))


def withdraw_access(paths: PlatformPaths, deployment: str) -> None:
    """Remove the file of a deployment that is gone."""
    with suppress(FileNotFoundError):
        access_file(paths, deployment).unlink()


def _content(deployment: str, valid: Iterable[TokenRecord], hashes: dict[str, str]) -> bytes:
    allowed = sorted(
        (each for each in valid if covers(each.scopes, f"infer:{deployment}")),
        key=lambda each: each.id,
    )
    tokens = [
        {"id": each.id, "sha256": hashes[each.id], "expires_at": each.expires_at}
        for each in allowed
    ]
    content = {"version": VERSION, "deployment": deployment, "tokens": tokens}
    return msgspec.json.encode(content) + b"\n"


def _replace(path: Path, content: bytes) -> None:
    with suppress(FileNotFoundError):
        if path.read_bytes() == content:
            return
    replace_file(path, content, scratch=path.parent)
