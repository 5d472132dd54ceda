"""The process of ``waterfill serve``: its listener, uvicorn's configuration and the log."""

from __future__ import annotations

import logging
import socket
from typing import Any

import uvicorn
from fastapi import FastAPI

from waterfill._util.loopback import is_loopback
from waterfill.server.connections import KEEP_ALIVE, Connections
from waterfill.server.service import Service
from waterfill.server.shutdown import DrainingServer

_BACKLOG = 2048


def run(app: FastAPI, listener: socket.socket, drain: float, shutdown: float) -> None:
    """Serve an application of `create_app` until a signal ends it.

    Parameters
    ----------
    app : FastAPI
    listener : socket
        A bound socket.
    drain : float
        Seconds between the signal and the closing of the listener.
    shutdown : float
        Seconds that requests in progress may then take.

    Raises
    ------
    Exception
        The error of reading the index, if that failed.
    """
    service: Service = app.state.service
    connections = Connections(service.settings)
    config = uvicorn.Config(
        app,
        http=connections.protocol(),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=max(1, round(shutdown)),
        backlog=_BACKLOG,
    )
    log_to_stderr()
    DrainingServer(config, service, drain, connections).run(sockets=[listener])
    if service.failure is not None:
        raise service.failure


def listen(host: str, port: int) -> socket.socket:
    """Return a bound socket; raise OSError if the address cannot be used."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    # asyncio sets TCP_NODELAY only on sockets that name the protocol. Without it an answer on a
    # kept-alive connection waits 40 ms for the client's acknowledgement.
    return socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, fileno=made.detach())


def is_local(host: str) -> bool:
    """Return whether a host is a loopback address, reached from this machine only."""
    try:
        return host == "localhost" or is_loopback(host)
    except ValueError:
        return False


def address(listener: socket.socket) -> str:
    """Return the URL of a listener."""
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


class _LogFormatter(logging.Formatter):
    """One line for each record; unexpected errors with their traceback."""

    def format(self, record: logging.LogRecord) -> str:
        return f"waterfill: {super().format(record)}"


def log_to_stderr() -> None:
    """Log the service to stderr."""
    handler: Any = logging.StreamHandler()
    handler.setFormatter(_LogFormatter())
    for name, level in (("waterfill.server", logging.INFO), ("uvicorn.error", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level)
