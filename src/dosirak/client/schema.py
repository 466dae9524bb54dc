"""What a service says of itself: `/schema.json`, read once into values that a client works from.

Everything in it comes from a server and is checked here: a route stays on the server it came from,
and a schema that cannot be understood is an error that says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from dosirak.client.answer import Answer, unlike_dosirak
from dosirak.errors import RemoteError
from dosirak.payload.callers import ClientCodec
from dosirak.payload.codec import compile_client_codec
from dosirak.payload.signature import Signature
from dosirak.spec.service_spec import SCHEMA_VERSION


@dataclass(frozen=True, slots=True)
class RemoteApi:
    """One api of a remote service; the attributes are those of `ApiSpec`."""

    name: str
    route: str
    kind: str
    streams: bool
    idempotent: bool
    method: str
    doc: str
    signature: Signature
    codec: ClientCodec


@dataclass(frozen=True, slots=True)
class RemoteService:
    """A service as it describes itself."""

    name: str
    doc: str
    apis: Mapping[str, RemoteApi]


class _ApiEntry(msgspec.Struct):
    name: str
    route: str
    kind: str = "api"
    streams: bool = False
    idempotent: bool = False
    methods: list[str] = msgspec.field(default_factory=lambda: ["POST"])
    doc: str = ""
    request_media_types: list[str] = msgspec.field(default_factory=list)


class _Schema(msgspec.Struct):
    schema_version: int
    name: str
    apis: list[dict[str, Any]]
    doc: str = ""


def read_schema(answer: Answer, *, url: str) -> RemoteService:
    """Read the body of `/schema.json`.

    Raises:
        RemoteError: it is not the schema of a dosirak service (the address is wrong), or one that
            this version cannot read.
    """
    try:
        schema = msgspec.json.decode(answer.body, type=_Schema)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise unlike_dosirak(url, status=answer.status) from error
    if schema.schema_version > SCHEMA_VERSION:
        raise RemoteError(
            f"The service at {url} describes itself in version {schema.schema_version} of the"
            f" schema; this client reads up to {SCHEMA_VERSION}.",
            remedy="Install a newer dosirak.",
            status=answer.status,
        )
    apis = (_read_api(entry, url=url) for entry in schema.apis)
    return RemoteService(schema.name, schema.doc, {api.name: api for api in apis})


def _read_api(description: dict[str, Any], *, url: str) -> RemoteApi:
    try:
        entry = msgspec.convert(description, _ApiEntry)
        signature = Signature.from_description(description)
        codec = compile_client_codec(signature, entry.request_media_types)
    # Types are rebuilt from a stranger's words; what those can make Python raise has no bounds.
    except Exception as error:
        name = description.get("name")
        raise RemoteError(
            f"The description of api {name!r} at {url} cannot be understood.",
            remedy="Install the version of dosirak that the service runs with.",
        ) from error
    if not entry.route.startswith("/"):
        raise unlike_dosirak(url)
    return RemoteApi(
        name=entry.name,
        route=entry.route,
        kind=entry.kind,
        streams=entry.streams,
        idempotent=entry.idempotent,
        method="POST" if "POST" in entry.methods or not entry.methods else entry.methods[0],
        doc=entry.doc,
        signature=signature,
        codec=codec,
    )
