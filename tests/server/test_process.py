"""The process: it starts, drains under load while indexes are swapped, saves, and exits."""

from __future__ import annotations

import asyncio
import functools
import http.client
import json
import signal
import socket
import threading

import httpx
import numpy as np
import pytest
import uvicorn
from support.asgi_server import Raw
from support.concurrency import PATIENCE, until
from support.server_process import exit_code, serving

import waterfill as wf
from waterfill.server import create_app
from waterfill.server.connections import Connections
from waterfill.server.process import listen
from waterfill.server.shutdown import DrainingServer

get, post = (functools.partial(call, timeout=PATIENCE) for call in (httpx.get, httpx.post))
CLIENTS = 10
FLOATS = {"Content-Type": "application/octet-stream; dtype=float32"}
JSON = {"Content-Type": "application/json"}
_FLOATS = FLOATS["Content-Type"]


class Balancer:
    """Clients with connections that stay, who go elsewhere when /readyz or an answer says so."""

    def __init__(self, port, body):
        self.port, self.body = port, body
        self.away = threading.Event()  # no new connections
        self.errors, self.answers, self.generations = [], 0, set()
        self._lock = threading.Lock()

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)

    def ask(self, connection, method, path, body=None, headers=FLOATS):
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer, json.loads(answer.read())

    def search(self):
        connection = None
        while connection is not None or not self.away.is_set():
            connection = connection or self.connect()
            answer, found = self.ask(connection, "POST", "/search?k=5", self.body)
            assert answer.status == 200, found
            with self._lock:
                self.answers += 1
                self.generations.add(found["generation"])
            if answer.getheader("connection") == "close" or self.away.is_set():
                connection.close()
                connection = None

    def watch(self):
        while not self.away.wait(0.05):
            connection = self.connect()
            if self.ask(connection, "GET", "/readyz")[0].status == 503:
                self.away.set()
            connection.close()

    def swap(self):
        number = 0
        while not self.away.wait(0.05):
            connection = self.connect()
            body = json.dumps({"file": ("two.wf", "one.wf")[number % 2]})
            answer, found = self.ask(connection, "POST", "/swap", body, JSON)
            assert answer.status == 200, found
            connection.close()
            number += 1

    def has_seen_enough(self):
        return self.answers > CLIENTS and len(self.generations) > 3

    def run(self, *calls):
        def kept(call):
            try:
                call()
            except BaseException as error:
                self.errors.append(error)
                self.away.set()

        threads = [threading.Thread(target=kept, args=(call,)) for call in calls]
        for thread in threads:
            thread.start()
        return threads


def test_draining_under_load_fails_no_request(files, rows):
    # Long enough for a busy machine to see that the service drains, and to connect no more.
    options = ("--drain-seconds", "5", "--limit", "64", "--swap-folder", files)
    with serving(files / "one.wf", *options) as process:
        balancer = Balancer(process.port, rows[:1].tobytes())
        searches = [balancer.search] * CLIENTS
        threads = balancer.run(*searches, balancer.watch, balancer.swap)
        until(lambda: balancer.errors or balancer.has_seen_enough())
        process.child.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join(PATIENCE)
        assert process.end() == 0
    assert not balancer.errors
    assert balancer.has_seen_enough()
    assert "closing the listener" in process.said
    assert "changes to the index are lost" in process.said  # what was swapped in


def test_options_requests_in_progress_and_saving(files, rows, tmp_path):
    path, body = tmp_path / "kept.wf", rows[:1].tobytes()
    path.write_bytes((files / "one.wf").read_bytes())
    report = wf.loadtest.CapacityReport(
        rate=100.0, limit=7, floor=4, ceiling=9, unloaded=1.0, throughput=200.0,
        slo=wf.loadtest.Slo(), steps=(),
    )  # fmt: skip
    report.save(tmp_path / "report.json")
    np.save(tmp_path / "asked.npy", rows[:50])
    limit = ("--report", tmp_path / "report.json", "--adaptive")
    gate = ("--canary", tmp_path / "asked.npy", "--overlap", "0.99", "--swap-folder", files)
    with serving(path, "--drain-seconds", "0", "--save", *limit, *gate) as process:
        assert "7 concurrent requests" in process.said
        refused = post(f"{process.url}/swap", json={"file": "two.wf"})
        assert refused.status_code == 409
        assert "overlap" in refused.json()["reasons"][0]
        assert post(f"{process.url}/swap", json={"file": "one.wf"}).status_code == 200
        added = post(f"{process.url}/add", json={"vectors": rows[:1].tolist()})
        assert added.status_code == 200
        connection = http.client.HTTPConnection("127.0.0.1", process.port, timeout=PATIENCE)
        connection.putrequest("POST", "/search")
        waits = {"Content-Length": str(len(body)), "Expect": "100-continue"}
        for name, value in (FLOATS | waits).items():
            connection.putheader(name, value)
        connection.endheaders()
        assert b" 100 " in connection.sock.recv(1000)  # the body is awaited, without a permit
        in_flight = 'waterfill_in_flight{limiter="service"} 0.0'
        assert in_flight in get(f"{process.url}/metrics").text
        connection.send(body[:10])
        process.child.send_signal(signal.SIGINT)
        process.wait_for("closing the listener")
        connection.send(body[10:])
        answer = connection.getresponse()
        assert answer.status == 200
        assert answer.getheader("connection") == "close"
        connection.close()
        assert process.end() == 0
    assert "saved 1,001 vectors" in process.said
    assert wf.read_index(path).ntotal == 1001
    assert sorted(each.name for each in tmp_path.iterdir()) == [
        "asked.npy",
        "kept.wf",
        "report.json",
    ]


def test_a_second_signal_ends_at_once(files):
    with serving(files / "one.wf", "--drain-seconds", "60") as process:
        process.child.send_signal(signal.SIGTERM)
        until(lambda: get(f"{process.url}/readyz").status_code == 503)
        process.child.send_signal(signal.SIGTERM)
        assert process.end() == 128 + signal.SIGTERM


def test_a_damaged_file(files, tmp_path, capsys):
    data = bytearray((files / "one.wf").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "damaged.wf").write_bytes(data)
    assert exit_code(tmp_path / "damaged.wf") == 1
    error = capsys.readouterr().err
    assert "the index cannot be read" in error
    assert "Traceback" not in error


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_answers_are_sent_at_once(host: str) -> None:
    """Accepted sockets have TCP_NODELAY: a small answer does not wait for an acknowledgement."""
    try:
        listener = listen(host, 0)
    except OSError:
        pytest.skip(f"{host} is not an address of this machine")

    async def option() -> int:
        found: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            accepted = writer.get_extra_info("socket")
            found.set_result(accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        async with await asyncio.start_server(accept, sock=listener):
            _, writer = await asyncio.open_connection(*listener.getsockname()[:2])
            try:
                return await found
            finally:
                writer.close()

    assert asyncio.run(option()) != 0


def test_a_kept_alive_connection_sends_at_once(files, rows):
    """The server's own sockets, of a connection with several requests."""
    app = create_app(wf.read_index(files / "one.wf"))
    connections = Connections(app.state.service.settings)
    listener = listen("127.0.0.1", 0)
    config = uvicorn.Config(
        app, http=connections.protocol(), ws="none", lifespan="on", log_config=None
    )
    server = DrainingServer(config, app.state.service, 0, connections)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])))
    thread.start()
    try:
        until(lambda: server.started)
        with Raw(listener.getsockname()[1]) as raw:
            for _ in range(3):
                raw.send("POST", "/search?k=3", rows[:1].tobytes(), **{"Content-Type": _FLOATS})
                status, headers, _ = raw.answer()
                assert (status, headers.get("connection")) == (200, None)
            (opened,) = connections  # one, for all three
            accepted = opened.transport.get_extra_info("socket")
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
        until(lambda: len(connections) == 0)
    finally:
        server.should_exit = True
        thread.join(PATIENCE)
        listener.close()
