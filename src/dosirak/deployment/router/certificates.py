"""The certificate of the listeners, read anew when its files change.

Envoy is given certificate and key together, in one file that is replaced whole: it never sees the
one without the other, and files that do not belong together leave it the pair that it has.
"""

from __future__ import annotations

import ssl
from pathlib import Path

from dosirak.deployment.router.resources import Resource, typed
from dosirak.errors import InvalidConfiguration

_SECRET = "envoy.extensions.transport_sockets.tls.v3.Secret"  # noqa: S105 - a type's name


def certificate_secret(certificate: Path, key: Path) -> Resource:
    """Return the pair as Envoy takes it.

    Raises:
        InvalidConfiguration: the files cannot be read, or do not belong together.
    """
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
            certificate, key, password=_no_password
        )
        chain, private = certificate.read_text(), key.read_text()
    except (OSError, ValueError) as error:  # Errors of TLS are errors of the system.
        raise InvalidConfiguration(
            f"The router cannot use the certificate {certificate} with the key {key}: {error}.",
            remedy="Give PEM files: a certificate chain, and its private key without password.",
        ) from error
    return typed(
        _SECRET,
        name="certificate",
        tls_certificate={
            "certificate_chain": {"inline_string": chain},
            "private_key": {"inline_string": private},
        },
    )


def _no_password() -> str:
    raise ValueError("the key has a password")
