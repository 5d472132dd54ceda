"""The command ``waterfill serve``: search and change an index by HTTP."""

from __future__ import annotations

import os
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

import waterfill as wf
from waterfill._util.input_file import read_input
from waterfill._util.optional import require
from waterfill.cli.errors import UsageError, print_line
from waterfill.cli.folders import read_index
from waterfill.cli.inputs import Vectors, check_output
from waterfill.cli.options import IndexFile
from waterfill.cli.output import Output
from waterfill.data.vector_files import BASE_DATASETS, QUERY_DATASETS, open_file
from waterfill.io import file_kind

_TOKEN = "WATERFILL_TOKEN"


class SyncName(str, Enum):
    """When a change of a folder is on the disk."""

    commit = "commit"
    interval = "interval"
    none = "none"


def _value(option: str, metavar: str, help_: str) -> Any:
    return typer.Option(option, metavar=metavar, help=help_, show_default=False)


def _number(option: str, help_: str) -> Any:
    return typer.Option(option, metavar="N", help=help_)


def serve(
    out: Output,
    index: IndexFile,
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", help="Port to listen on; 0 picks a free one.")
    ] = 8000,
    limit: Annotated[
        int | None, _value("--limit", "N", "Concurrent requests (default: 8 per core).")
    ] = None,
    report: Annotated[
        Path | None, _value("--report", "FILE", "Report of waterfill ramp, which gives the limit.")
    ] = None,
    adaptive: Annotated[
        bool, typer.Option("--adaptive", help="Adapt the limit within the bounds of --report.")
    ] = False,
    token_file: Annotated[
        Path | None,
        _value(
            "--token-file", "FILE", f"File with the token that requests must carry (or {_TOKEN})."
        ),
    ] = None,
    name: Annotated[
        list[str] | None,
        _value("--name", "HOST", "Host name of the service; may be repeated."),
    ] = None,
    swap_folder: Annotated[
        Path | None, _value("--swap-folder", "DIR", "Directory that /swap may load indexes from.")
    ] = None,
    canary: Annotated[
        Path | None, _value("--canary", "FILE", "Queries that test an index before a swap.")
    ] = None,
    recall_drop: Annotated[
        float | None,
        _value(
            "--recall-drop", "F", "Recall that a swap may lose; needs an index with --refine rows."
        ),
    ] = None,
    overlap: Annotated[
        float | None,
        _value("--overlap", "F", "Minimum share of equal ids before and after a swap."),
    ] = None,
    batch: Annotated[
        bool, typer.Option(help="Search for concurrent requests in one batch.")
    ] = True,
    max_body: Annotated[int, _number("--max-body", "Maximum bytes per request.")] = 8_000_000,
    max_vectors: Annotated[int, _number("--max-vectors", "Maximum vectors per request.")] = 1024,
    max_k: Annotated[int, _number("--max-k", "Maximum neighbours per query.")] = 1000,
    max_connections: Annotated[
        int, _number("--max-connections", "Maximum open connections.")
    ] = 512,
    header_seconds: Annotated[
        float, _number("--header-seconds", "Time within which a request's header must arrive.")
    ] = 10.0,
    body_seconds: Annotated[
        float, _number("--body-seconds", "Time within which a request's body must arrive.")
    ] = 30.0,
    response_seconds: Annotated[
        float, _number("--response-seconds", "Time within which a client must read a response.")
    ] = 60.0,
    drain_seconds: Annotated[
        float,
        typer.Option(
            "--drain-seconds", min=0, help="Time between SIGTERM and the end of listening."
        ),
    ] = 5.0,
    shutdown_seconds: Annotated[
        float,
        typer.Option("--shutdown-seconds", min=0, help="Time for running requests after that."),
    ] = 30.0,
    save: Annotated[
        bool, typer.Option("--save", help="Write a changed index file back at exit.")
    ] = False,
    read_only: Annotated[
        bool,
        typer.Option("--read-only", help="Refuse changes; follow the writer of a folder."),
    ] = False,
    sync: Annotated[
        SyncName | None,
        _value("--sync", "WHEN", "When changes reach the disk: commit (default), interval, none."),
    ] = None,
    refresh_seconds: Annotated[
        float | None,
        _value("--refresh-seconds", "N", "How often to follow the writer (default: 1)."),
    ] = None,
) -> None:
    """Search and change an index by HTTP.

    One process serves all requests, and searches use all cores. Listening for
    other machines requires a token. A folder keeps what is added, from the
    moment of the response; of an index file, changes are in memory only.

    Example:
      waterfill serve corpus.wfx
      waterfill serve corpus.wfx --read-only
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
            f"--host {host} is open to other machines; give --token-file, or set {_TOKEN} in the "
            "environment"
        )
    _check_index(index)
    options: dict[str, Any] = {"--save": save, "--swap-folder": swap_folder, "--canary": canary}
    options |= {"--sync": sync, "--refresh-seconds": refresh_seconds}
    _require_fitting(index, read_only, options)
    if save:
        check_output(index, (), "--save")
    try:
        limits: dict[str, Any] = {}
        if limit is not None or report is not None or adaptive:
            limits["limit"] = _limit(limit, report, adaptive)
        settings = ServerSettings(
            token=token,
            names=name or (),
            batch=batch,
            max_body=max_body,
            max_vectors=max_vectors,
            max_k=max_k,
            max_connections=max_connections,
            header_seconds=header_seconds,
            body_seconds=body_seconds,
            response_seconds=response_seconds,
            swap_folder=swap_folder,
            gate=_gate(index, canary, recall_drop, overlap),
            read_only=read_only,
            refresh_seconds=1.0 if refresh_seconds is None else refresh_seconds,
            sync=(sync or SyncName.commit).value,
            **limits,
        )
    except ValueError as error:
        raise UsageError(str(error)) from None
    app = create_app(index, settings)
    service = app.state.service
    with listen(host, port) as listener:
        print_line(
            f"{address(listener)} serves {index}, {service.limiter.limit} concurrent requests"
            + ("" if token is None else ", with a token")
            + f"; {_fate_of_changes(index, save, read_only)}"
        )
        run(app, listener, drain_seconds, shutdown_seconds)
    _save_changes(service, index, save)
    print_line("stopped")


def _check_index(index: Path) -> None:
    if index.is_dir():
        read_index(index)  # takes milliseconds
    elif file_kind(index) in (None, "codec"):
        raise wf.FormatError(f"{index}: expected a waterfill index, as written by waterfill build")


def _require_fitting(index: Path, read_only: bool, options: dict[str, Any]) -> None:
    """Refuse options that do not go with the index, or with --read-only."""
    in_folder = index.is_dir()
    for option in (name for name, value in options.items() if value not in (None, False)):
        if in_folder and option in ("--save", "--swap-folder", "--canary"):
            raise UsageError(
                f"{option} is for an index file, and {index} is a folder, which keeps its changes; "
                "leave it out"
            )
        if not in_folder and option in ("--sync", "--refresh-seconds"):
            raise UsageError(
                f"{option} is for an index in a folder, and {index} is a file; make a folder by "
                "waterfill build FILES -o NAME.wfx"
            )
        if read_only and option in ("--save", "--sync"):
            raise UsageError(f"{option} is about changes, which --read-only refuses")
        if not read_only and option == "--refresh-seconds":
            raise UsageError(f"{option} is about changes by other processes; add --read-only")


def _fate_of_changes(index: Path, save: bool, read_only: bool) -> str:
    if read_only:
        return "read-only"
    if index.is_dir():
        return "changes are kept in the folder"
    return f"changes are in memory{', and written back at exit' if save else ' only'}"


def _token(path: Path | None) -> str | None:
    """Read the token; never from the command line, which other users of the machine can see."""
    from waterfill.server.settings import check_token

    if path is None:
        token, source = os.environ.get(_TOKEN), _TOKEN
    else:
        token, source = read_input(path).decode("utf-8", "replace").strip(), str(path)
    if token is None:
        return None
    try:
        return check_token(source, token)
    except ValueError as error:
        raise UsageError(str(error)) from None


def _limit(limit: int | None, report: Path | None, adaptive: bool) -> Any:
    if report is None:
        if adaptive:
            raise UsageError("--adaptive needs --report, which gives the bounds")
        return limit
    if limit is not None:
        raise UsageError("--limit and --report both set the limit; give one of them")
    loaded = wf.loadtest.CapacityReport.load(report)
    loaded.require_complete(f"--report {report}")
    return wf.Limiter.from_report(loaded, adaptive=adaptive, name="service")


def _gate(
    index: Path, canary: Path | None, recall_drop: float | None, overlap: float | None
) -> wf.lifecycle.Gate | None:
    if canary is None:
        if recall_drop is not None or overlap is not None:
            raise UsageError("--recall-drop and --overlap need --canary FILE")
        return None
    if recall_drop is None and overlap is None:
        raise UsageError("--canary needs --overlap, --recall-drop, or both")
    queries = Vectors(open_file(canary, None, (*QUERY_DATASETS, *BASE_DATASETS)), str(canary))
    d = wf.read_codec(index).d
    if queries.d != d:
        raise UsageError(
            f"--canary {canary}: expected {d} dimensions, as in {index}, got {queries.d}"
        )
    rows = queries.read(0, queries.n).astype(np.float32)
    return wf.lifecycle.Gate(rows, recall_drop=recall_drop, overlap=overlap)


def _save_changes(service: Any, path: Path, save: bool) -> None:
    """Write a changed index back with --save; otherwise warn that the changes are lost."""
    if not service.changed:
        return
    if not save:
        print_line(f"warning: changes to the index are lost; {path} is unchanged (see --save)")
        return
    wf.write_index(service.index.index, path)
    print_line(f"saved {service.index.ntotal:,} vectors in {path}")
