"""TLS for the listener: certificates checked when the server starts, not with its first client."""

from __future__ import annotations

import ssl
from pathlib import Path

from dosirak.errors import InvalidConfiguration


def server_context(
    certificate: Path | None, key: Path | None, client_ca: Path | None, *, http2: bool = False
) -> ssl.SSLContext | None:
    """Return what the listener speaks TLS with; None when no certificate is given.

    Args:
        certificate: a PEM file: the server's certificate, then those between it and a root.
        key: a PEM file with its private key; None when that is in the first file.
        client_ca: a PEM file of authorities; clients then need a certificate of one of them.
        http2: offer HTTP/2.

    Raises:
        InvalidConfiguration: a file cannot be used, or is given without the first.
    """
    if certificate is None:
        if key is not None or client_ca is not None:
            raise InvalidConfiguration(
                "TLS needs a certificate.", remedy="Give --tls-certificate, too."
            )
        return None
    # TLS 1.2 and newer, and only what the ssl module calls safe.
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_alpn_protocols(["h2", "http/1.1"] if http2 else ["http/1.1"])
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
        if client_ca is not None:
            context.load_verify_locations(client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ValueError) as error:
        raise InvalidConfiguration(
            f"The certificate or key cannot be used: {error}.",
            remedy=_remedy(certificate, key),
        ) from error
    return context


def _remedy(certificate: Path, key: Path | None) -> str:
    if (
        key is None
        and certificate.is_file()
        and b"PRIVATE KEY-----" not in certificate.read_bytes()
    ):
        return f"There is no key in {certificate}: add --tls-key with the file that has it."
    return "Give PEM files that belong together; a key without a password."


def _no_password() -> str:
    """Asked on the terminal otherwise, where nobody may be."""
    raise ValueError("the key has a password")
