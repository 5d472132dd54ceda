"""HTTP services as targets, on real sockets."""

from __future__ import annotations

import pytest
from support.http_server import Quiet, listening
from support.punctual_driver import make_punctual_drivers

import waterfill as wf
from waterfill._util.loopback import is_loopback
from waterfill.loadtest.capacity import make_driver
from waterfill.loadtest.http_target import NotAllowedError, Url
from waterfill.loadtest.steps import ANSWERED, FAILED, REFUSED, ClosedLoop

pytest.importorskip("aiohttp")


class Handler(Quiet):
    """Answers with the status in the path, and records the requests."""

    def served(self):
        self.server.received.append((self.command, self.path, self.read_body(), dict(self.headers)))
        status = int(self.path.strip("/").split("?")[0] or 200)
        self.answer(status, **({"Location": "/200"} if status == 302 else {}))


@pytest.fixture
def server():
    with listening(Handler) as server:
        yield server


def trace_of(url, requests=5):
    driver = make_driver(url)
    try:
        return driver.run(ClosedLoop(1, 5, requests, 30))
    finally:
        driver.close()


@pytest.mark.parametrize(
    ("path", "outcome", "error"),
    [
        ("200", ANSWERED, None),
        ("503", REFUSED, None),
        ("404", FAILED, "StatusError: status 404"),
        ("500", FAILED, "StatusError: status 500"),
        ("302", FAILED, "StatusError: status 302"),
    ],
)
def test_outcome_of_each_status(server, path, outcome, error):
    trace = trace_of(Url(f"http://127.0.0.1:{server.server_port}/{path}"), 3)
    assert trace.outcome.tolist() == [outcome] * 3
    assert trace.error == error
    assert [request[:2] for request in server.received] == [("GET", f"/{path}")] * 3


def test_a_body_is_posted_as_json(server):
    url = Url(
        f"http://localhost:{server.server_port}/200", body=b'{"k": 1}', headers={"X-Key": "secret"}
    )
    assert (trace_of(url, 2).outcome == ANSWERED).all()
    command, _, body, headers = server.received[0]
    assert (command, body) == ("POST", b'{"k": 1}')
    assert headers["Content-Type"] == "application/json"
    assert headers["X-Key"] == "secret"


def test_no_connection_is_an_error(server):
    port = server.server_port
    server.shutdown()
    server.server_close()
    assert (trace_of(Url(f"http://127.0.0.1:{port}/")).outcome == FAILED).all()


@pytest.mark.parametrize("host", ["192.0.2.1", "[2001:db8::1]", "0.0.0.0", "[::ffff:192.0.2.1]"])
def test_other_hosts_need_confirmation(host):
    with pytest.raises(NotAllowedError, match="not this machine"):
        trace_of(Url(f"http://{host}:9/"))
    trace = trace_of(Url(f"http://{host}:9/", own_host=True, timeout=0.05), 1)
    assert (trace.outcome == FAILED).all()


def test_address_is_checked_not_the_name(server, monkeypatch):
    import socket

    real = socket.getaddrinfo

    def resolve(host, *args, **options):
        return real("192.0.2.7" if host == "localhost" else host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with pytest.raises(NotAllowedError, match=r"'localhost' is 192\.0\.2\.7"):
        trace_of(Url(f"http://localhost:{server.server_port}/"))
    assert server.received == []


def test_loopback_addresses():
    assert is_loopback("::1")
    assert is_loopback("::ffff:127.0.0.1")
    assert not is_loopback("::ffff:192.0.2.1")


@pytest.mark.parametrize(
    ("error", "message", "arguments"),
    [
        (TypeError, "url must be a str, got 3", {"url": 3}),
        (ValueError, "url='file:///etc' must be an http:", {"url": "file:///etc"}),
        (ValueError, "url='http://' must be an http:", {"url": "http://"}),
        (TypeError, "body must be bytes, got str", {"body": "{}"}),
        (ValueError, "timeout=0 must be above 0", {"timeout": 0}),
    ],
)
def test_invalid_requests_raise(error, message, arguments):
    with pytest.raises(error, match=message):
        Url(**({"url": "http://localhost/"} | arguments))


def test_capacity_test_of_an_http_service(server, monkeypatch):
    make_punctual_drivers(monkeypatch, "waterfill.loadtest.capacity")
    report = wf.capacity_test(
        Url(f"http://127.0.0.1:{server.server_port}/200"),
        rates=[20],
        max_rate=20,
        step_seconds=0.3,
        slo=wf.loadtest.Slo(20.0, errors=0.1),
        max_seconds=6,
        max_in_flight=4,
    )
    assert report.rate == 20
    assert "max_in_flight=4 is still within the SLO" in report.notes
    assert not report.complete  # six seconds are too few to prove a rate
    assert len(server.received) == report.requests
