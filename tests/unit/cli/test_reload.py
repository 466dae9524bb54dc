"""`dosirak reload`, against a server that answers what it is told to."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

SWAPPED = {
    "outcome": "swapped",
    "revision": "b" * 12,
    "previous": "a" * 12,
    "target": "iris:2",
    "models": {},
    "changes": ["iris:1 → iris:2"],
    "took_s": 1.25,
    "error": "",
}


class Server:
    def __init__(self) -> None:
        self.answer = (200, SWAPPED)
        self.asked: list[tuple[str, str, object]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                server.asked.append((self.path, self.headers["authorization"], body))
                status, told = server.answer
                data = json.dumps(told).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._http.server_port
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    opened = Server()
    monkeypatch.setenv("DOSIRAK_ADMIN_TOKEN", "of-the-house")
    monkeypatch.setenv("DOSIRAK_PORT", str(opened.port))
    yield opened
    opened.close()


def test_a_reload_says_what_changed(server, dosirak):
    done = dosirak("reload")
    assert done.code == 0
    assert "iris:1 → iris:2" in done.out
    assert "Reloaded in 1.2 s: aaaaaaaaaaaa → bbbbbbbbbbbb" in done.err
    assert server.asked == [("/admin/reload", "Bearer of-the-house", {})]


def test_a_script_reads_all_of_it(server, dosirak):
    url = f"http://127.0.0.1:{server.port}"
    done = dosirak("reload", url, "--target", "iris:2", "-o", "json")
    assert done.data == SWAPPED
    assert server.asked[0][2] == {"target": "iris:2"}


def test_nothing_new_is_no_failure(server, dosirak):
    server.answer = (200, {**SWAPPED, "outcome": "unchanged"})
    done = dosirak("reload")
    assert (done.code, done.out) == (0, "")
    assert "Nothing has changed" in done.err


def test_a_refusal_is_a_conflict_and_says_why(server, dosirak):
    server.answer = (409, {"error": "It was refused.", "code": "reload_refused", "remedy": "Fix."})
    done = dosirak("reload")
    assert done.code == 4
    assert "It was refused." in done.err


@pytest.mark.parametrize("answer", [(200, ["no object"]), (404, {})])
def test_another_server_is_an_error_and_no_traceback(server, dosirak, answer):
    server.answer = answer
    done = dosirak("reload")
    assert done.code == 10
    assert "Traceback" not in done.err


def test_without_a_token_or_a_server_it_says_what_is_missing(dosirak, monkeypatch):
    monkeypatch.delenv("DOSIRAK_ADMIN_TOKEN", raising=False)
    assert "--admin-token-file" in dosirak("reload").err
    monkeypatch.setenv("DOSIRAK_ADMIN_TOKEN", "of-the-house")
    done = dosirak("reload", "http://127.0.0.1:1")
    assert done.code == 9
    assert "Check the address" in done.err
