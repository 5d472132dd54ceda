"""ShedMiddleware, called as a server would call it, without a socket."""

from __future__ import annotations

import asyncio
import gc

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route
from support import python_limiter
from support.asgi_server import assert_refused

import waterfill as wf


async def plain(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"done"})


def scope_of(path="/search", **more):
    defaults = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET"}
    return defaults | {"path": path, "query_string": b"", "headers": [], "root_path": ""} | more


async def call(app, path="/search", sent=None, **more):
    """Call an application; return status, headers and body."""
    sent = [] if sent is None else sent

    body = iter([{"type": "http.request", "body": b"", "more_body": False}])

    async def receive():
        for message in body:
            return message
        return await asyncio.Event().wait()  # a client that stays

    async def send(message):
        sent.append(message)

    await app(scope_of(path, **more), receive, send)
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], headers, b"".join(part["body"] for part in sent[1:])


@pytest.fixture(params=[wf.Limiter, python_limiter.PythonLimiter], ids=["core", "python"])
def limiter(request):
    return request.param(1, shares={"batch": 0.5})


def assert_all_is_back(limiter, admitted):
    gc.collect()
    counts = limiter.stats()
    assert limiter.in_use == 0
    assert counts["admitted"]["default"] == counts["released"]["default"] == admitted
    assert counts["abandoned"]["default"] == 0


def test_admits_and_refuses(limiter):
    app = wf.ShedMiddleware(plain, limiter)
    assert asyncio.run(call(app)) == (200, {}, b"done")
    with limiter.acquire():
        assert_refused(*asyncio.run(call(app)))
        assert asyncio.run(call(app, "/healthz"))[0] == 200
        assert asyncio.run(call(app, "/metrics"))[0] == 200
        assert asyncio.run(call(app, "/metrics/"))[0] == 503
        assert asyncio.run(call(app, "/healthz2"))[0] == 503
    assert_all_is_back(limiter, 2)


def test_a_refusal_reads_nothing_of_the_request(limiter):
    async def receive():
        raise AssertionError("was read")

    async def send(message):
        pass

    app = wf.ShedMiddleware(plain, limiter)
    with limiter.acquire():
        asyncio.run(app(scope_of(), receive, send))


def test_those_refused_together_do_not_come_back_together(limiter):
    app = wf.ShedMiddleware(plain, limiter)
    with limiter.acquire():
        waits = {int(asyncio.run(call(app))[1]["retry-after"]) for _ in range(100)}
    assert len(waits) >= 3
    assert min(waits) >= 1


@pytest.mark.parametrize("arguments", [{"cost": 2}, {"deadline": -1}, {"priority": "batch"}])
def test_where_waiting_does_not_help_nothing_is_said_of_it(limiter, arguments):
    status, headers, body = asyncio.run(call(wf.ShedMiddleware(plain, limiter, **arguments)))
    reason = {"cost": "capacity", "deadline": "deadline", "priority": "share"}[
        next(iter(arguments))
    ]
    assert_refused(status, headers, body, reason)
    assert "retry-after" not in headers


def test_what_is_asked_may_depend_on_the_request():
    limiter = wf.Limiter(4, shares={"batch": 0.5})
    seen = []

    async def app(scope, receive, send):
        seen.append(limiter.in_use)
        await plain(scope, receive, send)

    shed = wf.ShedMiddleware(
        app,
        limiter,
        priority=lambda scope: "batch" if scope["path"] == "/batch" else None,
        cost=lambda scope: 3 if scope["path"] == "/three" else None,
        deadline=5.0,
    )
    assert asyncio.run(call(shed))[0] == 200
    assert asyncio.run(call(shed, "/three"))[0] == 200
    with limiter.acquire(cost=2):
        assert_refused(*asyncio.run(call(shed, "/batch")), "share")
        assert_refused(*asyncio.run(call(shed, "/three")))
        assert asyncio.run(call(shed))[0] == 200
    assert seen == [1, 3, 3]


@pytest.mark.parametrize(
    ("root", "path", "status"),
    [
        ("/api", "/api/healthz", 200),
        ("/api", "/healthz", 200),  # a proxy took the root away
        ("/api/", "/api/healthz", 200),
        ("/api", "/api/api/healthz", 503),
        ("/api", "/apihealthz", 503),
        ("/healthz", "/healthz", 503),
        ("", "/api/healthz", 503),
    ],
)
def test_exempt_paths_are_below_the_root(root, path, status):
    limiter = wf.Limiter(1)
    with limiter.acquire():
        found = asyncio.run(call(wf.ShedMiddleware(plain, limiter), path, root_path=root))
    assert found[0] == status


def test_a_sub_application_has_its_own():
    inner, outer = wf.Limiter(1), wf.Limiter(1)

    async def hello(request):
        return PlainTextResponse("hello")

    sub = Starlette(routes=[Route("/healthz", hello), Route("/search", hello)])
    app = Starlette(routes=[Mount("/sub", wf.ShedMiddleware(sub, inner)), Route("/search", hello)])
    app.add_middleware(wf.ShedMiddleware, limiter=outer, exempt=["/sub/healthz"])
    with inner.acquire():
        assert asyncio.run(call(app))[0] == 200
        assert asyncio.run(call(app, "/sub/search"))[0] == 503
    with inner.acquire(), outer.acquire():
        assert asyncio.run(call(app, "/sub/healthz"))[0] == 200


def test_other_scopes_pass(limiter):
    seen = []

    async def app(scope, receive, send):
        seen.append((scope["type"], receive, send))

    shed = wf.ShedMiddleware(app, limiter)
    with limiter.acquire():
        asyncio.run(shed({"type": "lifespan"}, 1, 2))
        asyncio.run(shed({"type": "websocket", "path": "/"}, 1, 2))
    assert seen == [("lifespan", 1, 2), ("websocket", 1, 2)]


def test_an_error_of_the_application_releases(limiter):
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise KeyError("lost")

    shed = wf.ShedMiddleware(app, limiter)
    for _ in range(3):
        with pytest.raises(KeyError, match="lost"):
            asyncio.run(call(shed))
    assert_all_is_back(limiter, 3)


def test_a_client_that_is_gone_when_the_last_part_is_sent(limiter):
    async def send(message):
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        asyncio.run(wf.ShedMiddleware(plain, limiter)(scope_of(), None, send))
    assert_all_is_back(limiter, 1)


def test_cancelled_at_any_moment(limiter):
    async def app(scope, receive, send):
        await asyncio.sleep(0)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await asyncio.sleep(0)
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        await asyncio.sleep(0)
        await send({"type": "http.response.body", "body": b""})
        await asyncio.sleep(0)

    async def main():
        shed = wf.ShedMiddleware(app, limiter)
        for turns in range(6):
            task = asyncio.create_task(call(shed))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert limiter.in_use == 0

    asyncio.run(main())
    assert_all_is_back(limiter, 5)


def test_a_stream_holds_to_its_end_and_background_tasks_do_not(limiter):
    held = []

    async def parts():
        for part in (b"a", b"b", b"c"):
            held.append(limiter.in_use)
            yield part
        held.append(limiter.in_use)

    async def after():
        held.append(limiter.in_use)

    async def stream(request):
        return StreamingResponse(parts(), background=BackgroundTask(after))

    app = Starlette(routes=[Route("/search", stream)])
    found = asyncio.run(call(wf.ShedMiddleware(app, limiter)))
    assert found[2] == b"abc"
    assert held == [1, 1, 1, 1, 0]
    assert_all_is_back(limiter, 1)


def test_fastapi():
    limiter = wf.Limiter(1)
    app = FastAPI()
    app.add_middleware(wf.ShedMiddleware, limiter=limiter)

    @app.get("/search")
    def search():
        return {"in use": limiter.in_use}

    status, _, body = asyncio.run(call(app))
    assert (status, body) == (200, b'{"in use":1}')
    with limiter.acquire():
        assert_refused(*asyncio.run(call(app)))
    assert_all_is_back(limiter, 2)


def test_head(limiter):
    shed = wf.ShedMiddleware(plain, limiter)
    assert asyncio.run(call(shed, method="HEAD"))[0] == 200
    assert_all_is_back(limiter, 1)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"app": 3}, TypeError, "app must be an ASGI application, got int"),
        ({"limiter": 3}, TypeError, "limiter must be a waterfill.Limiter, got int"),
        ({"exempt": "/healthz"}, TypeError, "exempt must be an iterable of paths"),
        ({"exempt": [3]}, TypeError, "exempt must hold str, got 3"),
        ({"exempt": ["healthz"]}, ValueError, "exempt='healthz' must begin with '/'"),
        ({"priority": "other"}, ValueError, "priority='other' must be one of"),
        ({"cost": 0}, ValueError, "cost=0 must be at least 1"),
        ({"deadline": "soon"}, TypeError, "deadline must be a number of seconds"),
    ],
)
def test_mistakes_show_at_once(arguments, error, words):
    defaults = {"app": plain, "limiter": wf.Limiter(2)}
    with pytest.raises(error, match=words):
        wf.ShedMiddleware(**defaults | arguments)
