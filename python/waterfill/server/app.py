"""The application: endpoints, and what stands in front of them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from waterfill._util.version import installed_version
from waterfill.errors import AtCapacity
from waterfill.metrics.prometheus import expose
from waterfill.server import openapi_schema as schema
from waterfill.server.request_body import FLOATS, JSON, Body, read_body, read_object
from waterfill.server.requests import read_addition, read_search
from waterfill.server.responses import Problem, answer
from waterfill.server.security import Closing, Guard
from waterfill.server.served_index import Service
from waterfill.server.settings import ServerSettings
from waterfill.serving.asgi import UNAVAILABLE, ShedMiddleware, refusal

EXEMPT = ("/healthz", "/readyz", "/metrics", "/swap")  # who operates it must reach it

_SMALL = 65_536  # bytes that the event loop reads itself


def create_app(index: Any, settings: ServerSettings | None = None) -> FastAPI:
    """Make the ASGI application of ``waterfill serve``.

    Serve it by one process: searches release the interpreter's lock, and the limit, what is added
    and what is swapped in are each process's own.

    Parameters
    ----------
    index : IndexFlat, IndexIVF, SwapIndex, str or path-like
        A file is read when the application starts; until then ``/readyz`` says 503.
    settings : ServerSettings, optional

    Returns
    -------
    fastapi.FastAPI
        With ``app.state.service``, which has ``index`` (a `SwapIndex`), ``limiter``, and
        ``draining``: set it, and ``/readyz`` says 503 and answers end their connections.

    Raises
    ------
    TypeError, NotTrainedError
        If `index` is none, or not trained.
    """
    settings = settings or ServerSettings()
    service = Service(index, settings)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service.start()
        yield
        await service.stop()

    app = FastAPI(
        title="waterfill",
        version=installed_version(),
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.service = service
    _add_probes(app, service)
    _add_calls(app, service)
    _add_errors(app)
    app.openapi = _described(app, service)  # type: ignore[method-assign]
    app.add_middleware(ShedMiddleware, limiter=service.limiter, exempt=EXEMPT)
    app.add_middleware(Guard, token=settings.token, names=settings.names)
    app.add_middleware(Closing, draining=lambda: service.draining)
    return app


def _add_probes(app: FastAPI, service: Service) -> None:
    @app.get("/healthz", responses=schema.responses(schema.STATUS))
    async def healthz() -> Response:
        """Say that the process is alive."""
        return answer({"status": "alive"})

    @app.get("/readyz", responses=schema.responses(schema.STATUS, 503))
    async def readyz() -> Response:
        """Say whether requests should come."""
        if service.unready is not None:
            raise Problem(503, service.unready)
        return answer({"status": "ready"})

    text = {"description": "Done", "content": {"text/plain": {"schema": {"type": "string"}}}}

    @app.get("/metrics", responses={**schema.responses(None), 200: text}, response_class=Response)
    async def metrics(request: Request) -> Response:
        """Return what was counted, for Prometheus."""
        text, kind = expose(service.metrics, request.headers.get("accept", ""))
        return Response(text, headers={"content-type": kind})


def _add_calls(app: FastAPI, service: Service) -> None:
    settings = service.settings
    usual = (400, 408, 413, 415, 422, 503)

    @app.post("/search", responses=schema.responses(schema.FOUND, *usual))
    async def search(request: Request) -> Response:
        """Find the k nearest vectors of each query."""
        index = service.loaded()
        body = await read_body(request, settings, JSON, FLOATS)

        def read() -> Any:
            return read_search(body, index.index, settings)

        asked = await _read(service, body, read)
        distances, ids, generation = await service.search(asked)
        return answer({**as_lists(distances, ids), "generation": generation})

    @app.post("/add", responses=schema.responses(schema.ADDED, *usual))
    async def add(request: Request) -> Response:
        """Add vectors, all of them or none. Without ids theirs are their positions."""
        index = service.loaded()
        body = await read_body(request, settings, JSON, FLOATS)
        asked = await _read(service, body, lambda: read_addition(body, index, settings))
        ntotal = await service.add(asked)
        return answer({"added": len(asked.rows), "ntotal": ntotal})

    @app.post("/swap", responses=schema.responses(schema.SWAPPED, *usual, 403, 404, 409))
    async def swap(request: Request) -> Response:
        """Put an index of the swap folder in the place of the one in use, if it is good enough."""
        body = await read_body(request, settings, JSON)
        name, same_ids = _swap_fields(body)
        report = await service.swap(name, same_ids)
        return answer({"generation": report.generation, "ntotal": service.loaded().ntotal})


async def _read(service: Service, body: Body, read: Any) -> Any:
    """Read a body; in a thread if it is so large that the loop would stand still."""
    return read() if len(body.data) < _SMALL else await service.in_pool(read)


def _swap_fields(body: Body) -> tuple[Any, bool]:
    # Truths are looked for among numbers in lists alone, so that same_ids may be one.
    fields = read_object(body.data, ("file", "same_ids"))
    if "file" not in fields:
        raise Problem(422, "file is missing: the name of a file in the swap folder")
    same_ids = fields.get("same_ids", True)
    if not isinstance(same_ids, bool):
        raise Problem(422, f"same_ids is {same_ids!r}, wanted is true or false")
    return fields["file"], same_ids


def as_lists(distances: Any, ids: Any) -> dict[str, Any]:
    """Return results for JSON, without the places where nothing was found."""
    found = ids != -1
    if found.all():
        return {"ids": ids.tolist(), "distances": distances.tolist()}
    return {
        "ids": [row[kept].tolist() for row, kept in zip(ids, found, strict=True)],
        "distances": [row[kept].tolist() for row, kept in zip(distances, found, strict=True)],
    }


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(Problem)
    async def problem(request: Request, error: Problem) -> Response:
        return error.answer()

    @app.exception_handler(AtCapacity)
    async def full(request: Request, error: AtCapacity) -> Response:
        headers, body = refusal(error)
        found = {name.decode(): value.decode() for name, value in headers}
        return Response(body, UNAVAILABLE, found)

    @app.exception_handler(HTTPException)
    async def unknown(request: Request, error: HTTPException) -> Response:
        return answer({"error": str(error.detail)}, error.status_code, error.headers)

    @app.exception_handler(Exception)
    async def broken(request: Request, error: Exception) -> Response:
        return answer({"error": "something is wrong with the service itself"}, 500)


def _described(app: FastAPI, service: Service) -> Any:
    """Return what makes the OpenAPI document: once, when the dimensions are known."""
    make, known = app.openapi, {}

    def openapi() -> dict[str, Any]:
        d = None if service.index is None else service.index.d
        if d not in known:
            app.openapi_schema = None
            known[d] = schema.complete(make(), service.settings, d)
        return known[d]

    return openapi
