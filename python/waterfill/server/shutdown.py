"""Graceful shutdown: SIGTERM and SIGINT start draining, then the listener closes."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from types import FrameType

import uvicorn

from waterfill.server.connections import Connections
from waterfill.server.service import LOG, Service
from waterfill.serving.asgi import App, Message, Receive, Scope, Send

_CLOSE = (b"connection", b"close")
_TICKS = 3  # of a tenth of a second, between the checks of the connections


class DrainingServer(uvicorn.Server):
    """A server that drains before it exits.

    After the first SIGTERM or SIGINT all requests are still answered, but ``/readyz`` returns 503
    and each response closes its connection. After `drain` seconds the listener closes, and
    requests in progress are completed. A second signal exits at once. Meanwhile it closes the
    connections whose clients take too long.
    """

    def __init__(
        self, config: uvicorn.Config, service: Service, drain: float, connections: Connections
    ) -> None:
        super().__init__(config)
        self._service, self._drain, self._connections = service, drain, connections
        self._deadline = float("inf")  # when the listener closes

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Start draining; on the second signal, exit."""
        if self._service.draining:
            print("waterfill: second signal, exiting at once", file=sys.stderr, flush=True)
            os._exit(128 + sig)
        self._service.draining = True
        self._deadline = time.monotonic() + self._drain

    async def on_tick(self, counter: int) -> bool:
        """Stop the server when draining is over, or when the index could not be read."""
        if self._service.draining and time.monotonic() >= self._deadline:
            self._deadline = float("inf")
            LOG.info("closing the listener and completing requests in progress")
            self.should_exit = True
        if self._service.failure is not None:
            self.should_exit = True
        if counter % _TICKS == 0:
            self._connections.close_overdue()
        return await super().on_tick(counter)


class DrainingMiddleware:
    """ASGI middleware: while the service drains, each response closes its connection.

    Parameters
    ----------
    app : callable
    draining : callable
        Returns whether the service drains.
    """

    def __init__(self, app: App, draining: Callable[[], bool]) -> None:
        self._app, self._draining = app, draining

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_closing(message: Message) -> None:
            if message["type"] == "http.response.start" and self._draining():
                headers = [item for item in message.get("headers", []) if item[0] != b"connection"]
                message = {**message, "headers": [*headers, _CLOSE]}
            await send(message)

        await self._app(scope, receive, send_closing)
