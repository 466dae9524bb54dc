"""Telling secrets from code: by the name of a file, and by marks in its content.

Pure. A secret that travels in a bundle is in every store and image that the bundle reaches, so the
default is to leave it behind and say so. Marks are those that a machine wrote: the armour of a
private key followed by its body, an assignment of a cloud secret key. The words alone, as in this
file, are no secret.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

# Examples that projects keep beside the real file on purpose.
_HARMLESS = (
    "*.example",
    "*.sample",
    "*.template",
    "*.dist",
    "*.pub",
)

_NAMES: tuple[tuple[str, str], ...] = (
    (".env", "an environment file"),
    (".env.*", "an environment file"),
    ("*.env", "an environment file"),
    (".envrc", "an environment file"),
    ("id_rsa*", "a private key"),
    ("id_dsa*", "a private key"),
    ("id_ecdsa*", "a private key"),
    ("id_ed25519*", "a private key"),
    ("*.key", "a private key"),
    ("*.ppk", "a private key"),
    ("*.p12", "a key store"),
    ("*.pfx", "a key store"),
    ("*.jks", "a key store"),
    ("*.keystore", "a key store"),
    ("*.kdbx", "a password database"),
    (".netrc", "a file of passwords"),
    ("_netrc", "a file of passwords"),
    (".pgpass", "a file of passwords"),
    (".htpasswd", "a file of passwords"),
    (".pypirc", "a file of passwords"),
    (".npmrc", "a file of tokens"),
    (".git-credentials", "a file of passwords"),
    ("credentials.json", "a file of credentials"),
    ("client_secret*.json", "a file of credentials"),
    ("service-account*.json", "a file of credentials"),
    ("secrets.toml", "a file of secrets"),
    ("secrets.y*ml", "a file of secrets"),
    ("secrets.json", "a file of secrets"),
)

_DIRECTORIES = frozenset({".aws", ".ssh", ".gnupg", ".kube", ".azure"})

# The filler between armour and body: line ends, their escapes in JSON and source, armour headers.
_FILLER = rb"(?:\s|\\[rn]|[\"'+,]|[A-Z][A-Za-z-]{2,30}: [^\n]{0,200}\n)*"
_CONTENT: tuple[tuple[re.Pattern[bytes], str], ...] = (
    (
        re.compile(
            rb"-----BEGIN (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----"
            + _FILLER
            + rb"[A-Za-z0-9+/=]{20}"
        ),
        "a private key",
    ),
    (
        re.compile(
            rb"(?i:aws_?secret_?(?:access_?)?key)[\"']?\s*[:=]\s*[\"']?[A-Za-z0-9/+=]{40}"
            rb"(?![A-Za-z0-9/+=])"
        ),
        "a cloud secret key",
    ),
    (
        # The documentation's own example ends in EXAMPLE.
        re.compile(rb"(?<![A-Z0-9])(?:AKIA|ASIA)(?![A-Z0-9]{9}EXAMPLE)[A-Z0-9]{16}(?![A-Z0-9])"),
        "a cloud access key",
    ),
)

# Neither the name nor one long word alone is a secret; a file so named that holds nothing else is.
_TOKEN_NAMES = (
    "token", "token.txt", "*-token", "*_token", "*.token", "*-token.txt", "*_token.txt",
    "*api-key*", "*api_key*", "*apikey*", "*secret*",
)  # fmt: skip
_TOKEN = re.compile(rb"\s*[!-~]{8,4096}\s*")

# Longer than any mark with its filler: two pieces of a file overlap by this much when searched.
OVERLAP_BYTES = 4096


def secret_by_name(path: PurePosixPath) -> str | None:
    """Say what secret the file at `path` (relative to the project) is by its name, if any."""
    if _DIRECTORIES.intersection(path.parts[:-1]):
        return "a file of credentials"
    name = path.name.lower()
    if any(fnmatchcase(name, pattern) for pattern in _HARMLESS):
        return None
    return next((what for pattern, what in _NAMES if fnmatchcase(name, pattern)), None)


def lone_token(path: PurePosixPath, content: bytes) -> str | None:
    """Say what secret a file is whose whole content is one word, if its name says that, too."""
    name = path.name.lower()
    if name.endswith(".py") or any(fnmatchcase(name, pattern) for pattern in _HARMLESS):
        return None
    named = any(fnmatchcase(name, pattern) for pattern in _TOKEN_NAMES)
    return "a token" if named and _TOKEN.fullmatch(content) else None


def secret_by_content(piece: bytes) -> str | None:
    """Say what secret a piece of a file holds, if any."""
    return next((what for pattern, what in _CONTENT if pattern.search(piece)), None)


def names_it(pattern: str, path: PurePosixPath) -> bool:
    """Whether an include pattern asks for this very file rather than for its surroundings.

    `config/.env`, `.env*` and `credentials.json` name a secret; `*`, `config/` and `*.json` do not.
    """
    last = pattern.rstrip("/").rpartition("/")[2]
    literal = re.split(r"[*?\[]", last, maxsplit=1)[0]
    return bool(literal) and fnmatchcase(path.name, last)
