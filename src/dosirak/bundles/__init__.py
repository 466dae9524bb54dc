"""Seal: a service, its models and its environment as one immutable bundle.

A lazy door like the root's (ADR 0005): whoever serves a bundle must not pay for what seals one.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dosirak.bundles.building import build as build
    from dosirak.bundles.building import save as save
    from dosirak.bundles.loaded import EnvironmentWarning as EnvironmentWarning
    from dosirak.bundles.loaded import LoadedService as LoadedService
    from dosirak.bundles.loaded import load as load
    from dosirak.bundles.report import BuildEvent as BuildEvent
    from dosirak.bundles.report import Report as Report
    from dosirak.bundles.saved import SHELF as SHELF
    from dosirak.bundles.saved import Bundle as Bundle

    get = SHELF.get
    list = SHELF.list  # noqa: A001 - read as `bundles.list`
    delete = SHELF.delete
    export = SHELF.export
    import_ = SHELF.import_

_HOMES = {
    "BuildEvent": "report",
    "Bundle": "saved",
    "EnvironmentWarning": "loaded",
    "LoadedService": "loaded",
    "Report": "report",
    "SHELF": "saved",
    "build": "building",
    "load": "loaded",
    "save": "building",
}
_ON_THE_SHELF = ("delete", "export", "get", "import_", "list")

__all__ = [
    "BuildEvent",
    "Bundle",
    "EnvironmentWarning",
    "LoadedService",
    "Report",
    "build",
    "delete",
    "export",
    "get",
    "import_",
    "list",
    "load",
    "save",
]


def __getattr__(name: str) -> Any:
    if name in _ON_THE_SHELF:
        found = getattr(import_module("dosirak.bundles.saved").SHELF, name)
    elif name in _HOMES:
        found = getattr(import_module(f"dosirak.bundles.{_HOMES[name]}"), name)
    else:
        message = f"module 'dosirak.bundles' has no attribute {name!r}"
        raise AttributeError(message, name=name, obj=sys.modules[__name__])
    globals()[name] = found
    return found


def __dir__() -> Iterable[str]:  # `list` means something else here
    return sorted(__all__)
