"""The service that bench/overload.py overloads: searches over HTTP, with a limiter or without.

A request is some queries as float32 bytes; the answer is the ids of their neighbours.
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
    """Return the application.

    Parameters
    ----------
    index : IndexFlat
    k : int
        Neighbours of each query.
    threads : int
        That search.
    limit : int
        Of the limiter; 0 for none.
    core : int, optional
        That searching threads run on.

    Returns
    -------
    callable
    """

    def settle() -> None:  # 0: of the thread that says it
        if core is not None:
            os.sched_setaffinity(0, {core})

    pool = ThreadPoolExecutor(threads, initializer=settle)

    async def search(request: Request) -> Response:
        queries = np.frombuffer(await request.body(), np.float32).reshape(-1, index.d)
        loop = asyncio.get_running_loop()
        _, ids = await loop.run_in_executor(pool, index.search, queries, k)
        return Response(ids.tobytes(), media_type="application/octet-stream")

    app = Starlette(routes=[Route("/search", search, methods=["POST"])])
    return wf.ShedMiddleware(app, wf.Limiter(limit)) if limit else app


def main() -> None:
    """Serve until the end."""
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
    given = parser.parse_args()
    wf.set_num_threads(1)
    index = wf.read_index(given.index)
    index.search(np.zeros((1, index.d), np.float32), 1)
    uvicorn.run(
        application(index, given.k, given.threads, given.limit, given.core),
        port=given.port,
        backlog=given.backlog,
        limit_concurrency=given.connections,
        http=given.http,
        timeout_keep_alive=75,  # longer than clients keep a connection: none closes under them
        log_level="warning",
        access_log=False,
    )
    os._exit(0)  # not after the queue of an overload


if __name__ == "__main__":
    main()
