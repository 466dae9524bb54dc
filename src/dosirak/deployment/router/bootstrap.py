"""What Envoy is started with: where the watched files are, what it counts, what it bears."""

from __future__ import annotations

from pathlib import Path

from dosirak.deployment.router.resources import Resource, extension, typed, watched
from dosirak.deployment.router.settings import RouterSettings

ADMIN_SOCKET = "admin.sock"
_CONNECTIONS = (
    "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig"
)
_SECRET = "envoy.extensions.transport_sockets.tls.v3.Secret"  # noqa: S105 - a type's name
# The rest of Envoy's counters would cost each cluster more memory than all else of it.
_COUNTED = (
    {"suffix": ".version_text"},
    {"suffix": ".update_rejected"},
    {"suffix": ".update_failure"},
    {"safe_regex": {"regex": r"cluster\..*\.upstream_rq_(total|5xx|time|active|completed)"}},
    {"safe_regex": {"regex": r"cluster\..*\.upstream_rq_(retry|retry_success|pending_overflow)"}},
    {"exact": "cluster_manager.warming_clusters"},
    {"exact": "listener_manager.total_listeners_warming"},
    {"prefix": "http.main.downstream_"},
    {"prefix": "server."},
)


def bootstrap(folder: Path, settings: RouterSettings) -> Resource:
    """Return Envoy's first configuration."""
    return {
        # An id that is a number would be refused if it were not text.
        "node": {"id": "dosirak-router", "cluster": "dosirak"},
        "admin": {"address": {"pipe": {"path": ADMIN_SOCKET, "mode": 0o600}}},
        "dynamic_resources": {
            "cds_config": watched(str(folder / "clusters.json")),
            "lds_config": watched(str(folder / "listeners.json")),
        },
        "stats_config": {"stats_matcher": {"inclusion_list": {"patterns": list(_COUNTED)}}},
        "overload_manager": {
            "resource_monitors": [
                extension(
                    "envoy.resource_monitors.global_downstream_max_connections",
                    _CONNECTIONS,
                    max_active_downstream_connections=settings.max_connections,
                )
            ]
        },
    }


def certificate_secret(certificate: Path, key: Path) -> Resource:
    """Return the certificate of all listeners; the files are read again when they are renamed."""
    return typed(
        _SECRET,
        name="certificate",
        tls_certificate={
            "certificate_chain": {"filename": str(certificate)},
            "private_key": {"filename": str(key)},
            "watched_directory": {"path": str(certificate.parent)},
        },
    )
