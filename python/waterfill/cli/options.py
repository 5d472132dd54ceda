"""Options that several commands have, and the way a command is made."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

import waterfill as wf
from waterfill.cli.errors import UsageError, report
from waterfill.cli.output import Output


class MetricName(str, Enum):
    """What is near."""

    ip = "ip"
    l2 = "l2"
    cosine = "cosine"


class EffortName(str, Enum):
    """How long training may think."""

    fast = "fast"
    balanced = "balanced"
    best = "best"


class RefineName(str, Enum):
    """Rows that an index keeps for exact scores."""

    float16 = "float16"
    int8 = "int8"
    float32 = "float32"


VectorFile = Annotated[
    Path,
    typer.Argument(
        metavar="FILE",
        help="Vectors: .npy .npz .fvecs .bvecs .ivecs .fbin .u8bin .i8bin .h5 .hdf5 .parquet "
        ".arrow .feather",
        show_default=False,
    ),
]
Key = Annotated[
    str | None,
    typer.Option(
        "--key",
        "--column",
        metavar="NAME",
        help="Array of an .npz, dataset of an HDF5 file (default: train), column of a table.",
        show_default=False,
    ),
]
Queries = Annotated[
    Path | None,
    typer.Option(
        "--queries",
        metavar="FILE",
        help="Queries like those to come (of an HDF5 file: its dataset test).",
        show_default=False,
    ),
]
QueriesKey = Annotated[
    str | None,
    typer.Option(
        "--queries-key", metavar="NAME", help="As --key, of the queries.", show_default=False
    ),
]
Metric = Annotated[MetricName, typer.Option("--metric", help="What is near.")]
UsualMetric = Annotated[
    MetricName | None,
    typer.Option(
        "--metric",
        help="What is near (default: ip, or cosine for a codec that normalises).",
        show_default=False,
    ),
]
Seed = Annotated[int, typer.Option("--seed", help="Of all draws: the same seed, the same codes.")]
CodeBytes = Annotated[
    int, typer.Option("--code-bytes", metavar="N", help="Bytes of a code; one more is its scale.")
]
Effort = Annotated[EffortName, typer.Option("--effort", help="How long training may take.")]
Neighbours = Annotated[int, typer.Option("-k", help="Neighbours of a query.")]


def out_file(what: str, metavar: str = "FILE") -> Any:
    """Make the option that names the file to write."""
    return typer.Option(
        "-o",
        "--output",
        metavar=metavar,
        help=f"{what}; appears whole or not at all.",
        show_default=False,
    )


_COMMON: dict[str, Any] = {
    "threads": Annotated[
        int | None,
        typer.Option(
            "--threads", metavar="N", help="Threads to use (default: all).", show_default=False
        ),
    ],
    "json": Annotated[
        bool, typer.Option("--json", help="Print one JSON document, and nothing else.")
    ],
    "debug": Annotated[bool, typer.Option("--debug", help="Show tracebacks.")],
}
_DEFAULTS: dict[str, Any] = {"threads": None, "json": False, "debug": False}


def _use_threads(number: int | None) -> None:
    if number is None:
        return
    try:
        wf.set_num_threads(number)
    except ValueError as error:
        raise UsageError(str(error).replace("n=", "--threads=", 1)) from None


def help_text(function: Callable[..., Any]) -> str:
    """Return a docstring as help, its example line by line."""
    return inspect.cleandoc(function.__doc__ or "").replace("Example:", "\b\nExample:")


def command(app: typer.Typer, name: str, function: Callable[..., Any]) -> None:
    """Add a function as a command: with the common options, and errors as one line.

    The function takes an `Output`, then what is asked for. What it returns is the exit code; None
    is 0.
    """
    own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
    annotations = {each.name: each.annotation for each in own} | _COMMON
    defaults = {each.name: each.default for each in own} | _DEFAULTS

    def run(**given: Any) -> None:
        common = {option: given.pop(option) for option in _COMMON}
        try:
            _use_threads(common["threads"])
            code = function(Output(common["json"]), **given)
        except (Exception, KeyboardInterrupt) as error:
            if isinstance(error, typer.Exit | BrokenPipeError):
                raise
            code = report(error, annotations, debug=common["debug"])
        raise typer.Exit(code or 0)

    run.__name__, run.__doc__ = function.__name__, help_text(function)
    run.__annotations__ = annotations
    kind = inspect.Parameter.KEYWORD_ONLY
    run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(option, kind, default=defaults[option], annotation=annotation)
            for option, annotation in annotations.items()
        ]
    )
    app.command(name)(run)
