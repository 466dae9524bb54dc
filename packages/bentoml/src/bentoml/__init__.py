"""The classic BentoML 0.13 names, each implemented in `dosirak.compat.bentoml_classic`.

Of BentoML 1 there are `deployment` and the clients (`dosirak.compat.bentoml_cloud`), found on first
use.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from dosirak.compat.bentoml_classic import (
    BentoService,
    __version__,
    api,
    artifacts,
    env,
    load,
    load_from_dir,
    save,
    save_to_dir,
    ver,
    web_static_content,
)

if TYPE_CHECKING:
    from bentoml import deployment as deployment
    from dosirak.compat.bentoml_cloud.clients import AsyncHTTPClient as AsyncHTTPClient
    from dosirak.compat.bentoml_cloud.clients import SyncHTTPClient as SyncHTTPClient

_CLIENTS = ("AsyncHTTPClient", "SyncHTTPClient")

__all__ = [
    "AsyncHTTPClient",
    "BentoService",
    "SyncHTTPClient",
    "__version__",
    "api",
    "artifacts",
    "deployment",
    "env",
    "load",
    "load_from_dir",
    "save",
    "save_to_dir",
    "ver",
    "web_static_content",
]


def __getattr__(name: str) -> Any:
    if name == "deployment":
        return import_module("bentoml.deployment")
    if name not in _CLIENTS:
        message = f"module 'bentoml' has no attribute {name!r}"
        raise AttributeError(message, name=name, obj=sys.modules[__name__])
    return getattr(import_module("dosirak.compat.bentoml_cloud.clients"), name)
