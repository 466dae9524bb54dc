"""Seal: a service, its models and its environment as one immutable bundle."""

from dosirak.bundles.build import build, save
from dosirak.bundles.loaded import EnvironmentWarning, LoadedService, load
from dosirak.bundles.report import BuildEvent, Report
from dosirak.bundles.saved import Bundle
from dosirak.bundles.saved import delete_bundle as delete
from dosirak.bundles.saved import export_bundle as export
from dosirak.bundles.saved import get_bundle as get
from dosirak.bundles.saved import import_bundle as import_
from dosirak.bundles.saved import list_bundles as list  # noqa: A004 - read as `bundles.list`

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
