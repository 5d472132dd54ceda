"""The command that puts an index behind HTTP: serve."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

import waterfill as wf
from waterfill._util.optional import require
from waterfill.cli.errors import UsageError, say
from waterfill.cli.inputs import Vectors
from waterfill.cli.output import Output
from waterfill.data.vector_files import BASE_DATASETS, QUERY_DATASETS, open_file
from waterfill.io import file_kind

_TOKEN = "WATERFILL_TOKEN"


def _path(option: str, metavar: str, words: str) -> Any:
    return typer.Option(option, metavar=metavar, help=words, show_default=False)


def _number(option: str, words: str) -> Any:
    return typer.Option(option, metavar="N", help=words)


def serve(
    out: Output,
    index: Annotated[Path, typer.Argument(metavar="INDEX", help="An index of waterfill.")],
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="0: one that is free.")] = 8000,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit",
            metavar="N",
            help="Requests taken on at once (default: 8 for each core).",
            show_default=False,
        ),
    ] = None,
    report: Annotated[
        Path | None, _path("--report", "FILE", "Report of a capacity test, for the limit.")
    ] = None,
    adaptive: Annotated[
        bool, typer.Option("--adaptive", help="With --report: the limit moves within its bounds.")
    ] = False,
    token_file: Annotated[
        Path | None,
        _path(
            "--token-file", "FILE", f"File with the token that requests must have (or {_TOKEN})."
        ),
    ] = None,
    name: Annotated[
        list[str] | None,
        typer.Option(
            "--name", metavar="HOST", help="Host name it is reached by.", show_default=False
        ),
    ] = None,
    swap_folder: Annotated[
        Path | None, _path("--swap-folder", "DIR", "Where /swap may take indexes from.")
    ] = None,
    canary: Annotated[
        Path | None, _path("--canary", "FILE", "Queries that a swap is judged by.")
    ] = None,
    recall_drop: Annotated[
        float | None,
        typer.Option(
            "--recall-drop",
            metavar="F",
            help="Recall a swap may lose; needs an index with refine.",
            show_default=False,
        ),
    ] = None,
    overlap: Annotated[
        float | None,
        typer.Option(
            "--overlap",
            metavar="F",
            help="Share of the same ids that a swap must find.",
            show_default=False,
        ),
    ] = None,
    batch: Annotated[bool, typer.Option(help="Search together for those who ask together.")] = True,
    max_body: Annotated[int, _number("--max-body", "Bytes of a request.")] = 8_000_000,
    max_vectors: Annotated[int, _number("--max-vectors", "Vectors of a request.")] = 1024,
    max_k: Annotated[int, _number("--max-k", "Neighbours of a query.")] = 1000,
    drain_seconds: Annotated[
        float,
        typer.Option("--drain-seconds", min=0, help="From SIGTERM to the end of listening."),
    ] = 5.0,
    shutdown_seconds: Annotated[
        float, typer.Option("--shutdown-seconds", min=0, help="For requests that run then.")
    ] = 30.0,
    save: Annotated[
        bool, typer.Option("--save", help="Write the index back at the end, if it changed.")
    ] = False,
) -> None:
    """Search an index by HTTP.

    One process: searches use all cores. Whoever listens beyond this machine needs a token.

    Example:
      waterfill serve base.wf
      waterfill serve base.wf --limit 32 --swap-folder new/ --save
      waterfill serve base.wf --host 0.0.0.0 --token-file token.txt
    """
    require("fastapi", "the command serve", "serve")
    from waterfill.server import ServerSettings, create_app
    from waterfill.server.process import address, is_local, listen, run

    token = _token(token_file)
    if token is None and not is_local(host):
        raise UsageError(
            f"--host {host} is reached from other machines: give --token-file, or {_TOKEN} in the "
            "environment"
        )
    _check_index(index)
    try:
        chosen: dict[str, Any] = {}
        if limit is not None or report is not None or adaptive:
            chosen["limit"] = _limit(limit, report, adaptive)
        settings = ServerSettings(
            token=token,
            names=name or (),
            batch=batch,
            max_body=max_body,
            max_vectors=max_vectors,
            max_k=max_k,
            swap_folder=swap_folder,
            gate=_gate(canary, recall_drop, overlap),
            **chosen,
        )
    except ValueError as error:
        raise UsageError(str(error)) from None
    app = create_app(index, settings)
    service = app.state.service
    with listen(host, port) as listener:
        say(
            f"{address(listener)} serves {index}, {service.limiter.limit} requests at once"
            + ("" if token is None else ", with a token")
        )
        run(app, listener, drain_seconds, shutdown_seconds)
    _keep(service, index, save)
    say("ended")


def _check_index(index: Path) -> None:
    if file_kind(index) in (None, "codec"):
        raise wf.FormatError(f"{index}: not an index of waterfill; waterfill build makes one")


def _token(path: Path | None) -> str | None:
    """Read the token; never from the command line, which others on the machine see."""
    from waterfill.server.settings import check_token

    if path is None:
        given, name = os.environ.get(_TOKEN), _TOKEN
    else:
        given, name = path.read_bytes().decode("utf-8", "replace").strip(), str(path)
    if given is None:
        return None
    try:
        return check_token(name, given)
    except ValueError as error:
        raise UsageError(str(error)) from None


def _limit(limit: int | None, report: Path | None, adaptive: bool) -> Any:
    if report is None:
        if adaptive:
            raise UsageError("--adaptive needs --report, which has the bounds")
        return limit
    if limit is not None:
        raise UsageError("--limit and --report both say the limit; give one")
    return wf.Limiter.from_report(report, adaptive=adaptive, name="service")


def _gate(
    canary: Path | None, recall_drop: float | None, overlap: float | None
) -> wf.lifecycle.Gate | None:
    if canary is None:
        if recall_drop is not None or overlap is not None:
            raise UsageError("--recall-drop and --overlap need --canary, queries to ask")
        return None
    if recall_drop is None and overlap is None:
        raise UsageError("--canary: give --overlap, or --recall-drop, or both")
    queries = Vectors(open_file(canary, None, (*QUERY_DATASETS, *BASE_DATASETS)), str(canary))
    asked = queries.read(0, queries.n).astype(np.float32)
    return wf.lifecycle.Gate(asked, recall_drop=recall_drop, overlap=overlap)


def _keep(service: Any, path: Path, save: bool) -> None:
    """Write the index if it changed and that is wanted; say what is lost otherwise."""
    if not service.changed:
        return
    if not save:
        say(
            f"warning: what was added or swapped in is lost: {path} is as it was (--save writes it)"
        )
        return
    wf.write_index(service.index.index, path)
    say(f"saved {service.index.ntotal:,} vectors in {path}")
