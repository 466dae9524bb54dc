"""Names in the router's folder that both sides, Envoy's configuration and this code, must know.

Sockets are named relative to the folder, which Envoy runs in: a socket's path may have no more than
about a hundred bytes.
"""

ACCESS_LOG = "access.log"
ADMIN_SOCKET = "admin.sock"
BOOTSTRAP = "bootstrap.json"
ENVOY_LOG = "envoy.log"
PROBE_SOCKET = "probe.sock"
