"""Secrets that deployments name: encrypted in the database, given to replicas, shown to nobody.

AES-256-GCM with a random nonce for each value. The name is authenticated along with it, so that a
row's value cannot pass for another's. The key is a file of its own beside the data folder, so that
a copy of the database or of its backups tells nothing; it is made on first use and only then.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from dosirak.deployment.paths import PlatformPaths
from dosirak.deployment.state import rows, tables
from dosirak.deployment.state.transactions import Reading, Row, Transaction
from dosirak.errors import CorruptContent, FieldProblem, InvalidConfiguration, InvalidName, NotFound
from dosirak.store.durability import make_directories, read_file, sync_directory, write_file
from dosirak.store.failures import translated

VALUE_MAX_BYTES = 64 * 1024

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,255}", re.ASCII)
_KEY_HEAD = b"dosirak-secret-key-1 "
_KEY_BYTES = 32
_NONCE_BYTES = 12


@dataclass(frozen=True, slots=True)
class SecretRecord:
    """That there is a secret, and since when."""

    name: str
    created_at: float
    updated_at: float


@dataclass(frozen=True, slots=True)
class SecretKey:
    """The key that secrets are encrypted with."""

    data: bytes = field(repr=False)

    @classmethod
    def of_file(cls, path: Path) -> Self | None:
        """Read the key; None if there is no file.

        Raises:
            InvalidConfiguration: others may read the file, or it is no key.
            StorageError: it cannot be read.
        """
        with translated("Reading the key of the platform's secrets", path):
            try:
                text = read_file(path)
            except FileNotFoundError:
                return None
            if stat.S_IMODE(path.stat().st_mode) & 0o077:
                raise InvalidConfiguration(
                    f"Others may read the key of the platform's secrets ({path}).",
                    remedy=f"Run `chmod 600 {path}`, and change the secrets if somebody has.",
                )
        return cls(_decoded_key(text, path))

    @classmethod
    def of_new_file(cls, path: Path) -> Self:
        """Make a key and its file; the one who comes second gets the first one's.

        Raises:
            StorageError: the disk is full or refuses.
        """
        key = cls(os.urandom(_KEY_BYTES))
        with translated("Writing the key of the platform's secrets", path):
            make_directories(path.parent)
            staged = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
            write_file(staged, _KEY_HEAD + base64.b64encode(key.data) + b"\n")
            try:
                path.hardlink_to(staged)  # fails where a file is, unlike a rename
            except FileExistsError:
                return cls.of_file(path) or key
            finally:
                staged.unlink()
            sync_directory(path.parent)
        return key

    def encrypted(self, name: str, value: str) -> bytes:
        """Return a value as it is kept."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + AESGCM(self.data).encrypt(nonce, value.encode(), _context(name))

    def decrypted(self, name: str, ciphertext: bytes) -> str:
        """Return a value that was kept under this name.

        Raises:
            CorruptContent: it was encrypted with another key, or under another name.
        """
        nonce, rest = ciphertext[:_NONCE_BYTES], ciphertext[_NONCE_BYTES:]
        try:
            return AESGCM(self.data).decrypt(nonce, rest, _context(name)).decode()
        except (InvalidTag, ValueError) as error:
            raise _unreadable(name) from error


def set_secret(transaction: Transaction, paths: PlatformPaths, name: str, value: str) -> None:
    """Keep a secret, new or not.

    Raises:
        CorruptContent: the key file is gone though there are secrets.
        InvalidConfiguration: the value is none that a variable may have, or the key file is of no
            use.
        InvalidName: the name is none that a variable may have.
        StorageError: the disk is full or refuses.
    """
    _check(name, value)
    key = _key(transaction, paths)
    row = _row_of(transaction, name)
    values = {
        "name": name,
        "ciphertext": key.encrypted(name, value),
        "created_at": row["created_at"] if row else transaction.now,
        "updated_at": transaction.now,
    }
    transaction.put(tables.secrets, tables.secrets.c.name == name, values)


def list_secrets(reading: Reading) -> list[SecretRecord]:
    """Return the secrets there are, by name, without their values."""
    found = reading.rows(tables.secrets.select().order_by(tables.secrets.c.name))
    return [
        SecretRecord(row["name"], row["created_at"], row["updated_at"])
        for row in (rows.checked("secrets", row) for row in found)
    ]


def delete_secret(transaction: Transaction, name: str) -> None:
    """Forget a secret; replicas that have it keep it until they end.

    Raises:
        NotFound: there is none of this name.
    """
    if transaction.write(tables.secrets.delete().where(tables.secrets.c.name == name)) == 0:
        raise _missing([name])


def resolve_secrets(reading: Reading, paths: PlatformPaths, names: Iterable[str]) -> dict[str, str]:
    """Return the values of secrets, for the environment of a replica and nothing else.

    Raises:
        CorruptContent: a value cannot be decrypted: the key file is gone or another.
        InvalidConfiguration: others may read the key file, or it is no key.
        NotFound: secrets are missing; all of them are named.
    """
    wanted = sorted(set(names))
    if not wanted:
        return {}
    found = {name: row for name in wanted if (row := _row_of(reading, name)) is not None}
    if missing := [name for name in wanted if name not in found]:
        raise _missing(missing)
    key = SecretKey.of_file(paths.secret_key)
    if key is None:
        raise _unreadable(wanted[0])
    return {name: key.decrypted(name, row["ciphertext"]) for name, row in found.items()}


def _key(transaction: Transaction, paths: PlatformPaths) -> SecretKey:
    """Return the key, made if there is nothing yet that another one was used for."""
    key = SecretKey.of_file(paths.secret_key)
    if key is not None:
        return key
    kept = list_secrets(transaction)
    if kept:
        raise _unreadable(kept[0].name)
    return SecretKey.of_new_file(paths.secret_key)


def _check(name: str, value: str) -> None:
    if _NAME.fullmatch(name) is None:
        raise InvalidName(
            f"{name!r} cannot be the name of a secret.",
            remedy="Use letters, digits and '_', beginning with a letter or '_': it becomes a"
            " variable of the environment.",
        )
    problem = _problem(value)
    if problem:
        raise InvalidConfiguration(
            f"The value of the secret {name!r} cannot be kept: {problem}.",
            remedy=f"Give text of at most {VALUE_MAX_BYTES:,} bytes without NUL.",
            fields=[FieldProblem("value", problem)],
        )


def _problem(value: str) -> str:
    if "\0" in value:
        return "it holds a NUL"
    try:
        size_bytes = len(value.encode())
    except UnicodeEncodeError:
        return "it is no valid text"
    return "" if size_bytes <= VALUE_MAX_BYTES else f"it has {size_bytes:,} bytes"


def _row_of(reading: Reading, name: str) -> Row | None:
    found = reading.rows(tables.secrets.select().where(tables.secrets.c.name == name))
    return rows.checked("secrets", found[0]) if found else None


def _context(name: str) -> bytes:
    return b"dosirak secrets " + name.encode()


def _decoded_key(text: bytes, path: Path) -> bytes:
    try:
        data = base64.b64decode(text.removeprefix(_KEY_HEAD).strip(), validate=True)
    except binascii.Error:
        data = b""
    if not text.startswith(_KEY_HEAD) or len(data) != _KEY_BYTES:
        raise InvalidConfiguration(
            f"The file {path} is no key of the platform's secrets.",
            remedy="Put the right file back, or delete the secrets and the file and set them anew.",
        )
    return data


def _missing(names: list[str]) -> NotFound:
    return NotFound(
        f"There is no secret {', '.join(map(repr, names))}.",
        remedy="`dosirak secrets set NAME` keeps one; `dosirak secrets list` shows the names.",
    )


def _unreadable(name: str) -> CorruptContent:
    return CorruptContent(
        f"The secret {name!r} cannot be decrypted: the key file is gone, or is another.",
        remedy="Put the key file back, or delete the secrets and set them anew.",
    )
