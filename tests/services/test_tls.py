"""HTTPS from real certificates: both paths behind it, and clients that need one of their own."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trustme

import dosirak
from dosirak.serving.tls import server_context

AUTHORITY = trustme.CA()


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    issued = AUTHORITY.issue_cert("127.0.0.1", "localhost")
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    issued.private_key_pem.write_to_path(key)
    for blob in issued.cert_chain_pems:
        blob.write_to_path(chain, append=True)
    AUTHORITY.cert_pem.write_to_path(tmp_path / "authority.pem")
    return {
        "tls_certificate": str(chain),
        "tls_key": str(key),
        "tls_client_ca": str(tmp_path / "authority.pem"),
    }


def trusting(files: dict[str, str]) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=files["tls_client_ca"])


def own(files: dict[str, str]) -> dict[str, Any]:
    return {name: files[name] for name in ("tls_certificate", "tls_key")}


def test_both_paths_answer_over_https(launch, files):
    server = launch("Batching", **own(files))
    assert server.url.startswith("https://")
    with httpx2.Client(base_url=server.url, verify=trusting(files)) as client:
        assert client.post("/echo", json={"value": 7}).json() == 7
        assert client.post("/double", json={"values": [7] * 50_000}).json()[-1] == 14
        assert client.get("/healthz").status_code == 200
        chunked = client.post(
            "/echo",
            content=iter([b'{"val', b'ue": 8}']),
            headers={"content-type": "application/json"},
        )
        assert chunked.json() == 8
    assert server.stop() == 0


def test_whoever_does_not_trust_the_certificate_sends_nothing(launch, files):
    server = launch("Batching", **own(files))
    with pytest.raises(httpx2.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx2.post(f"{server.url}/echo", json={"value": 7})


def test_plain_http_and_silence_are_no_request(launch, files):
    server = launch("Batching", head_timeout_s=0.5, **own(files))
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as plain:
        plain.sendall(b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
        assert b"HTTP/1.1 200" not in plain.recv(1000)
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as silent:
        assert silent.recv(1000) == b""


def test_old_versions_of_tls_are_refused(launch, files):
    server = launch("Batching", **own(files))
    old = trusting(files)
    old.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    with pytest.warns(DeprecationWarning):
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    with (
        socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection,
        pytest.raises((ssl.SSLError, ConnectionError)),
    ):
        old.wrap_socket(connection, server_hostname="localhost")


def test_clients_without_a_certificate_of_the_authority_are_refused(launch, files):
    server = launch("Batching", **files)
    with (
        httpx2.Client(base_url=server.url, verify=trusting(files)) as stranger,
        pytest.raises(httpx2.TransportError),
    ):
        stranger.post("/echo", json={"value": 7})
    known = trusting(files)
    AUTHORITY.issue_cert("client").configure_cert(known)
    with httpx2.Client(base_url=server.url, verify=known) as client:
        assert client.post("/echo", json={"value": 7}).json() == 7


def test_a_certificate_without_its_key_asks_for_the_key(tmp_path):
    alone = tmp_path / "alone.pem"
    AUTHORITY.issue_cert("localhost").cert_chain_pems[0].write_to_path(alone)
    with pytest.raises(dosirak.errors.InvalidConfiguration, match="add --tls-key"):
        server_context(alone, None, None)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"tls_key": "key"}, "needs a certificate"),
        ({"tls_certificate": "key"}, "cannot be used"),
        ({"tls_certificate": "absent"}, "cannot be used"),
        ({"tls_certificate": "chain", "tls_key": "other"}, "cannot be used"),
    ],
)
def test_files_that_are_of_no_use_are_told_before_anything_starts(files, tmp_path, options, says):
    AUTHORITY.issue_cert("other").private_key_pem.write_to_path(tmp_path / "other.pem")
    named = {name: tmp_path / f"{value}.pem" for name, value in options.items()}
    with pytest.raises(dosirak.errors.InvalidConfiguration, match=says):
        server_context(
            named.get("tls_certificate"), named.get("tls_key"), named.get("tls_client_ca")
        )
