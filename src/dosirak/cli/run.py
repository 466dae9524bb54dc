"""`dosirak run`: one call of one api, from files to files, without a server.

It goes the way of a request: the same codecs, the same dataplane, the same errors. Only the bytes
come from the shell instead of a socket.
"""

from __future__ import annotations

import asyncio
import json
import mimetypes
import os
import sys
from collections.abc import Coroutine, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import click

from dosirak.bundles.targets import open_target
from dosirak.cli import render, user_code
from dosirak.cli.references import complete_api, completes
from dosirak.errors import (
    ApiNotFound,
    DosirakError,
    FieldProblem,
    InvalidInput,
    NotAcceptable,
    ServiceError,
    UsageError,
    error_class,
)
from dosirak.payload.wire import Body, WireRequest, WireResponse, WireStream
from dosirak.serving.composition import compose
from dosirak.serving.dataplane import Dataplane
from dosirak.serving.places import placed_by
from dosirak.spec.context import Context
from dosirak.spec.service_spec import ApiSpec, ServiceSpec

# What a file's name says of its content; everything else is asked of `mimetypes`.
_MEDIA_TYPES = {
    ".json": "application/json",
    ".ndjson": "application/x-ndjson",
    ".jsonl": "application/x-ndjson",
    ".msgpack": "application/msgpack",
    ".npy": "application/x-npy",
    ".csv": "text/csv",
    ".parquet": "application/vnd.apache.parquet",
    ".arrow": "application/vnd.apache.arrow.stream",
    ".arrows": "application/vnd.apache.arrow.stream",
    ".txt": "text/plain",
}
_TEXT = ("text/", "application/json", "application/x-ndjson")


@click.command("run")
@click.argument("target", shell_complete=completes("bundles", "models", files=True))
@click.argument("api", required=False, shell_complete=complete_api)
@click.option("--input", "json_text", metavar="JSON", help="The body, as JSON text.")
@click.option(
    "--input-file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False, allow_dash=True),
    help="The body, from a file (json, csv, npy, parquet, arrow, msgpack, …) or - for stdin.",
)
@click.option("--content-type", help="What the input is, where the file's name does not say it.")
@click.option(
    "--output-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where to write the answer; its name chooses the media type.",
)
@click.option("--accept", metavar="MEDIA-TYPE", help="The media type of the answer.")
def command(
    target: str,
    api: str | None,
    json_text: str | None,
    input_file: Path | None,
    content_type: str | None,
    output_file: Path | None,
    accept: str | None,
) -> None:
    """Call one api of a service here, without a server.

    API may be left out when the TARGET has only one.

    \b
    dosirak run greeter greet --input '{"name": "Ada"}'
    dosirak run service.py predict --input-file flowers.csv --output-file answer.npy
    """
    with open_target(target) as opened:
        chosen = choose_api(opened.spec, api)
        request = WireRequest(
            body=_body(json_text, input_file),
            content_type=content_type or _content_type(json_text, input_file),
            accept=accept or _accepted(output_file, chosen),
        )
        dataplane = compose(placed_by(opened.spec, os.environ), opened.models)
        try:
            _run(_call(dataplane, chosen, request, output_file))
        except NotAcceptable as error:
            if accept is not None or output_file is None:
                raise
            raise _unwritable(output_file, chosen) from error
        except InvalidInput as error:
            if content_type is not None or str(input_file) != "-" or _is_json(request.body):
                raise
            raise UsageError(
                "The input from stdin is not JSON.",
                remedy="Say what it is, for instance: --content-type text/csv.",
            ) from error


def _run(call: Coroutine[Any, Any, None]) -> None:
    with user_code.heard() as found:
        try:
            asyncio.run(call)
        except ServiceError as error:
            told = user_code.explained(error, found)
            raise told from told.__cause__


def choose_api(spec: ServiceSpec, name: str | None) -> ApiSpec:
    """Return the api of this name, or the only one.

    Raises:
        ApiNotFound: there is none of this name.
        UsageError: no name was given and there are several.
    """
    known = ", ".join(api.name for api in spec.apis)
    if name is None:
        if len(spec.apis) == 1:
            return spec.apis[0]
        raise UsageError(f"{spec.name!r} has several apis.", remedy=f"Name one of: {known}.")
    found = spec.api(name)
    if found is None:
        raise ApiNotFound(f"{spec.name!r} has no api {name!r}.", remedy=f"Name one of: {known}.")
    return found


def media_type_of(path: Path) -> str:
    """Return what a file's name says of its content."""
    known = _MEDIA_TYPES.get(path.suffix.lower())
    return known or mimetypes.guess_type(path.name)[0] or "application/octet-stream"


def error_in(response: WireResponse) -> DosirakError:
    """Return the error that an answer carries, of the class that its code names."""
    try:
        body = cast("dict[str, Any]", json.loads(bytes(response.body)))
        message, code = str(body["error"]), str(body.get("code", ""))
    except (ValueError, KeyError, TypeError):
        # A foreign front end's own way of saying it.
        text = bytes(response.body).decode("utf-8", "replace").strip()
        return ServiceError(text or f"The api answered with status {response.status}.")
    problems = [
        FieldProblem(str(item.get("field", "")), str(item.get("reason", "")))
        for item in body.get("fields") or ()
    ]
    kind = error_class(code) or ServiceError
    return kind(message, remedy=str(body.get("remedy") or ""), fields=problems)


async def _call(
    dataplane: Dataplane, api: ApiSpec, request: WireRequest, output_file: Path | None
) -> None:
    try:
        await dataplane.start()
        answer = await dataplane.call(api.name, request, Context(request_id="run"))
        if answer.status >= 400:
            raise error_in(cast(WireResponse, answer))
        with _destination(output_file, answer.content_type) as file:
            await _write(answer, file)
    finally:
        await dataplane.stop()


def _unwritable(path: Path, api: ApiSpec) -> UsageError:
    offers = [str(name) for name in api.codec.describe().get("response_media_types") or ()]
    suffixes = [suffix for name in offers for suffix in _suffixes_of(name)]
    return UsageError(
        f"The answer of {api.name!r} cannot be written into a file called {path.name!r}.",
        remedy=f"End the file's name in one of: {', '.join(dict.fromkeys(suffixes))}.",
    )


def _is_json(body: Body) -> bool:
    try:
        json.loads(bytes(body))
    except (ValueError, RecursionError):
        return False
    return True


def _suffixes_of(media_type: str) -> list[str]:
    known = [suffix for suffix, name in _MEDIA_TYPES.items() if name == media_type]
    guessed = mimetypes.guess_extension(media_type)
    return known or ([guessed] if guessed else [])


async def _write(answer: WireResponse | WireStream, file: BinaryIO) -> None:
    if isinstance(answer, WireStream):
        async for chunk in answer.chunks:
            if answer.outcome.error is None:  # its own piece is for those who have no exit code
                file.write(chunk)
                file.flush()
        if answer.outcome.error is not None:
            raise answer.outcome.error
        return
    file.write(answer.body)
    if file is sys.stdout.buffer and answer.content_type.startswith(_TEXT):
        file.write(b"\n")


@contextmanager
def _destination(path: Path | None, content_type: str) -> Generator[BinaryIO, None, None]:
    if path is None:
        if sys.stdout.isatty() and not content_type.startswith((*_TEXT, "text/event-stream")):
            raise UsageError(
                f"The answer is {content_type}, which a terminal cannot show.",
                remedy="Give --output-file, or redirect the output.",
            )
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    # Beside its place and then renamed: half an answer never bears the name of a whole one.
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            yield file
        partial.replace(path)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}.") from error
    finally:
        partial.unlink(missing_ok=True)
    render.note(f"Wrote {path} ({content_type}).")


def _body(json_text: str | None, input_file: Path | None) -> bytes:
    if json_text is not None and input_file is not None:
        raise UsageError("There are two inputs.", remedy="Give --input or --input-file.")
    if json_text is not None:
        return json_text.encode()
    if input_file is None:
        return b""
    return sys.stdin.buffer.read() if str(input_file) == "-" else input_file.read_bytes()


def _content_type(json_text: str | None, input_file: Path | None) -> str:
    if json_text is not None or str(input_file) == "-":
        return "application/json"
    return "" if input_file is None else media_type_of(input_file)


def _accepted(output_file: Path | None, api: ApiSpec) -> str:
    if output_file is not None:
        return media_type_of(output_file)
    # Server-sent events are for browsers; in a shell, a line for each item.
    return "application/x-ndjson, */*;q=0.1" if api.streams else ""
