"""What ``waterfill build`` does for an index in a folder: options, progress, and messages."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import waterfill as wf
from waterfill._util.progress import Progress
from waterfill.building.source import open_source
from waterfill.cli.errors import UsageError, print_line
from waterfill.cli.folders import read_index
from waterfill.cli.inputs import open_queries, read_ids
from waterfill.cli.output import Output

_MEMORY = "1GB"
_LINE_SECONDS = 30.0  # between lines of progress, where there is no terminal


@dataclass(frozen=True)
class FolderOptions:
    """Options of ``build`` that apply to a folder alone, and those of its files."""

    ids: Path | None = None
    id_column: str | None = None
    drop: bool = False
    workers: int | None = None
    memory: str | None = None
    key: str | None = None
    format: str | None = None

    def refuse(self, output: Path) -> None:
        """Raise UsageError if one is given for an index in a file."""
        given = {
            "ids": self.ids,
            "id-column": self.id_column,
            "drop": self.drop or None,
            "workers": self.workers,
            "memory": self.memory,
        }
        for name, value in given.items():
            if value is not None:
                raise UsageError(
                    f"--{name} applies to an index in a folder; give -o {output.stem}.wfx"
                )


def build_folder(
    out: Output,
    files: list[Path],
    output: Path,
    codec: wf.Codec | Mapping[str, Any],
    options: FolderOptions,
    queries: tuple[Path | None, str | None, str | None],
    **settings: Any,
) -> tuple[wf.IndexFlat | wf.IndexIVF, dict[str, Any]]:
    """Build a folder; return the index in it, and what is to be said of the build.

    Parameters
    ----------
    codec : Codec or dict
        The codec, or the arguments of a recipe.
    queries : tuple
        File, key and format.
    settings : dict
        Other arguments of `waterfill.build`.
    """
    if options.ids is not None and options.id_column is not None:
        raise UsageError("--ids and --id-column both give ids; give one of them")
    source = open_source([str(path) for path in files], options.key, options.format)
    for name in source.skipped:
        print_line(f"note: {name} has no rows, and is skipped")
    query_rows = open_queries(queries[0], queries[1], source.d, queries[2])
    ids: Any = options.id_column
    if options.ids is not None:
        ids = read_ids(options.ids, getattr(source, "n", None))
    with _explained(output):
        built = wf.build(
            source,
            output,
            codec if isinstance(codec, wf.Codec) else wf.Recipe(source.d, **codec),
            ids=ids,
            policy="drop" if options.drop else "raise",
            workers=options.workers,
            memory=_MEMORY if options.memory is None else options.memory,
            queries=query_rows,
            progress=_Lines() if out.shown is False and not out.quiet else out.shown,
            **settings,
        )
    if built.finished_before:
        print_line(f"note: {output} was finished before; nothing was done")
    elif built.resumed:
        print_line(f"note: {built.resumed} segments are those of an earlier run")
    said = {
        "segments": built.segments,
        "finished_before": built.finished_before,
        "resumed": built.resumed,
        "left_out": built.left_out,
    }
    return read_index(output), said


@contextmanager
def _explained(output: Path) -> Iterator[None]:
    """Say what can be done after an interruption, or about another process."""
    try:
        yield
    except BlockingIOError as error:
        reason = str(error.strerror).partition(";")[0]
        raise BlockingIOError(error.errno, f"{reason}; end it first", str(output)) from None
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"repeat the command to go on with {output}") from None


class _Lines:
    """Prints a line of progress from time to time."""

    def __init__(self) -> None:
        self._next = time.monotonic() + _LINE_SECONDS

    def __call__(self, progress: Progress) -> None:
        if time.monotonic() > self._next:
            self._next = time.monotonic() + _LINE_SECONDS
            print_line(str(progress))
