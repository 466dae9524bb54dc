"""A service beside whose api web applications are mounted."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from pathlib import Path

from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocketDisconnect

import dosirak

SEEN: list[str] = []


def mark(path):
    Path(path).write_text("stopped")


@contextlib.asynccontextmanager
async def lifespan(_app):
    SEEN.append("started")
    yield {"number": 7}
    if "GOODBYE" in os.environ:
        mark(os.environ["GOODBYE"])


async def about(request):
    scope = request.scope
    return JSONResponse(
        {
            "path": scope["path"],
            "root_path": scope["root_path"],
            "url": str(request.url_for("about", name=request.path_params["name"])),
            "client": scope["client"][0],
            "custom": request.headers.get("x-custom"),
            "query": request.url.query,
            "number": request.state.number,
            "pid": os.getpid(),
            "seen": SEEN,
        },
        headers={"x-own": "yes", "x-frame-options": "SAMEORIGIN"},
    )


async def size(request):
    total = 0
    async for piece in request.stream():
        total += len(piece)
    return PlainTextResponse(str(total))


async def stream(request):
    async def pieces():
        try:
            for index in range(int(request.query_params["count"])):
                yield b"x" * 100_000
                SEEN.append(f"piece {index}")
        finally:
            SEEN.append("stream ended")

    return StreamingResponse(pieces())


async def hang(request):
    mark(request.query_params["marker"])
    await asyncio.sleep(float(request.query_params.get("seconds", 60)))
    return PlainTextResponse("done")


async def broken(request):
    raise RuntimeError("broken on purpose")


async def echo(socket):
    await socket.accept(subprotocol="chat" if "chat" in socket.scope["subprotocols"] else None)
    try:
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message["code"])
            if message.get("text") == "fail":
                raise RuntimeError("failed on purpose")
            if message.get("text") is not None:
                await socket.send_text(message["text"])
            else:
                await socket.send_bytes(message["bytes"])
    except WebSocketDisconnect as error:
        SEEN.append(f"closed {error.code}")


async def refuse(socket):
    await socket.close()


app = Starlette(
    routes=[
        Route("/about/{name}", about, name="about"),
        Route("/size", size, methods=["POST"]),
        Route("/stream", stream),
        Route("/hang", hang),
        Route("/broken", broken),
        WebSocketRoute("/echo", echo),
        WebSocketRoute("/refuse", refuse),
    ],
    lifespan=lifespan,
)


def plain(environ, start_response):
    body = environ["wsgi.input"].read()
    if environ["PATH_INFO"] == "/header":
        start_response("200 OK", [("a", "b\r\nc: d")])
        return [b"x"]
    start_response("200 OK", [("content-type", "text/plain")])
    if environ["PATH_INFO"] == "/endless":

        def pieces():
            try:
                while True:
                    yield b"y" * 50_000
                    time.sleep(0.001)
            finally:
                SEEN.append("wsgi ended")

        return pieces()
    return [f"{environ['SCRIPT_NAME']} {environ['PATH_INFO']} {len(body)}".encode()]


async def wrong(scope, receive, send):
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "bytes": 5})
    match scope["path"].removeprefix("/wrong/"):
        case "kind":
            await send({"type": "http.response.foo"})
        case "header":
            headers = [(b"a", b"b\r\nc: d")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
        case "headers":
            headers = [(b"x-%d" % number, b"y" * 1000) for number in range(20_000)]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
        case "text":
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body", "body": "text"})
        case "return":
            return
        case "exit":
            sys.exit(3)


@dosirak.mount("/ui", app)
@dosirak.mount("/plain", plain)
@dosirak.mount("/wrong", wrong)
@dosirak.service
class Mounted:
    def __init__(self) -> None:
        self.greeting = "hello"

    @dosirak.mount("/own")
    def own(self):
        async def greet(scope, receive, send):
            if scope["type"] == "http":
                await PlainTextResponse(self.greeting)(scope, receive, send)

        return greet

    @dosirak.api
    def echo(self, value: int) -> int:
        return value
