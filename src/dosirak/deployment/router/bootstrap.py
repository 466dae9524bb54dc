"""What Envoy is started with: where the watched files are, what it counts, what it bears."""

from __future__ import annotations

from pathlib import Path

from dosirak.deployment.router.file_names import ADMIN_SOCKET
from dosirak.deployment.router.resources import Resource, extension, watched
from dosirak.deployment.router.settings import RouterSettings

_CONNECTIONS = (
    "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig"
)
# The rest of Envoy's counters would cost each cluster more memory than all else of it.
_COUNTED = (
    {"suffix": ".version_text"},
    {"suffix": ".update_rejected"},
    {"suffix": ".update_failure"},
    {"safe_regex": {"regex": r"cluster\..*\.upstream_rq_(total|5xx|time|active|completed)"}},
    {"safe_regex": {"regex": r"cluster\..*\.upstream_rq_(retry|retry_success|pending_overflow)"}},
    # Envoy asks replicas after their health at the usual pace only once this has counted.
    {"suffix": ".upstream_cx_total"},
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
