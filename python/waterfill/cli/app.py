"""The application ``waterfill``: the list of its commands, and how one is run."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

import waterfill as wf
from waterfill.cli.commands.add import add
from waterfill.cli.commands.analyze import analyze
from waterfill.cli.commands.bench import bench
from waterfill.cli.commands.build import build
from waterfill.cli.commands.compact import compact
from waterfill.cli.commands.compress import compress
from waterfill.cli.commands.drift import drift
from waterfill.cli.commands.encode import encode
from waterfill.cli.commands.estimate import estimate
from waterfill.cli.commands.evaluate import evaluate
from waterfill.cli.commands.export_faiss import export_faiss
from waterfill.cli.commands.info import info
from waterfill.cli.commands.managed import health, maintain, open_
from waterfill.cli.commands.optimize import optimize
from waterfill.cli.commands.ramp import ramp
from waterfill.cli.commands.recall import recall
from waterfill.cli.commands.remove import remove
from waterfill.cli.commands.report import report
from waterfill.cli.commands.reproduce import reproduce
from waterfill.cli.commands.search import search
from waterfill.cli.commands.serve import serve
from waterfill.cli.commands.train import train
from waterfill.cli.errors import print_error, show_warnings
from waterfill.cli.options import command, help_text

app = typer.Typer(
    name="waterfill",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
for function in (
    *(analyze, optimize, train, encode, build, search, info),
    *(recall, evaluate, compress, export_faiss),
    *(add, remove, compact, estimate),
    *(open_, health, maintain),
    *(bench, report, reproduce, drift, ramp, serve),
):
    command(app, function)


def _print_version(requested: bool) -> None:
    if requested:
        print(f"waterfill {wf.__version__}")
        raise typer.Exit


def _application(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Compress vectors and search them.

    Example:
      waterfill analyze base.npy
      waterfill build base.npy --code-bytes 48 -o base.wf
      waterfill search base.wf query.npy -k 10
    """


app.callback(help=help_text(_application))(_application)


def _exit_on_signal(number: int, frame: object) -> None:
    """Raise, so that temporary files are removed, as after Ctrl-C."""
    raise SystemExit(128 + number)


def run(arguments: Sequence[str]) -> int:
    """Run a command, and return its exit code."""
    show_warnings()
    signal.signal(signal.SIGTERM, _exit_on_signal)
    try:
        code = app(list(arguments) or ["--help"], prog_name="waterfill", standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, such as `head`, has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (Exception, KeyboardInterrupt) as error:
        return print_error(error)
    return code if isinstance(code, int) else 0
