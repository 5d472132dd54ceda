"""The application: its commands, and how they are run."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

import waterfill as wf
from waterfill.cli.commands import analyze, build, drift, optimize, ramp, search, serve
from waterfill.cli.errors import report, show_warnings
from waterfill.cli.options import command, help_text

app = typer.Typer(
    name="waterfill",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
for name, function in (
    ("analyze", analyze.analyze),
    ("optimize", optimize.optimize),
    ("train", build.train),
    ("encode", build.encode),
    ("build", build.build),
    ("search", search.search),
    ("info", search.info),
    ("export-faiss", search.export_faiss),
    ("bench", analyze.bench),
    ("report", optimize.report),
    ("reproduce", analyze.reproduce),
    ("drift", drift.drift),
    ("ramp", ramp.ramp),
    ("serve", serve.serve),
):
    command(app, name, function)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"waterfill {wf.__version__}")
        raise typer.Exit


def _application(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Print the version, and exit."
        ),
    ] = False,
) -> None:
    """Compress vectors, and search them.

    Example:
      waterfill analyze base.npy
      waterfill build base.npy --code-bytes 48 -o base.wf
      waterfill search base.wf query.npy -k 10
    """


app.callback(help=help_text(_application))(_application)


def _end(number: int, frame: object) -> None:
    """Take temporary files away, as after Ctrl-C, when asked to end."""
    raise SystemExit(128 + number)


def run(arguments: Sequence[str]) -> int:
    """Run a command; return its exit code."""
    show_warnings()
    signal.signal(signal.SIGTERM, _end)
    try:
        code = app(list(arguments) or ["--help"], prog_name="waterfill", standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (Exception, KeyboardInterrupt) as error:
        return report(error)
    return code if isinstance(code, int) else 0
