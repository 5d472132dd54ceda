"""In front of everything: who may ask, and connections that end while the service drains."""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable, Iterable

from waterfill.server.settings import LOOPBACK
from waterfill.serving.asgi import App, Message, Receive, Scope, Send, path_below_root

OPEN = ("/healthz", "/readyz")  # without a token

_CLOSE = (b"connection", b"close")


class Guard:
    """ASGI middleware: a token, or else a Host header that no foreign page can make a browser send.

    Parameters
    ----------
    app : callable
    token : str or None
    names : iterable of str
        Hosts beside those of the loopback; only looked at without a token.
    """

    def __init__(self, app: App, token: str | None, names: Iterable[str]) -> None:
        self._app = app
        self._token = None if token is None else token.encode()
        self._names = {name.lower() for name in (*LOOPBACK, *names)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or answer 401 or 421."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close"})
        elif scope["type"] != "http":
            await self._app(scope, receive, send)
        elif self._token is None and not self._is_named(scope):
            await _refuse(send, 421, "this Host is not served here: wanted is a configured name")
        elif self._token is not None and not self._has_token(scope):
            words = "wanted is Authorization: Bearer with the service's token"
            await _refuse(send, 401, words, (b"www-authenticate", b"Bearer"))
        else:
            await self._app(scope, receive, send)

    def _is_named(self, scope: Scope) -> bool:
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        return len(hosts) == 1 and host_name(hosts[0].decode("latin-1")) in self._names

    def _has_token(self, scope: Scope) -> bool:
        if path_below_root(scope) in OPEN:
            return True
        assert self._token is not None
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        scheme, _, credentials = (given[0] if len(given) == 1 else b"").partition(b" ")
        # Compared in any case, in a time that does not depend on where they differ.
        same = hmac.compare_digest(credentials.strip(), self._token)
        return same and scheme.lower() == b"bearer"


class Closing:
    """ASGI middleware: while the service drains, each answer is the last of its connection.

    Parameters
    ----------
    app : callable
    draining : callable
        Says whether it does.
    """

    def __init__(self, app: App, draining: Callable[[], bool]) -> None:
        self._app, self._draining = app, draining

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def closing(message: Message) -> None:
            if message["type"] == "http.response.start" and self._draining():
                headers = [each for each in message.get("headers", []) if each[0] != b"connection"]
                message = {**message, "headers": [*headers, _CLOSE]}
            await send(message)

        await self._app(scope, receive, closing)


def host_name(host: str) -> str:
    """Return the name in a Host header, without its port."""
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdecimal() else host).lower()


async def _refuse(send: Send, status: int, error: str, *headers: tuple[bytes, bytes]) -> None:
    body = json.dumps({"error": error}).encode()
    usual = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": [*usual, *headers]})
    await send({"type": "http.response.body", "body": body})
