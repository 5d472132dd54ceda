"""The output of a command: a JSON document, or tables and a progress bar."""

from __future__ import annotations

import json
import math
import re
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

_DELAY = 1.0  # seconds before a bar appears

Advance = Callable[[int], None]


@dataclass(frozen=True)
class Output:
    """Prints results on stdout, and progress on stderr.

    Attributes
    ----------
    json : bool
        Print one JSON document instead of tables.
    """

    json: bool = False

    def show(self, document: dict[str, Any], *tables: Table | str) -> None:
        """Print the document if `json`, otherwise the tables."""
        if self.json:
            print(json.dumps(_plain(document), indent=2, allow_nan=False))
            return
        console = Console(highlight=False)
        for table in tables:
            console.print(table, markup=False, soft_wrap=isinstance(table, str))

    @contextmanager
    def progress(
        self, what: str, total: int | None = None, then: str | None = None
    ) -> Iterator[Advance]:
        """Show a progress bar after a second, if stderr is a terminal.

        Parameters
        ----------
        what : str
            Name of the step.
        total : int, optional
            Number of vectors; without it only the elapsed time is shown.
        then : str, optional
            Name of the step that follows once all vectors are done.

        Yields
        ------
        callable
            To be called with the number of vectors of each block that is done.
        """
        if not sys.stderr.isatty():
            yield lambda n: None
            return
        bar = _Bar(what, total, then)
        try:
            yield bar.advance
        finally:
            bar.stop()

    @contextmanager
    def trace(self, what: str) -> Iterator[Callable[[str], None]]:
        """Show the elapsed time and lines of progress, if stderr is a terminal.

        Parameters
        ----------
        what : str
            Name of the step.

        Yields
        ------
        callable
            To be called with each line.
        """
        if not sys.stderr.isatty():
            yield lambda line: None
            return
        bar = _Bar(what, None, None)
        try:
            yield bar.write
        finally:
            bar.stop()


_NAME = TextColumn("{task.description}")
_ELAPSED: tuple[ProgressColumn, ...] = (_NAME, SpinnerColumn("line"), TimeElapsedColumn())


class _Rate(ProgressColumn):
    """Vectors per second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f}/s")


class _Bar:
    """A progress bar that appears only if the step takes longer than `_DELAY`."""

    def __init__(self, what: str, total: int | None, then: str | None) -> None:
        columns = _ELAPSED
        if total is not None:
            columns = (_NAME, BarColumn(), _Rate(), TextColumn("left"), TimeRemainingColumn())
        self._progress = Progress(*columns, console=Console(stderr=True), transient=True)
        self._task = self._progress.add_task(what, total=total)
        self._left, self._then = total, then
        self._lock = threading.Lock()
        self._ended = False
        self._timer = threading.Timer(_DELAY, self._start)
        self._timer.daemon = True
        self._timer.start()

    def _start(self) -> None:
        with self._lock:
            if not self._ended:
                self._progress.start()

    def advance(self, n: int) -> None:
        self._progress.advance(self._task, n)
        if self._left is not None:
            self._left -= n
            if self._left <= 0 and self._then is not None:
                self._left = None
                self._progress.columns = _ELAPSED
                self._progress.reset(self._task, total=None, description=self._then)

    def write(self, line: str) -> None:
        self._progress.console.print(line, markup=False, highlight=False)

    def stop(self) -> None:
        self._timer.cancel()
        with self._lock:
            self._ended = True
            self._progress.stop()


def pairs(title: str, values: dict[str, Any]) -> Table:
    """Make a table of names and values."""
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=None,
        show_header=False,
        pad_edge=False,
    )
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in values.items():
        table.add_row(name, Text(str(value)))
    return table


def grid(title: str | None, header: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Make a table with a header; columns of numbers are right-aligned."""
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    for i, name in enumerate(header):
        numeric = all(re.fullmatch(r"[\d.,]+|-", row[i]) for row in rows)
        table.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(value) for value in row))
    return table


def size(n: float) -> str:
    """Format a number of bytes; a kB has 1,000."""
    for unit in ("bytes", "kB", "MB"):
        if n < 1000:
            return f"{n:,.0f} {unit}" if unit == "bytes" else f"{n:,.1f} {unit}"
        n /= 1000
    return f"{n:,.1f} GB"


def _plain(value: Any) -> Any:
    """Convert to types that JSON has; NaN and infinities become null."""
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return str(value)
