"""Clients that hold connections: each kind is slow in its own way, and connects again if closed."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator

import numpy as np
from support.concurrency import PATIENCE

_HEAD = b"POST /search%s HTTP/1.1\r\nHost: localhost\r\n%s\r\n\r\n"
_JSON = b"Content-Type: application/json\r\n"
_FLOATS = b"Content-Type: application/octet-stream; dtype=float32\r\n"

Reader, Writer = asyncio.StreamReader, asyncio.StreamWriter


class SlowClients:
    """Slow clients, of all kinds in turn, in a thread of their own.

    Attributes
    ----------
    opened, closed : Counter
        Connections by kind, and those that the server closed.
    """

    def __init__(self, port: int, pause: float, d: int, large: tuple[int, int]) -> None:
        self.port, self.pause, self.d, self.large = port, pause, d, large
        self.opened: Counter[str] = Counter()
        self.closed: Counter[str] = Counter()

    async def say_nothing(self, reader: Reader, writer: Writer) -> None:
        await reader.read(1)

    async def trickle_header(self, reader: Reader, writer: Writer) -> None:
        await self._trickle(writer, _HEAD % (b"", b"X-Long: " + b"a" * 100_000))

    async def trickle_body(self, reader: Reader, writer: Writer) -> None:
        writer.write(_HEAD % (b"", _JSON + b"Content-Length: 100000"))
        await self._trickle(writer, b"[" * 100_000)

    async def trickle_chunks(self, reader: Reader, writer: Writer) -> None:
        writer.write(_HEAD % (b"", _JSON + b"Transfer-Encoding: chunked"))
        for _ in range(100_000):
            writer.write(b"1\r\n \r\n")
            await writer.drain()
            await asyncio.sleep(self.pause)

    async def never_finish(self, reader: Reader, writer: Writer) -> None:
        writer.write(_HEAD % (b"", _JSON + b"Content-Length: 100") + b"{")
        await reader.read(1)

    async def trickle_unread_body(self, reader: Reader, writer: Writer) -> None:
        """Send the body of a request that is answered without it."""
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n")
        await self._trickle(writer, b"[" * 100_000)

    async def read_slowly(self, reader: Reader, writer: Writer) -> None:
        n, k = self.large
        body = np.random.default_rng(0).standard_normal((n, self.d)).astype("<f4").tobytes()
        writer.write(_HEAD % (b"?k=%d" % k, _FLOATS + b"Content-Length: %d" % len(body)) + body)
        while await reader.read(100):
            await asyncio.sleep(self.pause)

    async def _trickle(self, writer: Writer, data: bytes) -> None:
        for at in range(len(data)):
            writer.write(data[at : at + 1])
            await writer.drain()
            await asyncio.sleep(self.pause)

    @property
    def kinds(self) -> list[Callable[[Reader, Writer], Awaitable[None]]]:
        return [
            self.say_nothing, self.trickle_header, self.trickle_body, self.trickle_chunks,
            self.never_finish, self.trickle_unread_body, self.read_slowly,
        ]  # fmt: skip

    async def _hold(self, kind: Callable[[Reader, Writer], Awaitable[None]]) -> None:
        name = kind.__name__
        while True:
            connection = socket.socket()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.setblocking(False)
            writer = None
            try:
                loop = asyncio.get_running_loop()
                await loop.sock_connect(connection, ("127.0.0.1", self.port))
                reader, writer = await asyncio.open_connection(sock=connection, limit=1024)
                self.opened[name] += 1
                await kind(reader, writer)
            except OSError:
                pass
            finally:
                if writer is not None:
                    writer.transport.abort()
                connection.close()
            self.closed[name] += 1
            await asyncio.sleep(self.pause)

    @contextlib.contextmanager
    def holding(self, n: int) -> Iterator[None]:
        """Hold n connections until the end of the block."""
        stop = threading.Event()

        async def hold_all() -> None:
            kinds = self.kinds
            tasks = [asyncio.create_task(self._hold(kinds[i % len(kinds)])) for i in range(n)]
            await asyncio.get_running_loop().run_in_executor(None, stop.wait)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        thread = threading.Thread(target=lambda: asyncio.run(hold_all()))
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(PATIENCE)
            assert not thread.is_alive()
