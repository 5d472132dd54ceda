"""A limiter in front of an ASGI application: a request holds a permit until its response ends."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any

from waterfill.errors import AtCapacity
from waterfill.serving.limiter_base import DEFAULT, Surface, asked

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

EXEMPT = ("/healthz", "/metrics")

UNAVAILABLE = 503
_HEADERS = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]


class ShedMiddleware:
    """ASGI middleware: each HTTP request holds a permit of a limiter, or is refused with 503.

    The permit is released when the last part of the response has been sent, or the application
    has returned, raised or been cancelled, whichever comes first: background tasks after the
    response do not hold it, a streamed response does to its end. A client that disconnects does
    not release it by itself, as the application works on until it notices.

    A refusal has ``Retry-After`` in whole seconds, with some chance in it so that those who were
    refused together do not come back together, and a JSON body with ``error``, ``reason`` and
    ``retry_after`` (null, and no header, where trying again as before will not do). Nothing of the
    request's body is read.

    It can stand in front of any ASGI 3 application, a framework's included::

        app = FastAPI()
        app.add_middleware(wf.ShedMiddleware, limiter=wf.Limiter(12))

    Lifespan and WebSocket scopes pass untouched.

    Parameters
    ----------
    app : callable
        The application.
    limiter : Limiter
        One of them may stand in front of several applications of a process.
    exempt : iterable of str
        Paths that pass without a permit: those of probes, that must be answered when all is in
        use. Compared as a whole, below ``root_path``.
    priority : str or callable, optional
    deadline : float or callable, optional
        Seconds.
    cost : int or callable, optional
        As for `Limiter.acquire`: a value for all requests, or a function of the scope, which may
        return None for the usual one. What clients send is for the function to check: it must not
        return a priority that the limiter has not got, nor raise.

    Raises
    ------
    TypeError, ValueError
        For an argument of the wrong type or out of range.
    """

    def __init__(
        self,
        app: App,
        limiter: Any,
        exempt: Iterable[str] = EXEMPT,
        priority: str | Callable[[Scope], str | None] | None = None,
        deadline: float | Callable[[Scope], float | None] | None = None,
        cost: int | Callable[[Scope], int | None] | None = None,
    ) -> None:
        if not callable(app):
            raise TypeError(f"app must be an ASGI application, got {type(app).__name__}")
        if not callable(getattr(limiter, "acquire", None)):
            raise TypeError(f"limiter must be a waterfill.Limiter, got {type(limiter).__name__}")
        self.app, self.limiter = app, limiter
        self.exempt = _paths(exempt)
        given = {"priority": priority, "deadline": deadline, "cost": cost}
        self._values = {
            name: value
            for name, value in given.items()
            if value is not None and not callable(value)
        }
        self._functions = [(name, value) for name, value in given.items() if callable(value)]
        self._varied = bool(self._values or self._functions)
        if isinstance(limiter, Surface):  # a mistake shows now, not in a request
            usual: dict[str, Any] = {"priority": DEFAULT, "deadline": None, "cost": 1}
            asked(limiter._priorities, **usual | self._values)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path = below_root(scope) if scope.get("root_path") else scope["path"]
        if path in self.exempt:
            await self.app(scope, receive, send)
            return
        try:
            request = self._request(scope) if self._varied else {}
            permit = self.limiter.acquire(**request)
        except AtCapacity as error:
            await refuse(error, send)
            return

        async def last(message: Message) -> None:
            await send(message)
            permit.release()

        def sending(message: Message) -> Awaitable[None]:  # not async: that costs a task's frame
            if message["type"] == "http.response.body" and not message.get("more_body"):
                return last(message)
            return send(message)

        try:
            await self.app(scope, receive, sending)
        finally:
            permit.release()

    def _request(self, scope: Scope) -> Mapping[str, Any]:
        """Return what is asked of the limiter."""
        if not self._functions:
            return self._values
        found = self._values.copy()
        for name, function in self._functions:
            value = function(scope)
            if value is not None:
                found[name] = value
        return found


def below_root(scope: Scope) -> str:
    """Return the path of a request below the root path that the application is mounted at.

    Servers and routers that follow the specification have the root path in the path; some proxies
    take it away.
    """
    path: str = scope["path"]
    root = scope.get("root_path", "").rstrip("/")
    if root and (path == root or path.startswith(root + "/")):
        return path[len(root) :]
    return path


async def refuse(error: AtCapacity, send: Send) -> None:
    """Answer a request that was not admitted."""
    headers, body = refusal(error)
    await send({"type": "http.response.start", "status": UNAVAILABLE, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def refusal(error: AtCapacity) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Return headers and body of the answer to a request that was not admitted."""
    seconds = None if error.retry_after is None else _scattered(error.retry_after)
    document = {"error": str(error), "reason": error.reason, "retry_after": seconds}
    body = json.dumps(document).encode()
    headers = [*_HEADERS, (b"content-length", b"%d" % len(body))]
    if seconds is not None:
        headers.append((b"retry-after", b"%d" % seconds))
    return headers, body


def _scattered(seconds: float) -> int:
    """Return whole seconds, at least 1, between these and somewhat more than twice as many."""
    least = max(1, math.ceil(seconds))
    return least + int(random.random() * (least + 2))


def _paths(given: Any) -> frozenset[str]:
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise TypeError(f"exempt must be an iterable of paths, got {given!r}")
    paths = list(given)
    for path in paths:
        if not isinstance(path, str):
            raise TypeError(f"exempt must hold str, got {path!r}")
        if not path.startswith("/"):
            raise ValueError(f"exempt={path!r} must begin with '/'")
    return frozenset(paths)
