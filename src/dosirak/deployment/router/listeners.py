"""Listeners: the main one, one for each deployment that asks, and a private one for the controller.

All lead to the same routes. A listener does not change while requests move, so connections of
callers outlive every version.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from dosirak.deployment.router.file_names import ACCESS_LOG, PROBE_SOCKET
from dosirak.deployment.router.own_answers import local_reply_config
from dosirak.deployment.router.resources import (
    METADATA,
    Resource,
    extension,
    header,
    seconds,
    typed,
    watched,
)
from dosirak.deployment.router.routes import PORT_HEADER
from dosirak.deployment.router.settings import RouterSettings

MAIN = "main"
OWN_PORT = "port"
_CALLER_IDLE_S = 3600.0
_BUFFER_BYTES = 1 << 20
_LISTENER = "envoy.config.listener.v3.Listener"
_MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_EARLY = "envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation"
_ROUTER = "envoy.extensions.filters.http.router.v3.Router"
_REQUEST_ID = "envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig"
_FILE_LOG = "envoy.extensions.access_loggers.file.v3.FileAccessLog"
_TLS = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"

_ACCESS_LOG_FIELDS = {
    "time": "%START_TIME(%Y-%m-%dT%H:%M:%S.%3fZ)%",
    "deployment": f"%METADATA(ROUTE:{METADATA}:deployment)%",
    "revision": f"%METADATA(CLUSTER:{METADATA}:revision)%",
    "replica": "%UPSTREAM_HOST_NAME_WITHOUT_PORT%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "trace_parent": "%REQ(TRACEPARENT)%",
    "method": "%REQ(:METHOD)%",
    "host": "%REQ(:AUTHORITY)%",
    "path": "%PATH(NQ:ORIG_OR_PATH)%",
    "protocol": "%PROTOCOL%",
    "status": "%RESPONSE_CODE%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "flags": "%RESPONSE_FLAGS%",
    "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "duration_ms": "%DURATION%",
    "upstream_ms": "%COMMON_DURATION(US_TX_BEG:US_RX_BEG:ms)%",
    "request_bytes": "%BYTES_RECEIVED%",
    "response_bytes": "%BYTES_SENT%",
    "client": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
}


def listeners(folder: Path, ports: Iterable[int], settings: RouterSettings) -> dict[str, Resource]:
    """Return every listener by its name; `ports` are those of single deployments."""
    named = {MAIN: settings.port} | {f"{OWN_PORT} {port}": port for port in sorted(ports)}
    tcp = {name: _tcp(name, port, folder, settings) for name, port in named.items()}
    return {**tcp, "probe": _probe(folder)}


def own_ports(held: Mapping[str, Resource]) -> frozenset[int]:
    """Return the ports of single deployments among listeners."""
    names = (name.partition(" ") for name in held)
    return frozenset(int(port) for kind, _, port in names if kind == OWN_PORT)


def _tcp(name: str, port: int, folder: Path, settings: RouterSettings) -> Resource:
    own_port = None if name == MAIN else port
    chain: Resource = {"filters": [_manager(folder, settings, own_port)]}
    if settings.certificate:
        chain["transport_socket"] = extension("tls", _TLS, **_tls(folder))
    return typed(
        _LISTENER,
        name=name,
        address={"socket_address": {"address": settings.host, "port_value": port}},
        # Two processes could share the port, and each would lose the other's requests.
        enable_reuse_port=False,
        per_connection_buffer_limit_bytes=_BUFFER_BYTES,
        filter_chains=[chain],
    )


def _probe(folder: Path) -> Resource:
    manager = _http_manager("probe", folder, {})
    return typed(
        _LISTENER,
        name="probe",
        address={"pipe": {"path": PROBE_SOCKET, "mode": 0o600}},
        filter_chains=[{"filters": [manager]}],
    )


def _manager(folder: Path, settings: RouterSettings, own_port: int | None) -> Resource:
    return _http_manager(
        "main",
        folder,
        {
            "use_remote_address": True,
            # Nobody may set Envoy's own headers: one of them says what is repeated.
            "internal_address_config": {
                "cidr_ranges": [{"address_prefix": "255.255.255.255", "prefix_len": 32}]
            },
            "preserve_external_request_id": True,
            "always_set_request_id_in_response": True,
            # A caller's id is handed on as it is.
            "request_id_extension": {"typed_config": typed(_REQUEST_ID, pack_trace_reason=False)},
            "max_request_headers_kb": max(1, settings.max_head_bytes // 1024),
            "request_headers_timeout": seconds(settings.head_timeout_s),
            "stream_idle_timeout": seconds(settings.stream_idle_s),
            "upgrade_configs": [{"upgrade_type": "websocket"}],
            "http_protocol_options": {
                "accept_http_10": True,
                "default_host_for_http_10": "localhost",
            },
            "http2_protocol_options": {
                "max_concurrent_streams": 256,
                "allow_connect": True,  # WebSockets over HTTP/2.
                "initial_stream_window_size": 1 << 18,
                "initial_connection_window_size": 1 << 20,
            },
            # What is routed is what the replica sees: no `..`, no `//`, no hidden slash.
            "normalize_path": True,
            "merge_slashes": True,
            "path_with_escaped_slashes_action": "REJECT_REQUEST",
            "local_reply_config": local_reply_config(),
            "access_log": [_access_log(folder)],
            "early_header_mutation_extensions": [_came_by(own_port)],
        },
    )


def _came_by(port: int | None) -> Resource:
    """Return what tells the routes by which port a request came."""
    if port is None:
        mutation: Resource = {"remove": PORT_HEADER}
    else:
        mutation = {"append": header(PORT_HEADER, str(port))}
    return extension("port", _EARLY, mutations=[mutation])


def _http_manager(name: str, folder: Path, options: Resource) -> Resource:
    return extension(
        "http",
        _MANAGER,
        stat_prefix=name,
        codec_type="AUTO",
        rds={
            "route_config_name": name,
            "config_source": watched(str(folder / f"routes-{name}.json")),
        },
        common_http_protocol_options={
            "idle_timeout": seconds(_CALLER_IDLE_S),
            "max_headers_count": 200,
        },
        server_header_transformation="PASS_THROUGH",
        http_filters=[extension("router", _ROUTER, suppress_envoy_headers=True)],
        **options,
    )


def _access_log(folder: Path) -> Resource:
    return extension(
        "access",
        _FILE_LOG,
        path=str(folder / ACCESS_LOG),
        log_format={"json_format": _ACCESS_LOG_FIELDS, "omit_empty_values": True},
    )


def _tls(folder: Path) -> Resource:
    return {
        "common_tls_context": {
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
            "alpn_protocols": ["h2", "http/1.1"],
            "tls_certificate_sds_secret_configs": [
                {"name": "certificate", "sds_config": watched(str(folder / "secrets.json"))}
            ],
        }
    }
