"""Secrets by name and by content; the words alone are no secret."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from dosirak.bundles.secrets import names_it, secret_by_content, secret_by_name

BODY = b"MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQ"


@pytest.mark.parametrize(
    "path",
    [
        ".env",
        "config/.env.production",
        "prod.env",
        "id_rsa",
        "keys/id_ed25519",
        "server.KEY",
        ".netrc",
        "credentials.json",
        ".aws/config",
        ".pypirc",
    ],
)
def test_known_names_are_secrets(path: str) -> None:
    assert secret_by_name(PurePosixPath(path)) is not None


@pytest.mark.parametrize(
    "path", [".env.example", "id_rsa.pub", "service.py", "environment.py", "data.json", "keys.py"]
)
def test_harmless_names_travel(path: str) -> None:
    assert secret_by_name(PurePosixPath(path)) is None


@pytest.mark.parametrize(
    "content",
    [
        b"-----BEGIN PRIVATE KEY-----\n" + BODY,
        b"-----BEGIN RSA PRIVATE KEY-----\r\nProc-Type: 4,ENCRYPTED\r\n\r\n" + BODY,
        b"-----BEGIN OPENSSH PRIVATE KEY-----\n" + BODY,
        b"-----BEGIN PGP PRIVATE KEY BLOCK-----\n\n" + BODY,
        b'{"private_key": "-----BEGIN PRIVATE KEY-----\\n' + BODY + b'"}',
        b"aws_secret_access_key = wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEYab",
        b'key = "AKIA' + b"Z" * 16 + b'"',
    ],
)
def test_marks_in_content_are_found(content: bytes) -> None:
    assert secret_by_content(b"some text before\n" + content) is not None


@pytest.mark.parametrize(
    "content",
    [
        b"-----BEGIN PUBLIC KEY-----\n" + BODY,
        b"-----BEGIN CERTIFICATE-----\n" + BODY,
        b'MARK = "-----BEGIN PRIVATE KEY-----"\n\ndef check(text):\n    return MARK in text\n',
        b"AKIAIOSFODNN7EXAMPLE",
        b"AKIA" + b"Z" * 40,
    ],
)
def test_words_about_secrets_are_not_secrets(content: bytes) -> None:
    assert secret_by_content(content) is None


@pytest.mark.parametrize("pattern", [".env", "config/.env", ".env*", "/config/.env"])
def test_pattern_that_names_the_file(pattern: str) -> None:
    assert names_it(pattern, PurePosixPath("config/.env"))


@pytest.mark.parametrize("pattern", ["*", "**", "config/", "*.env", "config/**"])
def test_pattern_that_only_covers_the_file(pattern: str) -> None:
    assert not names_it(pattern, PurePosixPath("config/.env"))
