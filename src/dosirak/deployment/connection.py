"""The way to a control plane: the one that the environment names, else this machine's own.

DOSIRAK_PLATFORM_URL → there │ control.json of a running one → there │ none runs → started by who
changes something, told to who only looks
"""

from __future__ import annotations

import os

from dosirak.deployment.control.process import (
    ControlRecord,
    ensure_control_plane,
    running_control_plane,
)
from dosirak.deployment.paths import PlatformPaths
from dosirak.deployment.platform_client import PlatformClient
from dosirak.settings import Settings

URL_VARIABLE = "DOSIRAK_PLATFORM_URL"
TOKEN_VARIABLE = "DOSIRAK_PLATFORM_TOKEN"  # noqa: S105 - a variable's name


def connect(
    url: str | None = None, *, token: str | None = None, start: bool = True
) -> PlatformClient:
    """Return a client of the control plane; start this machine's own if none runs.

    Args:
        url: its address; `DOSIRAK_PLATFORM_URL`, else this machine's own when None.
        token: sent as a bearer token; `DOSIRAK_PLATFORM_TOKEN` when None.
        start: whether to start this machine's own; who only looks does not.

    Raises:
        InvalidConfiguration: the address or the token cannot be used (the caller's fault).
        Unavailable: it could not be started, or does not run and is not to be.
    """
    wanted = url or os.environ.get(URL_VARIABLE)
    at = wanted or _here(start=start).url
    return PlatformClient(at, token=token or os.environ.get(TOKEN_VARIABLE) or None)


def _here(*, start: bool) -> ControlRecord:
    paths = PlatformPaths(Settings.from_environment().home)
    return ensure_control_plane(paths) if start else running_control_plane(paths)
