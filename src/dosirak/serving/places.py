"""Where dependencies are, as the environment says when a service is served.

DOSIRAK_DEPENDS_EMBEDDER=https://embedder:3000      another server serves it
DOSIRAK_DEPENDS_EMBEDDER=                           this one does, whatever the code says
DOSIRAK_DEPENDS_EMBEDDER_TOKEN=…                    the token of that server
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from dosirak.errors import InvalidConfiguration
from dosirak.spec.dependencies import is_address, placed, services_below
from dosirak.spec.service_spec import ServiceSpec

if TYPE_CHECKING:
    from dosirak.serving.remote_calls import RemoteCalls

_PREFIX = "DOSIRAK_DEPENDS_"


def placed_by(spec: ServiceSpec, environment: Mapping[str, str]) -> ServiceSpec:
    """Return a service with its dependencies where the environment says.

    Raises:
        InvalidConfiguration: an address there cannot be used (the caller's fault).
    """
    urls: dict[str, str] = {}
    for service in services_below(spec):
        url = environment.get(variable_of(service.name))
        if url is None:
            continue
        if url:
            _check(url, variable_of(service.name))
        urls[service.name] = url
    return placed(spec, urls) if urls else spec


def variable_of(service: str) -> str:
    """Return the name of the variable that says where a service is."""
    return _PREFIX + re.sub(r"[^A-Za-z0-9]", "_", service).upper()


def token_for(service: str, environment: Mapping[str, str]) -> str | None:
    """Return the token of the server at which a service is."""
    return environment.get(f"{variable_of(service)}_TOKEN") or None


def calls_of(
    service: ServiceSpec,
    url: str,
    environment: Mapping[str, str],
    *,
    timeout_s: float,
    loop: asyncio.AbstractEventLoop,
) -> RemoteCalls:
    """Return what has calls of a service answered at an address, on this loop."""
    # Only a worker that calls other servers pays for an HTTP client.
    from dosirak.client.address import Address
    from dosirak.serving.remote_calls import RemoteCalls

    address = Address.parse(url, token_for(service.name, environment))
    return RemoteCalls(service, address, timeout_s=timeout_s, loop=loop)


def _check(url: str, variable: str) -> None:
    if not is_address(url):
        # Not repeated: it may hold a credential.
        raise InvalidConfiguration(
            f"{variable} is not the address of a server.",
            remedy="Write it as http://embedder:3000, or leave it empty to run the service here.",
        )
