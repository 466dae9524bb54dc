"""Seal: a service, its models and its environment as one immutable bundle."""

from dosirak.bundles.build import build, save
from dosirak.bundles.loaded import EnvironmentWarning, LoadedService, load
from dosirak.bundles.report import BuildEvent, Report
from dosirak.bundles.saved import SHELF, Bundle

get = SHELF.get
list = SHELF.list  # noqa: A001 - read as `bundles.list`
delete = SHELF.delete
export = SHELF.export
import_ = SHELF.import_

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
