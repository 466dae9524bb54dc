"""Several fronts on one port: whichever accepts a connection, nobody can tell."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest
import trustme

SOURCE = Path(__file__).parent / "transported.py"
ADMIN_TOKEN = "the-admin-token"
AUTHORITY = trustme.CA()

pytestmark = pytest.mark.skipif(not hasattr(socket, "SO_REUSEPORT"), reason="needs Linux")


def acceptors(server) -> list[psutil.Process]:
    children = psutil.Process(server.process.pid).children()
    return [child for child in children if _is_acceptor(child)]


def _is_acceptor(process: psutil.Process) -> bool:
    try:
        return "dosirak.serving.acceptor" in process.cmdline()
    except psutil.Error:
        return False  # It ended meanwhile.


class Connection:
    """One raw connection, and which process has it."""

    def __init__(self, server) -> None:
        self.socket = socket.create_connection(("127.0.0.1", server.port), timeout=30)
        self.port = self.socket.getsockname()[1]
        self.host = f"127.0.0.1:{server.port}"
        self._rest = b""

    def is_held_by(self, process: psutil.Process) -> bool:
        held = process.net_connections(kind="tcp")
        return any(each.raddr and each.raddr.port == self.port for each in held)

    def send(self, path: str, body: object, method: str = "POST", **headers: str) -> None:
        data = json.dumps(body).encode() if body is not None else b""
        lines = [f"{method} {path} HTTP/1.1", f"host: {self.host}"]
        lines += ["content-type: application/json", f"content-length: {len(data)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.socket.sendall("\r\n".join([*lines, "", ""]).encode() + data)

    def receive(self) -> tuple[int, dict[str, str], bytes]:
        data = self._rest
        while b"\r\n\r\n" not in data:
            data += self._more()
        head, _, body = data.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        size = int(headers.get("content-length", "0"))
        while len(body) < size:
            body += self._more()
        self._rest = body[size:]
        return int(first.split()[1]), headers, body[:size]

    def call(self, path: str, body: object, **headers: str) -> tuple[int, object]:
        self.send(path, body, **headers)
        status, _, answer = self.receive()
        return status, json.loads(answer)

    def _more(self) -> bytes:
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionResetError
        return data

    def close(self) -> None:
        self.socket.close()


def connect_to(server, process: psutil.Process) -> Connection:
    """Connect until the kernel chooses this process."""
    for _ in range(400):
        connection = Connection(server)
        assert connection.call("/echo", {"value": 1}) == (200, 1)
        if connection.is_held_by(process):
            return connection
        connection.close()
    raise AssertionError("the kernel never chose it")


@pytest.fixture(scope="module")
def served(launch_shared, tmp_path_factory):
    """One server for all tests without TLS; the last one stops it."""
    service = tmp_path_factory.mktemp("service") / "service.py"
    service.write_text(SOURCE.read_text())
    server = launch_shared(
        "Transported", served=f"{service}:Transported", fronts=3, admin_token=ADMIN_TOKEN
    )
    server.service = service
    return server


@pytest.fixture
def each(served):
    """A connection at every process that accepts."""
    processes = [psutil.Process(served.process.pid), *acceptors(served)]
    assert len(processes) == 3
    connections = [connect_to(served, process) for process in processes]
    yield connections
    for connection in connections:
        connection.close()


def test_no_front_is_upgraded_and_the_body_is_kept(each):
    # As `curl --http2` sends it.
    wish = {"connection": "Upgrade, HTTP2-Settings", "upgrade": "h2c", "http2_settings": "AA"}
    for connection in each:
        for value in (7, 8):
            assert connection.call("/echo", {"value": value}, **wish) == (200, value)


def test_every_front_gives_the_same_answers(served, each):
    calls = [
        ("/echo", {"value": 7}, {}),
        ("/echo", {"value": -7}, {}),
        ("/echo", {"value": "x"}, {}),
        ("/double", {"values": [1, 2]}, {}),
        ("/whose", {}, {"x_request_id": "mine"}),
        ("/late", {}, {}),
        ("/late", {}, {"x_request_timeout": "0.05"}),
        ("/nothing", {}, {}),
    ]
    for path, body, headers in calls:
        answers = []
        for connection in each:
            connection.send(path, body, **headers)
            status, said, answer = connection.receive()
            said = {name: said[name] for name in said if name not in ("date", "x-request-id")}
            answer = re.sub(rb'"request_id":"[^"]*"', b"", answer)
            answers.append((status, said, answer))
        assert answers[0] == answers[1] == answers[2], path
    # The last of them went to the owner with their connection, and are served there.
    owner = psutil.Process(served.process.pid)
    assert all(connection.is_held_by(owner) for connection in each)


def test_metrics_and_probes_are_those_of_the_whole_server(each):
    def echoes(connection: Connection) -> float:
        connection.send("/metrics", None, method="GET")
        text = connection.receive()[2].decode()
        ended = re.findall(
            r'dosirak_request_duration_seconds_count{[^}]*api="echo"[^}]*} (\S+)', text
        )
        assert ended, text[:2000]
        return sum(map(float, ended))

    for connection in each:
        assert connection.call("/echo", {"value": 3}) == (200, 3)
    counts = [echoes(connection) for connection in each]
    assert counts[0] == counts[1] == counts[2] >= 3
    for connection in each:
        connection.send("/readyz", None, method="GET")
        assert connection.receive()[0] == 200


def test_large_bodies_and_pipelined_requests_pass_through(each):
    for connection in each:
        values = list(range(150_000))
        status, doubled = connection.call("/double", {"values": values})
        assert (status, doubled[-1]) == (200, 2 * values[-1])
        for number in range(5):
            connection.send("/echo", {"value": number})
        assert [json.loads(connection.receive()[2]) for _ in range(5)] == list(range(5))


def test_calls_of_all_fronts_meet_in_one_queue_and_none_is_swapped(served):
    def call_many(first: int) -> list[object]:
        connection = Connection(served)
        try:
            return [
                connection.call("/double", {"values": [first + number]}) for number in range(40)
            ]
        finally:
            connection.close()

    with ThreadPoolExecutor(12) as pool:
        starts = range(0, 12_000, 1000)
        for first, answers in zip(starts, pool.map(call_many, starts), strict=True):
            assert answers == [(200, [2 * (first + number)]) for number in range(40)]


def test_a_call_whose_client_leaves_before_it_began_never_begins(served, each, until, tmp_path):
    gate = tmp_path / "gate"
    with ThreadPoolExecutor(8) as pool:
        holding = [
            pool.submit(served.call, "held", gate=str(gate) if n == 0 else f"{gate}{n}")
            for n in range(4)
        ]
        until(lambda: len(list(tmp_path.glob("*.begun"))) == 4)
        for number, connection in enumerate(each):
            connection.send("/held", {"gate": str(tmp_path / f"queued{number}")})
        # An answer to a later call of the same front: what came before it has arrived.
        time.sleep(0.1)
        for connection in each:
            connection.close()
        until(lambda: served.client.get("/metrics").text.count('status="499"') >= 1)
        for n in range(4):
            (gate if n == 0 else Path(f"{gate}{n}")).touch()
        assert all(one.result().status_code == 200 for one in holding)
    assert served.call("echo", value=5).json() == 5
    assert list(tmp_path.glob("queued*.begun")) == []


def test_a_worker_that_ends_loses_no_call_of_any_front(each, tmp_path):
    status, pid = each[1].call("/crash", {"marker": str(tmp_path / "crashed")})
    assert (status, type(pid)) == (200, int)
    assert all(connection.call("/echo", {"value": 1}) == (200, 1) for connection in each)


def test_an_acceptor_that_ends_takes_its_own_connections_and_comes_again(served, each, until):
    owner, *others = each
    ended, stays = acceptors(served)
    at_ended = next(one for one in others if one.is_held_by(ended))
    at_stays = next(one for one in others if one.is_held_by(stays))
    ended.kill()
    with pytest.raises(OSError):
        for _ in range(100):
            at_ended.call("/echo", {"value": 1})
    assert owner.call("/echo", {"value": 2}) == (200, 2)
    assert at_stays.call("/echo", {"value": 3}) == (200, 3)
    until(lambda: len(acceptors(served)) == 2 and ended not in acceptors(served))
    (fresh,) = (process for process in acceptors(served) if process != stays)
    connect_to(served, fresh).close()


def test_a_reload_reaches_every_front(served, each):
    text = served.service.read_text().replace("def echo(", "def renamed(")
    served.service.write_text(text)
    answer = httpx.post(
        f"{served.url}/admin/reload",
        headers={"authorization": f"Bearer {ADMIN_TOKEN}"},
        json={},
        timeout=60,
    )
    assert answer.json()["outcome"] == "swapped"
    for connection in each:
        assert connection.call("/renamed", {"value": 4}) == (200, 4)
        assert connection.call("/echo", {"value": 4})[0] == 404


def test_the_end_loses_no_request(served, until):
    lost: list[str] = []
    answered: list[int] = []
    began = threading.Event()
    lock = threading.Lock()

    def call_on(*, keep: bool) -> int:
        count = 0
        client = httpx.Client(base_url=served.url, timeout=30)
        while True:
            try:
                assert client.post("/double", json={"values": [count]}).json() == [2 * count]
                if not keep:
                    client.close()
                    client = httpx.Client(base_url=served.url, timeout=30)
            except httpx.ConnectError:
                client.close()
                return count
            except httpx.HTTPError as error:
                with lock:
                    lost.append(repr(error))
                client.close()
                return count
            count += 1
            with lock:
                answered.append(count)
            if len(answered) > 8:
                began.set()

    with ThreadPoolExecutor(8) as pool:
        calling = [pool.submit(call_on, keep=number % 2 == 0) for number in range(8)]
        assert began.wait(30)
        processes = acceptors(served)
        served.process.send_signal(signal.SIGTERM)
        counts = [one.result(60) for one in calling]
    assert lost == []
    assert sum(counts) > 8
    assert served.process.wait(30) == 0
    assert not any(process.is_running() for process in processes)


@pytest.fixture(scope="module")
def behind_tls(launch_shared, tmp_path_factory):
    """One server with TLS and HTTP/2; the last test ends it."""
    directory = tmp_path_factory.mktemp("tls")
    issued = AUTHORITY.issue_cert("127.0.0.1")
    chain, key = directory / "chain.pem", directory / "key.pem"
    issued.private_key_pem.write_to_path(key)
    for blob in issued.cert_chain_pems:
        blob.write_to_path(chain, append=True)
    return launch_shared(
        "Transported",
        served=f"{SOURCE}:Transported",
        fronts=2,
        http2=True,
        tls_certificate=str(chain),
        tls_key=str(key),
    )


@pytest.mark.parametrize("http2", [False, True])
def test_tls_and_what_is_chosen_in_it_hold_at_every_front(behind_tls, http2):
    trusting = ssl.create_default_context()
    AUTHORITY.configure_trust(trusting)
    (acceptor,) = acceptors(behind_tls)
    data = os.urandom(700_000)
    held_there = 0
    for number in range(60):
        with httpx.Client(
            base_url=behind_tls.url, verify=trusting, http2=http2, timeout=30
        ) as client:
            answer = client.post("/echo", json={"value": number})
            assert (answer.http_version, answer.json()) == (
                "HTTP/2" if http2 else "HTTP/1.1",
                number,
            )
            before = held_there
            stream = answer.extensions["network_stream"]
            port = stream.get_extra_info("client_addr")[1]
            held_there += any(
                each.raddr and each.raddr.port == port
                for each in acceptor.net_connections(kind="tcp")
            )
            if held_there > before or not number:
                headers = {"content-type": "application/octet-stream"}
                echoed = client.post("/reversed", content=data, headers=headers)
                assert echoed.content == data[::-1]
                assert b"9" in client.post("/count", json={"upto": 10}).content
                assert client.get("/readyz").status_code == 200
        if held_there >= 2:
            break
    assert held_there


def test_acceptors_end_with_the_owner(behind_tls, until):
    processes = acceptors(behind_tls)
    assert processes
    behind_tls.process.kill()
    behind_tls.process.wait(20)
    until(lambda: not any(_is_alive(process) for process in processes))


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
