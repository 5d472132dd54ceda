"""The HTTP search service that ``overload.py`` overloads, with a limiter or without.

A request carries queries as float32 bytes; the response carries the ids of their neighbours.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

import waterfill as wf


def application(
    index: Any, k: int, threads: int, limit: int, core: int | None = None
) -> Callable[..., Any]:
    """Return the ASGI application.

    Parameters
    ----------
    index : IndexFlat
    k : int
        Neighbours per query.
    threads : int
        Search threads.
    limit : int
        Limit of the limiter; 0 for no limiter.
    core : int, optional
        Core of the search threads.

    Returns
    -------
    callable
    """

    def pin_thread() -> None:
        if core is not None:
            os.sched_setaffinity(0, {core})  # 0: the calling thread

    pool = ThreadPoolExecutor(threads, initializer=pin_thread)

    async def search(request: Request) -> Response:
        queries = np.frombuffer(await request.body(), np.float32).reshape(-1, index.d)
        loop = asyncio.get_running_loop()
        _, ids = await loop.run_in_executor(pool, index.search, queries, k)
        return Response(ids.tobytes(), media_type="application/octet-stream")

    app = Starlette(routes=[Route("/search", search, methods=["POST"])])
    return wf.ShedMiddleware(app, wf.Limiter(limit)) if limit else app


def main() -> None:
    """Run the service until it is stopped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("index")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--k", type=int, default=100)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--limit", type=int, default=0)
    parser.add_argument("--core", type=int)
    parser.add_argument("--backlog", type=int, default=2048)
    parser.add_argument("--connections", type=int, help="uvicorn's limit_concurrency")
    parser.add_argument("--http", choices=["httptools", "h11"], default="httptools")
    args = parser.parse_args()
    wf.set_num_threads(1)
    index = wf.read_index(args.index)
    index.search(np.zeros((1, index.d), np.float32), 1)
    uvicorn.run(
        application(index, args.k, args.threads, args.limit, args.core),
        port=args.port,
        backlog=args.backlog,
        limit_concurrency=args.connections,
        http=args.http,
        timeout_keep_alive=75,  # longer than clients keep idle connections
        log_level="warning",
        access_log=False,
    )
    os._exit(0)  # do not wait for queued requests


if __name__ == "__main__":
    main()
