"""Options that several commands share, and the conversion of a function to a command."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

import waterfill as wf
from waterfill.cli.errors import UsageError, print_error
from waterfill.cli.output import Output
from waterfill.data.vector_files import FORMATS
from waterfill.optimizer.objective import NAMED
from waterfill.training.cells import MAX_CELLS


class MetricName(str, Enum):
    """Similarity measures."""

    ip = "ip"
    l2 = "l2"
    cosine = "cosine"


class EffortName(str, Enum):
    """Levels of training time."""

    fast = "fast"
    balanced = "balanced"
    best = "best"


class RefineName(str, Enum):
    """Types of the rows that an index stores to rescore candidates."""

    float16 = "float16"
    int8 = "int8"
    float32 = "float32"


class AccuracyName(str, Enum):
    """What a target of the optimizer is measured by."""

    recall = "recall"
    forgiving_accuracy = "forgiving_accuracy"


def _value(names: str, metavar: str, help_: str) -> Any:
    """Make an option without a default, of one or more names."""
    return typer.Option(*names.split(), metavar=metavar, help=help_, show_default=False)


_FORMATS = " ".join(FORMATS)

VectorFile = Annotated[
    Path,
    typer.Argument(
        metavar="FILE",
        help="Vectors: " + " ".join(f".{name}" for name in FORMATS),
        show_default=False,
    ),
]
IndexFile = Annotated[
    Path, typer.Argument(metavar="INDEX", help="A waterfill index: a file or a folder.")
]
FolderPath = Annotated[
    Path, typer.Argument(metavar="FOLDER", help="An index in a folder, as written by build.")
]
Ids = Annotated[
    Path | None,
    _value("--ids", "FILE", "Ids: a .npy file of integers, or text with an id on each line."),
]
Key = Annotated[
    str | None,
    _value(
        "--key --column",
        "NAME",
        "Array of an .npz, dataset of an HDF5 file (default: train), column of a table.",
    ),
]
Format = Annotated[
    str | None,
    _value("--format", "NAME", f"Format of the files, if their names do not tell: {_FORMATS}."),
]
Queries = Annotated[
    Path | None,
    _value(
        "--queries",
        "FILE",
        "Sample of the queries to expect (of an HDF5 file: its dataset test).",
    ),
]
QueriesKey = Annotated[str | None, _value("--queries-key", "NAME", "Like --key, for the queries.")]
QueriesFormat = Annotated[
    str | None, _value("--queries-format", "NAME", "Like --format, for the queries.")
]
Metric = Annotated[MetricName, typer.Option("--metric", help="Similarity measure.")]
OptionalMetric = Annotated[
    MetricName | None,
    typer.Option(
        "--metric",
        help="Similarity measure (default: ip, or cosine if the codec normalises).",
        show_default=False,
    ),
]
Seed = Annotated[int, typer.Option("--seed", help="Random seed; equal seeds give equal codes.")]
CodeBytes = Annotated[
    int,
    typer.Option(
        "--code-bytes", metavar="N", help="Code bytes per vector; the scale takes one more."
    ),
]
Effort = Annotated[EffortName, typer.Option("--effort", help="How much time training may take.")]
Neighbours = Annotated[int, typer.Option("-k", help="Neighbours per query.")]
Accuracy = Annotated[
    AccuracyName,
    typer.Option(
        "--accuracy",
        help="Measure of the target; forgiving_accuracy: half of the true neighbours count as all.",
    ),
]
TargetRecall = Annotated[
    float | None, _value("--target-recall", "R", "Find the fewest bytes that reach this recall@k.")
]
MaxBytes = Annotated[
    float | None, _value("--max-bytes", "N", "Find the best recall in N bytes per vector.")
]
Objective = Annotated[str | None, _value("--objective", "NAME", f"Maximise {' or '.join(NAMED)}.")]
Ntotal = Annotated[
    int | None,
    _value("--ntotal", "N", "Size of the full collection; recall falls as it grows."),
]
PricePerGb = Annotated[
    float | None, _value("--price-per-gb", "P", "Price of a GB of memory per month.")
]
TimeBudget = Annotated[
    float | None, _value("--time-budget", "SECONDS", "Start no new trial after this time.")
]


Cells = Annotated[
    str | None,
    _value(
        "--cells",
        "N",
        "Cells that vectors are coded relative to, 0 for none (default: auto, as many as help).",
    ),
]


def cells_of(cells: str | None) -> int | Literal["auto"]:
    """Return the number of cells that --cells gives."""
    if cells is None or cells == "auto":
        return "auto"
    if not cells.isdecimal() or int(cells) > MAX_CELLS:
        raise UsageError(f"--cells {cells}: expected auto, or a number from 0 to {MAX_CELLS:,}")
    return int(cells)


def out_file(what: str, metavar: str = "FILE") -> Any:
    """Make the option that names the output file."""
    return _value("-o --output", metavar, f"{what}; written completely or not at all.")


_COMMON: dict[str, Any] = {
    "threads": Annotated[
        int | None, _value("--threads", "N", "Number of threads (default: all cores).")
    ],
    "json": Annotated[bool, typer.Option("--json", help="Print a single JSON document.")],
    "verbose": Annotated[
        int,
        typer.Option("--verbose", "-v", count=True, help="Log what is done; twice: also details."),
    ],
    "quiet": Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")],
    "debug": Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")],
}
_DEFAULTS: dict[str, Any] = {
    "threads": None,
    "json": False,
    "verbose": 0,
    "quiet": False,
    "debug": False,
}


def _use_threads(number: int | None) -> None:
    if number is None:
        return
    try:
        wf.set_num_threads(number)
    except ValueError as error:
        raise UsageError(str(error).replace("n is ", "--threads is ", 1)) from None


def log_to_stderr(verbose: int) -> None:
    """Print what waterfill logs on stderr: at INFO, or from 2 on at DEBUG."""
    logger = logging.getLogger("waterfill")
    for handler in [each for each in logger.handlers if isinstance(each, _StderrHandler)]:
        logger.removeHandler(handler)
    if not verbose:
        logger.setLevel(logging.NOTSET)
        return
    handler = _StderrHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s: %(message)s", "%H:%M:%S"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO if verbose == 1 else logging.DEBUG)


class _StderrHandler(logging.StreamHandler[Any]):
    """A handler that a later command of the process replaces."""


def help_text(function: Callable[..., Any]) -> str:
    """Return a docstring as help text that keeps the lines of its example."""
    return inspect.cleandoc(function.__doc__ or "").replace("Example:", "\b\nExample:")


def command(app: typer.Typer, function: Callable[..., Any]) -> None:
    """Add a function to the application, with the common options and one-line errors.

    The function has the command's name. It takes an `Output` and then its own arguments and
    options, and returns the exit code, or None for 0.
    """
    own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
    annotations = {each.name: each.annotation for each in own} | _COMMON
    defaults = {each.name: each.default for each in own} | _DEFAULTS

    def run(**values: Any) -> None:
        common = {option: values.pop(option) for option in _COMMON}
        try:
            _use_threads(common["threads"])
            log_to_stderr(common["verbose"])
            code = function(Output(common["json"], common["quiet"]), **values)
        except (Exception, KeyboardInterrupt) as error:
            if isinstance(error, typer.Exit | BrokenPipeError):
                raise
            code = print_error(error, annotations, debug=common["debug"])
        raise typer.Exit(code or 0)

    run.__name__, run.__doc__ = function.__name__, help_text(function)
    run.__annotations__ = annotations
    kind = inspect.Parameter.KEYWORD_ONLY
    vars(run)["__signature__"] = inspect.Signature(
        [
            inspect.Parameter(option, kind, default=defaults[option], annotation=annotation)
            for option, annotation in annotations.items()
        ]
    )
    app.command(function.__name__.rstrip("_").replace("_", "-"))(run)
