"""Access control: the bearer token, or the Host header of a service without one."""

from __future__ import annotations

import hmac
import json
from collections.abc import Iterable

from waterfill.server.settings import LOOPBACK
from waterfill.serving.asgi import App, Receive, Scope, Send, path_below_root

OPEN = ("/healthz", "/readyz")
"""Paths that need no token."""


class AccessMiddleware:
    """ASGI middleware: checks the token or, without one, the Host header.

    The Host header protects a service on this machine from web pages: a page of another origin can
    make a browser send requests to it (DNS rebinding), but not with an allowed Host.

    Parameters
    ----------
    app : callable
    token : str or None
        Required as ``Authorization: Bearer``.
    names : iterable of str
        Allowed hosts in addition to the loopback names. Used only without a token.
    """

    def __init__(self, app: App, token: str | None, names: Iterable[str]) -> None:
        self._app = app
        self._token = None if token is None else token.encode()
        self._names = {name.lower() for name in (*LOOPBACK, *names)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer 401 or 421."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close"})
        elif scope["type"] != "http":
            await self._app(scope, receive, send)
        elif self._token is None and not self._has_allowed_host(scope):
            await _refuse(
                send, 421, "this Host is not served here: expected localhost or a configured name"
            )
        elif self._token is not None and not self._has_token(scope):
            error = "expected Authorization: Bearer with the token of the service"
            await _refuse(send, 401, error, (b"www-authenticate", b"Bearer"))
        else:
            await self._app(scope, receive, send)

    def _has_allowed_host(self, scope: Scope) -> bool:
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        return len(hosts) == 1 and host_name(hosts[0].decode("latin-1")) in self._names

    def _has_token(self, scope: Scope) -> bool:
        if path_below_root(scope) in OPEN:
            return True
        assert self._token is not None
        values = [value for name, value in scope["headers"] if name == b"authorization"]
        scheme, _, credentials = (values[0] if len(values) == 1 else b"").partition(b" ")
        # Always compared, and in constant time, so that timing reveals nothing of the token.
        same = hmac.compare_digest(credentials.strip(), self._token)
        return same and scheme.lower() == b"bearer"


def host_name(host: str) -> str:
    """Return the name in a Host header, without its port."""
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdecimal() else host).lower()


async def _refuse(send: Send, status: int, error: str, *headers: tuple[bytes, bytes]) -> None:
    body = json.dumps({"error": error}).encode()
    defaults = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": [*defaults, *headers]})
    await send({"type": "http.response.body", "body": body})
