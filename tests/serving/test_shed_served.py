"""ShedMiddleware behind uvicorn, with clients that disconnect at any moment."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
import threading

import aiohttp
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route
from support.asgi_server import Raw, assert_refused, serve
from support.concurrency import PATIENCE, until

import waterfill as wf

CLIENTS = int(os.environ.get("WATERFILL_SHED_CLIENTS", "1500"))  # of each kind and server
LARGE = 4 << 20

http = pytest.mark.parametrize("http", ["h11", "httptools"])


async def plain(scope, receive, send):
    """Read the request and answer."""
    while (await receive()).get("more_body"):
        pass
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]}
    )
    await send({"type": "http.response.body", "body": b"done"})


@http
@pytest.mark.parametrize("size", [0, 10, LARGE])
@pytest.mark.parametrize("method", ["POST", "HEAD"])
def test_the_connection_lives_on_after_a_refusal_with_an_unread_body(http, size, method):
    limiter = wf.Limiter(1)
    with serve(wf.ShedMiddleware(plain, limiter), http) as port, Raw(port) as client:
        for _ in range(3):
            with limiter.acquire():
                client.send(method, "/search", bytes(size))
                if method == "POST":
                    assert_refused(*client.answer())
                else:
                    assert client.file.readline().startswith(b"HTTP/1.1 503")
                    while client.file.readline().strip():
                        pass
            client.send("POST", "/search", bytes(size))
            assert client.answer()[::2] == (200, b"done")


@http
def test_a_refusal_before_the_body_comes(http):
    """Who waits for 100 Continue gets 503 instead, and may send its body, or not."""
    limiter = wf.Limiter(1)
    with serve(wf.ShedMiddleware(plain, limiter), http) as port:
        with limiter.acquire(), Raw(port) as client:
            client.send("POST", "/", b"", Content_Length=10, Expect="100-continue")
            assert_refused(*client.answer())
        with Raw(port) as client:
            with limiter.acquire():
                client.send("POST", "/", b"abc", Content_Length=10)
                assert_refused(*client.answer())
            client.socket.sendall(b"defghij")
            client.send("POST", "/", b"abc")
            assert client.answer()[::2] == (200, b"done")


class Counting:
    """A slow application that counts the requests inside it."""

    def __init__(self, limit):
        self.limit, self.now, self.most, self.seen = limit, 0, 0, 0
        self.app = Starlette(
            routes=[
                Route("/work", self.work, methods=["POST"]),
                Route("/stream", self.stream),
                Route("/fail", self.fail),
            ]
        )

    async def __call__(self, scope, receive, send):
        self.now += 1
        self.seen += 1
        self.most = max(self.most, self.now)
        ended = False

        async def sending(message):
            nonlocal ended
            await send(message)
            if message["type"] == "http.response.body" and not message.get("more_body"):
                self.now, ended = self.now - 1, True

        try:
            await self.app(scope, receive, sending)
        finally:
            self.now -= not ended

    async def work(self, request):
        await request.body()
        for _ in range(random.randint(0, 5)):
            await asyncio.sleep(0)
        return PlainTextResponse("done")

    async def stream(self, request):
        async def parts():
            for _ in range(20):
                yield bytes(10_000)
                await asyncio.sleep(0)

        return StreamingResponse(parts())

    async def fail(self, request):
        raise KeyError("lost")


def rude(port, rng):
    """Send a request and disconnect at a random moment, mostly by RST."""
    with Raw(port) as client:
        kind = rng.randrange(6)
        if kind == 0:
            client.send("POST", "/work", bytes(500), Content_Length=1000)  # the rest never comes
        elif kind == 1:
            client.send("POST", "/work", bytes(1000))
        elif kind == 2:
            client.send("GET", "/fail")
        else:
            client.send("GET", "/stream")
            if kind > 3:
                client.socket.recv(rng.randint(1, 30_000))
        if rng.random() < 0.3:
            client.socket.settimeout(0.01)
            with contextlib.suppress(OSError):
                client.socket.recv(30_000)
        if rng.random() < 0.8:
            client.reset()


def assert_nothing_is_lost(limiter, app):
    until(lambda: limiter.in_use == 0 and app.now == 0)
    gc.collect()
    counts = limiter.stats()
    assert counts["admitted"] == counts["released"]
    assert counts["admitted"]["default"] == app.seen > 0
    assert counts["abandoned"]["default"] == 0
    assert app.most <= app.limit


@http
def test_clients_that_reset_their_connections(http, caplog):
    caplog.set_level("CRITICAL")  # the application fails on purpose
    limiter, app = wf.Limiter(6), Counting(6)
    failed = []

    def run(seed):
        rng = random.Random(seed)
        try:
            for _ in range(CLIENTS // 8):
                rude(port, rng)
        except BaseException as error:
            failed.append(error)

    with serve(wf.ShedMiddleware(app, limiter), http) as port:
        threads = [threading.Thread(target=run, args=(seed,)) for seed in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert not failed
        until(lambda: limiter.in_use == 0)
        with Raw(port) as client:  # and the server is as it was
            client.send("POST", "/work", b"")
            assert client.answer()[0] == 200
    assert_nothing_is_lost(limiter, app)


@http
def test_clients_that_are_cancelled(http, caplog):
    caplog.set_level("CRITICAL")
    limiter, app = wf.Limiter(6), Counting(6)

    async def ask(client, url, rng):
        if rng.random() < 0.5:
            async with client.post(f"{url}/work", data=bytes(1000)) as answer:
                await answer.read()
            return
        async with client.get(f"{url}/stream") as answer:
            async for _ in answer.content.iter_any():
                if rng.random() < 0.2:
                    return

    async def main(port):
        rng, url = random.Random(3), f"http://127.0.0.1:{port}"
        limits = aiohttp.TCPConnector(limit=30)
        waits = aiohttp.ClientTimeout(total=PATIENCE)
        async with aiohttp.ClientSession(connector=limits, timeout=waits) as client:
            for _ in range(CLIENTS // 60):
                tasks = [asyncio.create_task(ask(client, url, rng)) for _ in range(20)]
                for task in tasks:
                    await asyncio.sleep(0)
                    if rng.random() < 0.6:
                        asyncio.get_running_loop().call_later(rng.random() / 50, task.cancel)
                results = await asyncio.gather(*tasks, return_exceptions=True)
                assert not any(isinstance(each, TimeoutError) for each in results)

    with serve(wf.ShedMiddleware(app, limiter), http) as port:
        asyncio.run(main(port))
    assert_nothing_is_lost(limiter, app)  # once the server has ended: no request comes late
