"""The output of a command: a JSON document, or tables and a progress bar."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from waterfill._util.progress import metered

Advance = Callable[[int], None]


@dataclass(frozen=True)
class Output:
    """Prints results on stdout, and progress on stderr.

    Attributes
    ----------
    json : bool
        Print one JSON document instead of tables.
    quiet : bool
        Show no progress.
    """

    json: bool = False
    quiet: bool = False

    def show(self, document: dict[str, Any], *tables: Table | str) -> None:
        """Print the document if `json`, otherwise the tables."""
        if self.json:
            print(json.dumps(_plain(document), indent=2, allow_nan=False))
            return
        console = Console(highlight=False)
        for table in tables:
            console.print(table, markup=False, soft_wrap=isinstance(table, str))

    @property
    def shown(self) -> bool | None:
        """What calls take as `progress`: a bar on a terminal, unless the command is quiet."""
        return None if sys.stderr.isatty() and not self.quiet else False

    @contextmanager
    def progress(
        self, what: str, total: int | None = None, then: str | None = None
    ) -> Iterator[Advance]:
        """Show progress, as `shown` says.

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
        with metered(self.shown) as meter:
            meter.begin(what, total)
            done = 0

            def advance(n: int) -> None:
                nonlocal done
                done += n
                meter.advance(n)
                if then is not None and total is not None and done - n < total <= done:
                    meter.begin(then, None)

            yield advance

    @contextmanager
    def trace(self, what: str) -> Iterator[Callable[[str], None]]:
        """Show the elapsed time and lines of progress, as `shown` says.

        Parameters
        ----------
        what : str
            Name of the step.

        Yields
        ------
        callable
            To be called with each line.
        """
        with metered(self.shown) as meter:
            meter.begin(what, None)
            yield meter.note


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
