"""The process: a listener, signals, and an end that loses no request."""

from __future__ import annotations

import logging
import os
import socket
import sys
import time
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI

from waterfill._util.loopback import is_loopback
from waterfill.server.served_index import LOG, Service

_KEEP_ALIVE = 75  # seconds: longer than balancers keep idle connections, so that they end them
_BACKLOG = 2048


class Server(uvicorn.Server):
    """A server that drains before it ends.

    On the first SIGTERM or SIGINT everything is still answered, but ``/readyz`` says 503 and each
    answer ends its connection, for `drain` seconds; then the listener closes, and what runs is
    waited for. The second signal ends the process at once.
    """

    def __init__(self, config: uvicorn.Config, service: Service, drain: float) -> None:
        super().__init__(config)
        self._service, self._drain = service, drain
        self._until = float("inf")

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to drain; the second time, end."""
        if self._service.draining:
            print("waterfill: a second signal: ended at once", file=sys.stderr, flush=True)
            os._exit(128 + sig)
        self._service.draining = True
        self._until = time.monotonic() + self._drain

    async def on_tick(self, counter: int) -> bool:
        """Say whether it is time to close the listener."""
        if self._service.draining and time.monotonic() >= self._until:
            self._until = float("inf")
            LOG.info("closing the listener; what runs is waited for")
            self.should_exit = True
        if self._service.failure is not None:
            self.should_exit = True
        return await super().on_tick(counter)


def run(app: FastAPI, listener: socket.socket, drain: float, shutdown: float) -> None:
    """Serve an application of ours until a signal comes.

    Parameters
    ----------
    app : FastAPI
        Of `create_app`.
    listener : socket
        Bound.
    drain : float
        Seconds between the signal and the closing of the listener.
    shutdown : float
        Seconds that requests may then take.

    Raises
    ------
    Exception
        What reading the index raised.
    """
    service: Service = app.state.service
    config = uvicorn.Config(
        app,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=max(1, round(shutdown)),
        backlog=_BACKLOG,
    )
    log_to_stderr()
    Server(config, service, drain).run(sockets=[listener])
    if service.failure is not None:
        raise service.failure


def listen(host: str, port: int) -> socket.socket:
    """Return a bound socket; OSError says what is wrong with the address."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=_BACKLOG)


def is_local(host: str) -> bool:
    """Say whether a host is reached from this machine alone."""
    try:
        return host == "localhost" or is_loopback(host)
    except ValueError:
        return False


def address(listener: socket.socket) -> str:
    """Return what a client is told."""
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


class _Lines(logging.Formatter):
    """One line a record, and the traceback of what should not happen."""

    def format(self, record: logging.LogRecord) -> str:
        return f"waterfill: {super().format(record)}"


def log_to_stderr() -> None:
    """Say what happens on stderr, in plain lines."""
    handler: Any = logging.StreamHandler()
    handler.setFormatter(_Lines())
    for name, level in (("waterfill.server", logging.INFO), ("uvicorn.error", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level)
