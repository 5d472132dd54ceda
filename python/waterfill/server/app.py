"""The ASGI application: endpoints, middleware and error handlers."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from waterfill._util.version import installed_version
from waterfill.errors import AtCapacity
from waterfill.metrics.prometheus import expose
from waterfill.server import openapi_schema as schema
from waterfill.server.request_body import FLOATS, JSON, Body, read_body, read_object
from waterfill.server.request_validation import (
    read_addition,
    read_id,
    read_removal,
    read_search,
)
from waterfill.server.responses import Problem, answer, found_answer
from waterfill.server.security import AccessMiddleware
from waterfill.server.service import Service
from waterfill.server.settings import ServerSettings
from waterfill.server.shutdown import DrainingMiddleware
from waterfill.serving.asgi import UNAVAILABLE, refusal

T = TypeVar("T")

_REFUSALS = (400, 408, 413, 415, 422, 503)  # of requests with a body
_SMALL_BODY = 65_536  # bytes that are read or written in the event loop


def create_app(index: Any, settings: ServerSettings | None = None) -> FastAPI:
    """Create the ASGI application of ``waterfill serve``.

    Serve it with one process: searches release the interpreter's lock and use all cores, and the
    limit, added vectors and swapped indexes belong to a single process.

    Parameters
    ----------
    index : IndexFlat, IndexIVF, SwapIndex, str or path-like
        A file is read, or a folder opened for changes (see `ServerSettings.read_only`), when the
        application starts; until then ``/readyz`` returns 503. A folder that it opened it closes
        at its end.
    settings : ServerSettings, optional
        By default `ServerSettings()`.

    Returns
    -------
    fastapi.FastAPI
        ``app.state.service`` has ``index`` (a `SwapIndex`, or a `ServedFolder`), ``limiter`` and
        ``draining``. While ``draining`` is true, ``/readyz`` returns 503 and responses close their
        connections.

    Raises
    ------
    TypeError, NotTrainedError
        If `index` is not an index or path, or not trained.
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
    _add_searches(app, service)  # first, because routes are tried in order
    _add_changes(app, service)
    _add_probes(app, service)
    _add_error_handlers(app)
    app.openapi = _openapi(app, service)  # type: ignore[method-assign]
    app.add_middleware(AccessMiddleware, token=settings.token, names=settings.names)
    app.add_middleware(DrainingMiddleware, draining=lambda: service.draining)
    return app


def _add_probes(app: FastAPI, service: Service) -> None:
    @app.get("/healthz", responses=schema.responses(schema.STATUS))
    async def healthz() -> Response:
        """Return 200 while the process is alive."""
        return answer({"status": "alive"})

    @app.get("/readyz", responses=schema.responses(schema.STATUS, 503))
    async def readyz() -> Response:
        """Return whether the service is ready for requests."""
        if service.unready is not None:
            raise Problem(503, service.unready)
        return answer({"status": "ready"})

    text = {"description": "Done", "content": {"text/plain": {"schema": {"type": "string"}}}}

    @app.get("/metrics", responses={**schema.responses(None), 200: text}, response_class=Response)
    async def metrics(request: Request) -> Response:
        """Return the metrics in the format of Prometheus."""
        text, kind = expose(service.metrics, request.headers.get("accept", ""))
        return Response(text, headers={"content-type": kind})


def _add_searches(app: FastAPI, service: Service) -> None:
    settings = service.settings

    @app.post("/search", responses=schema.responses(schema.FOUND, *_REFUSALS))
    async def search(request: Request) -> Response:
        """Find the k nearest vectors of each query."""
        index = service.loaded()
        body = await read_body(request, settings, JSON, FLOATS)
        with service.limiter.acquire():

            def read() -> Any:
                return read_search(body, index.index, settings)

            search_request = await _offload(service, len(body.data), read)
            found = await service.search(search_request)
            return await _offload(service, 16 * found[1].size, lambda: found_answer(*found))

    @app.post("/swap", responses=schema.responses(schema.SWAPPED, *_REFUSALS, 403, 404, 409))
    async def swap(request: Request) -> Response:
        """Replace the index by one of the swap folder, if it passes the gate."""
        body = await read_body(request, settings, JSON)
        name, same_ids = _swap_fields(body)
        report = await service.swap(name, same_ids)
        return answer({"generation": report.generation, "ntotal": service.loaded().ntotal})


def _add_changes(app: FastAPI, service: Service) -> None:
    settings = service.settings

    @app.post("/add", responses=schema.responses(schema.ADDED, *_REFUSALS, 403))
    async def add(request: Request) -> Response:
        """Add vectors, all of them or none. Without ids, they are numbered on."""
        index = service.changeable()
        body = await read_body(request, settings, JSON, FLOATS)
        with service.limiter.acquire():

            def read() -> Any:
                return read_addition(body, index, settings)

            addition = await _offload(service, len(body.data), read)
            ids, ntotal = await service.add(addition)
            return answer({"added": len(ids), "ids": ids, "ntotal": ntotal})

    @app.post("/upsert", responses=schema.responses(schema.UPSERTED, *_REFUSALS, 403))
    async def upsert(request: Request) -> Response:
        """Add vectors, and remove those that had their ids, in one step."""
        index = service.changeable("upsert")
        body = await read_body(request, settings, JSON)
        with service.limiter.acquire():

            def read() -> Any:
                return read_addition(body, index, settings, replaces=True)

            addition = await _offload(service, len(body.data), read)
            ntotal = await service.upsert(addition)
            return answer({"upserted": len(addition.rows), "ntotal": ntotal})

    @app.post("/remove", responses=schema.responses(schema.REMOVED, *_REFUSALS, 403))
    async def remove(request: Request) -> Response:
        """Remove vectors by id; ids that are not in the index are ignored."""
        service.changeable("remove")
        body = await read_body(request, settings, JSON)
        with service.limiter.acquire():
            ids = await _offload(service, len(body.data), lambda: read_removal(body))
            removed, ntotal = await service.remove(ids)
            return answer({"removed": removed, "ntotal": ntotal})

    @app.delete("/vectors/{id}", responses=schema.responses(schema.REMOVED, 403, 404, 422, 503))
    async def delete(id: str) -> Response:
        """Remove the vectors with an id."""
        service.changeable("remove")
        ids = read_id(id)
        with service.limiter.acquire():
            removed, ntotal = await service.remove(ids)
        if not removed:
            raise Problem(404, f"no vector has id {ids[0]}")
        return answer({"removed": removed, "ntotal": ntotal})


async def _offload(service: Service, size: int, call: Callable[[], T]) -> T:
    """Read or write a body, in a thread if it is so large that it would block the event loop."""
    return call() if size < _SMALL_BODY else await service.in_pool(call)


def _swap_fields(body: Body) -> tuple[Any, bool]:
    # read_object refuses booleans in arrays only, so same_ids may be one.
    fields = read_object(body.data, ("file", "same_ids"))
    if "file" not in fields:
        raise Problem(422, "file is missing: expected the name of a file in the swap folder")
    same_ids = fields.get("same_ids", True)
    if not isinstance(same_ids, bool):
        raise Problem(422, f"same_ids must be true or false, got {same_ids!r}")
    return fields["file"], same_ids


def _add_error_handlers(app: FastAPI) -> None:
    @app.exception_handler(Problem)
    async def problem(request: Request, error: Problem) -> Response:
        return error.answer()

    @app.exception_handler(AtCapacity)
    async def full(request: Request, error: AtCapacity) -> Response:
        headers, body = refusal(error)
        decoded = {name.decode(): value.decode() for name, value in headers}
        return Response(body, UNAVAILABLE, decoded)

    @app.exception_handler(HTTPException)
    async def unknown(request: Request, error: HTTPException) -> Response:
        return answer({"error": str(error.detail)}, error.status_code, error.headers)

    @app.exception_handler(Exception)
    async def broken(request: Request, error: Exception) -> Response:
        return answer({"error": "internal error of the service"}, 500)


def _openapi(app: FastAPI, service: Service) -> Any:
    """Return the function that makes the OpenAPI document, cached by the index's dimensions."""
    make, cached = app.openapi, {}

    def openapi() -> dict[str, Any]:
        d = None if service.index is None else service.index.d
        if d not in cached:
            app.openapi_schema = None
            cached[d] = schema.complete(make(), service.settings, d)
        return cached[d]

    return openapi
