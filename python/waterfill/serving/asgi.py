"""`ShedMiddleware`: ASGI middleware that sheds load by a limiter."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any

from waterfill.errors import AtCapacity
from waterfill.serving.limiter_base import DEFAULT, LimiterBase, check_request

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

    The permit is released when the last part of the response has been sent, or when the
    application returns, raises or is cancelled, whichever comes first. A streamed response holds
    it to its end; background tasks after the response do not hold it. A client that disconnects
    does not release it: the application works on until it notices.

    A refusal has ``Retry-After`` in whole seconds, randomised so that clients refused together do
    not return together, and a JSON body with ``error``, ``reason`` and ``retry_after``. If an
    identical retry cannot succeed, ``retry_after`` is null and there is no header. The request's
    body is not read.

    It works with any ASGI 3 application or framework::

        app = FastAPI()
        app.add_middleware(wf.ShedMiddleware, limiter=wf.Limiter(12))

    Lifespan and WebSocket scopes pass through unchanged.

    Parameters
    ----------
    app : callable
        The application.
    limiter : Limiter
        It may be shared by several applications of a process.
    exempt : iterable of str
        Paths that need no permit, such as probes, which must be answered at capacity. A path must
        match exactly, below ``root_path``.
    priority : str or callable, optional
        As for `Limiter.acquire`: one value for all requests, or a function of the scope, which may
        return None for the default. The function must validate what clients send: it must neither
        raise nor return a priority that the limiter does not have.
    deadline : float or callable, optional
        Seconds that a request has; likewise.
    cost : int or callable, optional
        A request's part of the limit; likewise.

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
        arguments = {"priority": priority, "deadline": deadline, "cost": cost}
        self._values = {
            name: value
            for name, value in arguments.items()
            if value is not None and not callable(value)
        }
        self._functions = [(name, value) for name, value in arguments.items() if callable(value)]
        self._has_arguments = bool(self._values or self._functions)
        if isinstance(limiter, LimiterBase):  # report a mistake now, not at the first request
            defaults: dict[str, Any] = {"priority": DEFAULT, "deadline": None, "cost": 1}
            check_request(limiter._priorities, **defaults | self._values)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path = path_below_root(scope) if scope.get("root_path") else scope["path"]
        if path in self.exempt:
            await self.app(scope, receive, send)
            return
        try:
            request = self._request(scope) if self._has_arguments else {}
            permit = self.limiter.acquire(**request)
        except AtCapacity as error:
            await refuse(error, send)
            return

        async def send_last(message: Message) -> None:
            await send(message)
            permit.release()

        def send_part(message: Message) -> Awaitable[None]:  # not async: saves a coroutine
            if message["type"] == "http.response.body" and not message.get("more_body"):
                return send_last(message)
            return send(message)

        try:
            await self.app(scope, receive, send_part)
        finally:
            permit.release()

    def _request(self, scope: Scope) -> Mapping[str, Any]:
        """Return the arguments of `acquire` for a request."""
        if not self._functions:
            return self._values
        request = self._values.copy()
        for name, function in self._functions:
            value = function(scope)
            if value is not None:
                request[name] = value
        return request


def path_below_root(scope: Scope) -> str:
    """Return the path of a request below the root path where the application is mounted.

    By the ASGI specification the path includes the root path, but some proxies remove it.
    """
    path: str = scope["path"]
    root = scope.get("root_path", "").rstrip("/")
    if root and (path == root or path.startswith(root + "/")):
        return path[len(root) :]
    return path


async def refuse(error: AtCapacity, send: Send) -> None:
    """Send the response to a request that was not admitted."""
    headers, body = refusal(error)
    await send({"type": "http.response.start", "status": UNAVAILABLE, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def refusal(error: AtCapacity) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Return headers and body of the response to a request that was not admitted."""
    seconds = None if error.retry_after is None else _randomised(error.retry_after)
    document = {"error": str(error), "reason": error.reason, "retry_after": seconds}
    body = json.dumps(document).encode()
    headers = [*_HEADERS, (b"content-length", b"%d" % len(body))]
    if seconds is not None:
        headers.append((b"retry-after", b"%d" % seconds))
    return headers, body


def _randomised(seconds: float) -> int:
    """Return a random number of whole seconds, from these (at least 1) to about twice as many."""
    least = max(1, math.ceil(seconds))
    return least + int(random.random() * (least + 2))


def _paths(exempt: Any) -> frozenset[str]:
    if isinstance(exempt, str) or not isinstance(exempt, Iterable):
        raise TypeError(f"exempt must be an iterable of paths, got {exempt!r}")
    paths = list(exempt)
    for path in paths:
        if not isinstance(path, str):
            raise TypeError(f"exempt must hold str, got {path!r}")
        if not path.startswith("/"):
            raise ValueError(f"exempt={path!r} must begin with '/'")
    return frozenset(paths)
