"""The way to a control plane: the one that the environment names, else this machine's own.

DOSIRAK_PLATFORM_URL → there │ control.json of a running one → there │ none runs → started
"""

from __future__ import annotations

import os

from dosirak.deployment.control.process import ensure_control_plane
from dosirak.deployment.paths import PlatformPaths
from dosirak.deployment.platform_client import PlatformClient
from dosirak.settings import Settings

URL_VARIABLE = "DOSIRAK_PLATFORM_URL"
TOKEN_VARIABLE = "DOSIRAK_PLATFORM_TOKEN"  # noqa: S105 - a variable's name


def connect(url: str | None = None, *, token: str | None = None) -> PlatformClient:
    """Return a client of the control plane; start this machine's own if none runs.

    Args:
        url: its address; `DOSIRAK_PLATFORM_URL`, else this machine's own when None.
        token: sent as a bearer token; `DOSIRAK_PLATFORM_TOKEN` when None.

    Raises:
        InvalidConfiguration: the address or the token cannot be used (the caller's fault).
        Unavailable: it could not be started.
    """
    wanted = url or os.environ.get(URL_VARIABLE)
    at = wanted or ensure_control_plane(PlatformPaths(Settings.from_environment().home)).url
    return PlatformClient(at, token=token or os.environ.get(TOKEN_VARIABLE) or None)
