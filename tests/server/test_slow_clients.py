"""Slow clients beside honest ones: real sockets, and a service with short limits in a process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading

import httpx
import numpy as np
import pytest
from server.conftest import D
from support.asgi_server import Raw
from support.concurrency import PATIENCE, until
from support.server_process import serving
from support.slow_clients import SlowClients

from waterfill.server import ServerSettings
from waterfill.server.connections import KEEP_ALIVE, Connections, LimitedConnection

FLOATS = {"content-type": "application/octet-stream; dtype=float32"}
JSON = {"Content_Type": "application/json"}
LIMITS = (
    *("--header-seconds", "1", "--body-seconds", "1", "--response-seconds", "1"),
    *("--limit", "8", "--max-connections", "60", "--drain-seconds", "0"),
)


@pytest.fixture(scope="module")
def port(files):
    with serving(files / "one.wf", *LIMITS) as process:
        yield process.port


def test_honest_clients_lose_nothing_beside_slow_ones(port, rows):
    """There are fewer permits than slow bodies."""
    failures, answers = [], []

    def search(stop):
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE) as client:
            while not stop.is_set():
                answer = client.post("/search?k=3", content=rows[:1].tobytes(), headers=FLOATS)
                (answers if answer.status_code == 200 else failures).append(answer.text)

    slow, stop = SlowClients(port, 0.02, D, (300, 1000)), threading.Event()
    with slow.holding(28):
        thread = threading.Thread(target=search, args=(stop,))
        thread.start()
        try:
            # Each kind of client was closed, and connected again.
            until(lambda: all(slow.closed[kind.__name__] for kind in slow.kinds))
            until(lambda: len(answers) > 10 or failures)
        finally:
            stop.set()
            thread.join(PATIENCE)
    assert not failures
    assert len(answers) > 10
    assert len(set(answers)) == 1


@pytest.mark.parametrize("sent", [b"", b"P", b"POST /search HTTP/1.1\r\nHost: localhost\r\nX-"])
def test_a_header_that_never_ends_is_closed(port, sent):
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        connection.sendall(sent)
        assert ended(connection)


def ended(connection):
    """Whether the server closes the connection without a byte."""
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def test_a_second_header_on_a_connection_has_the_same_time(port):
    with Raw(port) as raw:
        raw.send("GET", "/healthz")
        assert raw.answer()[0] == 200
        raw.socket.sendall(b"GET /healthz HTTP/1.1\r\nHost:")
        assert ended(raw.socket)


def test_a_header_without_end_is_closed(port):
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n")
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            connection.sendall(b"a: b\r\n" * 10_000_000)


def test_a_body_that_is_not_there_holds_no_permit(port, rows):
    with contextlib.ExitStack() as stack:
        slow = []
        for _ in range(9):
            raw = stack.enter_context(Raw(port))  # its header is due within a second
            slow.append(raw)
            raw.send("POST", "/search", b"{", Content_Length=100, Expect="100-continue", **JSON)
            assert b" 100 " in raw.file.readline()
            assert raw.file.readline() == b"\r\n"
        body = json.dumps({"vector": rows[0].tolist()}).encode()
        honest = stack.enter_context(Raw(port))
        honest.send("POST", "/search", body, **JSON)
        assert honest.answer()[0] == 200
        for raw in slow:
            assert raw.answer()[0] == 408


class Connection(LimitedConnection):
    """A connection without a transport, to `Connections`."""

    def __init__(self, waiting_since=np.inf):
        self.waiting_since, self.aborted = waiting_since, False

    def abort(self):
        self.aborted = True


def test_a_new_connection_takes_the_place_of_the_one_that_waited_longest():
    now = 100.0
    connections = Connections(ServerSettings(max_connections=3), lambda: now)
    busy, idle, fresh = Connection(), Connection(90.0), Connection(99.5)
    assert all(connections.admit(each) for each in (busy, idle, fresh))
    assert connections.admit(Connection(100.0))
    assert [each.aborted for each in (busy, idle, fresh)] == [False, True, False]
    assert len(connections) == 3
    assert not connections.admit(Connection(100.0))  # none has waited for a second
    now = 101.0
    assert connections.admit(Connection(101.0))
    assert fresh.aborted


def test_a_connection_too_many_is_refused(files):
    options = ("--max-connections", "1", "--drain-seconds", "0")
    with serving(files / "one.wf", *options) as process, Raw(process.port) as busy:
        busy.send("POST", "/search", b"{", Content_Length=100, Expect="100-continue", **JSON)
        assert b" 100 " in busy.file.readline()
        with Raw(process.port) as other:
            status, headers, body = other.answer()
            assert (status, headers["connection"], headers["retry-after"]) == (503, "close", "1")
            assert json.loads(body) == {"error": "too many connections"}
            assert other.answer() is None


def test_the_times_of_a_connection():
    now = 0.0
    settings = ServerSettings(header_seconds=10, response_seconds=60)

    class Base(asyncio.Protocol):
        """The part of uvicorn's protocols that is used."""

        app = None

        def connection_made(self, transport):
            self.app = answer

        def data_received(self, data):
            pass

        pause_writing = resume_writing = lambda self: None

    async def answer(scope, receive, send):
        assert protocol.due == np.inf

    class Transport:
        aborted = False

        def get_extra_info(self, name):
            return unused

        def abort(self):
            self.aborted = True

    unused = socket.socket()
    connections = Connections(settings, lambda: now)
    kind = type("Kind", (LimitedConnection, Base), {"connections_open": connections})
    protocol, transport = kind(), Transport()
    protocol.connection_made(transport)
    assert protocol.due == 10
    now = 4.0
    protocol.data_received(b"G")
    assert protocol.due == 10  # bytes do not extend it
    with pytest.raises(StopIteration):
        protocol.app({}, None, None).send(None)
    assert protocol.due == now + KEEP_ALIVE + 10
    now = 9.0
    protocol.data_received(b"G")
    assert protocol.due == 19
    protocol.data_received(b"E")
    assert protocol.due == 19
    protocol.pause_writing()
    now = 18.0
    connections.close_overdue()
    assert not transport.aborted
    protocol.resume_writing()
    now = 19.0
    connections.close_overdue()
    assert transport.aborted
    assert len(connections) == 0
    unused.close()


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("header_seconds", 0, ValueError),
        ("response_seconds", "1", TypeError),
        ("max_connections", 0, ValueError),
        ("max_connections", 1.5, TypeError),
    ],
)
def test_limits_are_validated(name, value, error):
    with pytest.raises(error, match=name):
        ServerSettings(**{name: value})


def test_large_results_are_written_as_small_ones(client, rows, index):
    from waterfill.server.responses import answer, found_answer

    distances, ids = index.search(rows[:30], 40)
    short = ids.copy()
    short[:, 7:] = -1
    whole = {"ids": ids.tolist(), "distances": distances.tolist(), "generation": 1}
    assert found_answer(distances, ids, 1).body == answer(whole).body
    cut = json.loads(found_answer(distances, short, 2).body)
    assert cut["ids"] == ids[:, :7].tolist()
    assert cut["distances"] == distances[:, :7].tolist()
