"""Limits on connections: their number, the time of a header, and the time of a response.

uvicorn bounds only the time between a response and the next byte. A client that sends nothing, a
byte of a header now and then, or reads no response keeps its connection for good, and the size of a
header has no bound with httptools.
"""

from __future__ import annotations

import asyncio
import math
import socket
import struct
import time
from collections.abc import Callable, Iterator
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

from waterfill.server.settings import ServerSettings
from waterfill.serving.asgi import App, Receive, Scope, Send

KEEP_ALIVE = 75
"""Seconds that a connection may be idle, longer than load balancers keep one: they close first."""

_MIN_WAIT = 1.0  # seconds that a connection waits before another may take its place
_MAX_HEADER = 1 << 20  # bytes; what is left of a body that nobody read counts, too
_ERROR = b'{"error": "too many connections"}'
_REFUSAL = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\n"
    b"cache-control: no-store\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(_ERROR)
) + _ERROR


class Connections:
    """The open connections of a service.

    At most `max_connections` are open. A new one takes the place of the one that has waited longest
    for a request, for a second or more; if all are busy, it is refused with 503.

    Parameters
    ----------
    settings : ServerSettings
        Its `max_connections`, `header_seconds` and `response_seconds`.
    clock : callable
        Returns seconds.
    """

    def __init__(
        self, settings: ServerSettings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.settings, self.clock = settings, clock
        self._open: set[LimitedConnection] = set()

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[LimitedConnection]:
        return iter(tuple(self._open))

    def admit(self, connection: LimitedConnection) -> bool:
        """Add a connection, unless there are too many; return whether it was added."""
        if len(self._open) >= self.settings.max_connections and not self._evict():
            return False
        self._open.add(connection)
        return True

    def discard(self, connection: LimitedConnection) -> None:
        """Remove a connection that has been closed."""
        self._open.discard(connection)

    def close_overdue(self) -> None:
        """Close the connections whose clients took too long; called now and then."""
        now = self.clock()
        for connection in [each for each in self._open if each.due <= now]:
            self._abort(connection)

    def _evict(self) -> bool:
        longest = min(self._open, key=lambda each: each.waiting_since)
        if self.clock() - longest.waiting_since < _MIN_WAIT:
            return False
        self._abort(longest)
        return True

    def _abort(self, connection: LimitedConnection) -> None:
        self._open.discard(connection)
        connection.abort()

    def protocol(self) -> type[asyncio.Protocol]:
        """Return uvicorn's protocol class for HTTP with these limits."""
        bases = (LimitedConnection, AutoHTTPProtocol)
        return type("LimitedHTTPProtocol", bases, {"connections_open": self})


class LimitedConnection(asyncio.Protocol):
    """Mixin for a protocol class of uvicorn, which sets `app` when it is made.

    Attributes
    ----------
    waiting_since : float
        When the connection began to wait for a request; infinite while it has one.
    transport : asyncio.Transport
    """

    connections_open: Connections
    app: App
    transport: asyncio.Transport

    _refused = False
    _header_bytes = 0
    _idle = False  # no byte since the last response
    _header_due = _response_due = math.inf
    waiting_since = math.inf

    @property
    def due(self) -> float:
        """When the connection is closed unless its client goes on."""
        return min(self._header_due, self._response_due)

    def connection_made(self, transport: Any) -> None:
        """Start the time of the first header."""
        if not self.connections_open.admit(self):
            self._refused = True
            transport.write(_REFUSAL)
            transport.close()
            return
        self.transport = transport
        super().connection_made(transport)
        self._serve: App = self.app
        self.app = self._answer
        self.waiting_since = self.connections_open.clock()
        self._header_due = self.waiting_since + self.connections_open.settings.header_seconds

    def data_received(self, data: bytes) -> None:
        """Start the time of a header at its first byte; bound its size."""
        if self._refused:
            return
        if self.waiting_since < math.inf:  # not while a request is answered
            if self._header_bytes > _MAX_HEADER:
                self.abort()
                return
            self._header_bytes += len(data)
        if self._idle:
            self._idle = False
            due = self.connections_open.clock() + self.connections_open.settings.header_seconds
            self._header_due = min(self._header_due, due)
        super().data_received(data)

    def eof_received(self) -> bool | None:
        """Close a connection whose client sends no more."""
        return None if self._refused else super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        if not self._refused:
            self.connections_open.discard(self)
            super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Start the time in which the client must take a large response."""
        if not self._refused:
            settings = self.connections_open.settings
            self._response_due = self.connections_open.clock() + settings.response_seconds
            super().pause_writing()

    def resume_writing(self) -> None:
        """End that time."""
        self._response_due = math.inf
        if not self._refused:
            super().resume_writing()

    def abort(self) -> None:
        """Close the connection at once, and drop what its client has not read."""
        opened = self.transport.get_extra_info("socket")
        # Otherwise the system keeps megabytes of the response until the client has read them.
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request: its header is complete, and the application bounds what follows."""
        self._header_due = self.waiting_since = math.inf
        try:
            await self._serve(scope, receive, send)
        finally:
            self.waiting_since = self.connections_open.clock()
            # What is left of a body counts as a header, and so does a header that came early.
            header_seconds = self.connections_open.settings.header_seconds
            self._header_due = self.waiting_since + KEEP_ALIVE + header_seconds
            self._idle, self._header_bytes = True, 0
