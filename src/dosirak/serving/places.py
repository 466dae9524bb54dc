"""Where dependencies are, as the environment says when a service is served.

DOSIRAK_DEPENDS_EMBEDDER=https://embedder:3000      another server serves it
DOSIRAK_DEPENDS_EMBEDDER=                           this one does, whatever the code says
DOSIRAK_DEPENDS_EMBEDDER_TOKEN=…                    the token of that server
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from dosirak.errors import InvalidConfiguration
from dosirak.spec.dependencies import is_address, placed, services_below
from dosirak.spec.service_spec import DependencyRequirement, ServiceSpec

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


def places_of(spec: ServiceSpec) -> dict[str, str]:
    """Return where each service below one runs, in words and without a credential."""
    found: dict[str, str] = {}

    def visit(service: ServiceSpec, above: str) -> None:
        for needed in service.dependencies:
            name = needed.service.name
            if name not in found:
                found[name] = above or _place(needed)
                visit(needed.service, found[name] if needed.url or above else "")

    visit(spec, "")
    return found


def unknown_variables(services: Iterable[str], environment: Mapping[str, str]) -> list[str]:
    """Return the variables that say where a service is which is none of these."""
    known = {variable_of(service) for service in services}
    known |= {f"{name}_TOKEN" for name in known}
    return sorted(name for name in environment if name.startswith(_PREFIX) and name not in known)


def _place(needed: DependencyRequirement) -> str:
    if needed.url:
        parts = urlsplit(needed.url)
        return f"at {parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    if needed.workers:
        workers = "1 worker" if needed.workers == 1 else f"{needed.workers} workers"
        return f"in {workers} of its own"
    return "in the worker of its caller"


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
