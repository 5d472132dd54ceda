"""ASGI applications behind uvicorn in a thread, on a free port, and raw connections to them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
import threading
from collections.abc import Iterator

import uvicorn
from support.concurrency import PATIENCE, until


@contextlib.contextmanager
def serve(app, http="h11", lifespan="off", **options) -> Iterator[int]:
    """Serve an application; yield its port."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    config = uvicorn.Config(
        app, http=http, ws="none", lifespan=lifespan, log_config=None, loop="asyncio", **options
    )
    server = uvicorn.Server(config)

    def run():
        asyncio.run(server.serve(sockets=[listener]))

    thread = threading.Thread(target=run)
    thread.start()
    try:
        until(lambda: server.started or not thread.is_alive())
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(PATIENCE)
        listener.close()
        assert not thread.is_alive()


class Raw:
    """A connection on which a test writes the bytes itself."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self.file = self.socket.makefile("rb")

    def send(self, method, path, body=b"", **headers):
        """Send a request, with the given part of its body."""
        own = {name.replace("_", "-"): value for name, value in headers.items()}
        named = {"Host": "localhost", "Content-Length": len(body)} | own
        lines = [f"{name}: {value}" for name, value in named.items()]
        head = "\r\n".join([f"{method} {path} HTTP/1.1", *lines, "", ""])
        self.socket.sendall(head.encode() + body)

    def answer(self):
        """Read a response: status, headers, body. None if the connection is closed."""
        first = self.file.readline()
        if not first:
            return None
        headers = {}
        while (line := self.file.readline().decode().strip()) != "":
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        body = self.file.read(int(headers.get("content-length", 0)))
        return int(first.split()[1]), headers, body

    def reset(self):
        """Close with RST, as a client that is killed does."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self):
        self.file.close()
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()


def assert_refused(status, headers, body, reason="capacity"):
    """Check status, headers and body of a refusal."""
    assert status == 503
    assert headers["content-type"] == "application/json"
    assert headers["cache-control"] == "no-store"
    document = json.loads(body)
    assert set(document) == {"error", "reason", "retry_after"}
    assert document["reason"] == reason
    if document["retry_after"] is None:
        assert "retry-after" not in headers
    else:
        assert document["error"].endswith("at capacity, please try again in a moment")
        assert headers["retry-after"] == str(document["retry_after"])
        assert document["retry_after"] >= 1
