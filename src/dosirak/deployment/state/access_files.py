"""One file for each deployment, with the hashes of the tokens that its callers may have.

Replicas read and watch them, so that they check callers while the control plane is down, and a
revoked token is refused within a moment. No file holds a token. They are written under the
database's write lock: of two that change tokens at once, the later one writes the later file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from dosirak.deployment.configuration import Access
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


def publish_access(
    state: PlatformState, paths: PlatformPaths, deployments: Mapping[str, Access]
) -> None:
    """Write the files of these deployments as the tokens are now; call it whenever they change.

    Every deployment has one, those that everybody may call as well: replicas are started once and
    follow their file from then on. Files of deployments that are not named are removed.

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
        for deployment, access in deployments.items():
            content = _content(deployment, access, valid, hashes)
            _replace(access_file(paths, deployment), content)
        for path in paths.access.glob("*.json"):
            if path.stem not in deployments:
                path.unlink(missing_ok=True)


def _content(
    deployment: str, access: Access, valid: Iterable[TokenRecord], hashes: dict[str, str]
) -> bytes:
    allowed = sorted(
        (each for each in valid if covers(each.scopes, f"infer:{deployment}")),
        key=lambda each: each.id,
    )
    tokens = [
        {"id": each.id, "sha256": hashes[each.id], "expires_at": each.expires_at}
        for each in allowed
    ]
    content = {
        "version": VERSION,
        "deployment": deployment,
        "open": access is Access.PUBLIC,
        "tokens": tokens,
    }
    return msgspec.json.encode(content) + b"\n"


def _replace(path: Path, content: bytes) -> None:
    with suppress(FileNotFoundError):
        if path.read_bytes() == content:
            return
    replace_file(path, content, scratch=path.parent)
