"""A client of a service that runs in a thread."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import httpx
from support.asgi_server import serve
from support.concurrency import until

from waterfill.server import ServerSettings, create_app


@contextlib.contextmanager
def client_of(source, **settings) -> Iterator[httpx.Client]:
    """Serve an index or a path; yield a client, whose `service` is the service."""
    app = create_app(source, ServerSettings(**settings))
    with (
        serve(app, lifespan="on") as port,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client,
    ):
        client.service = app.state.service
        until(lambda: client.get("/readyz").status_code == 200)
        yield client
