"""dosirak: pack a trained model once; serve it, ship it, score tables with it.

The root is a door and nothing else. Its names are found on first use (PEP 562), because the client
and the codecs cost more to import than a command line that prints its help may spend; ADR 0005 says
why, and a test holds the budget.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dosirak import bundles as bundles
    from dosirak import deployment as deployment
    from dosirak import errors as errors
    from dosirak import models as models
    from dosirak.authoring import service as service
    from dosirak.bundles import build as build
    from dosirak.bundles import load as load
    from dosirak.client import AsyncHTTPClient as AsyncHTTPClient
    from dosirak.client import SyncHTTPClient as SyncHTTPClient
    from dosirak.payload.annotations import Columns as Columns
    from dosirak.payload.annotations import DType as DType
    from dosirak.payload.annotations import MediaType as MediaType
    from dosirak.payload.annotations import Shape as Shape
    from dosirak.spec.context import Context as Context
    from dosirak.spec.decorators import api as api
    from dosirak.spec.decorators import model as model
    from dosirak.spec.decorators import on_ready as on_ready
    from dosirak.spec.decorators import on_start as on_start
    from dosirak.spec.decorators import on_stop as on_stop
    from dosirak.spec.decorators import task as task
    from dosirak.spec.dependencies import depends as depends
    from dosirak.spec.joined import joined as joined
    from dosirak.spec.mounts import mount as mount
    from dosirak.spec.service_spec import Resources as Resources
    from dosirak.spec.service_spec import ServiceLevel as ServiceLevel

__version__ = "0.1.0"

# Where each name lives; a name whose home ends in its own name is a module.
_HOMES = {
    "AsyncHTTPClient": "dosirak.client",
    "Columns": "dosirak.payload.annotations",
    "Context": "dosirak.spec.context",
    "DType": "dosirak.payload.annotations",
    "MediaType": "dosirak.payload.annotations",
    "Resources": "dosirak.spec.service_spec",
    "ServiceLevel": "dosirak.spec.service_spec",
    "Shape": "dosirak.payload.annotations",
    "SyncHTTPClient": "dosirak.client",
    "api": "dosirak.spec.decorators",
    "build": "dosirak.bundles",
    "bundles": "dosirak.bundles",
    "depends": "dosirak.spec.dependencies",
    "deployment": "dosirak.deployment",
    "errors": "dosirak.errors",
    "joined": "dosirak.spec.joined",
    "load": "dosirak.bundles",
    "model": "dosirak.spec.decorators",
    "models": "dosirak.models",
    "mount": "dosirak.spec.mounts",
    "on_ready": "dosirak.spec.decorators",
    "on_start": "dosirak.spec.decorators",
    "on_stop": "dosirak.spec.decorators",
    "service": "dosirak.authoring",
    "task": "dosirak.spec.decorators",
}

__all__ = [
    "AsyncHTTPClient",
    "Columns",
    "Context",
    "DType",
    "MediaType",
    "Resources",
    "ServiceLevel",
    "Shape",
    "SyncHTTPClient",
    "__version__",
    "api",
    "build",
    "bundles",
    "depends",
    "deployment",
    "errors",
    "joined",
    "load",
    "model",
    "models",
    "mount",
    "on_ready",
    "on_start",
    "on_stop",
    "service",
    "task",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        # With the name and the module, Python adds "Did you mean …?" from `__dir__`.
        message = f"module 'dosirak' has no attribute {name!r}"
        raise AttributeError(message, name=name, obj=sys.modules[__name__])
    module = import_module(home)
    found = module if home == f"dosirak.{name}" else getattr(module, name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
