"""What ``waterfill build`` does for an index in a folder: options, progress, and messages."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import waterfill as wf
from waterfill.building.progress import Progress
from waterfill.building.source import open_source
from waterfill.cli.description import Index
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
) -> tuple[Index, dict[str, Any]]:
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
    with _shown(out) as progress, _explained(output):
        built = wf.build(
            source,
            output,
            codec if isinstance(codec, wf.Codec) else wf.Recipe(source.d, **codec),
            ids=ids,
            policy="drop" if options.drop else "raise",
            workers=options.workers,
            memory=_MEMORY if options.memory is None else options.memory,
            queries=query_rows,
            progress=progress,
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


@contextmanager
def _shown(out: Output) -> Iterator[Any]:
    """Show progress: a bar on a terminal, otherwise a line from time to time."""
    with ExitStack() as bars:
        yield _Shown(out, bars)


class _Shown:
    """Shows each phase of a build by a bar of its own."""

    def __init__(self, out: Output, bars: ExitStack) -> None:
        self._out, self._bars = out, bars
        self._phase, self._done = "", 0
        self._advance: Any = None
        self._line = time.monotonic()

    def __call__(self, progress: Progress) -> None:
        if progress.phase != self._phase:
            self._bars.close()
            self._phase, self._done = progress.phase, 0
            bar = self._out.progress(progress.phase, progress.total)
            self._advance = self._bars.enter_context(bar)
        if progress.done > self._done:
            self._advance(progress.done - self._done)
            self._done = progress.done
        if not os.isatty(2) and time.monotonic() - self._line > _LINE_SECONDS:
            self._line = time.monotonic()
            print_line(str(progress))
