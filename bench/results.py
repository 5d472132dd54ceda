"""Results of the accuracy benchmark: stored as JSON, printed as Markdown."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

_HEAD = ("index", "bytes", "in memory", "recall@10", "train s", "add s", "search s", "QPS")


@dataclass(frozen=True)
class Result:
    """The measurements of one method.

    Attributes
    ----------
    family
        The method without its size; one line of the plot.
    size
        Stored bytes per vector, including side information.
    memory
        Bytes of memory per stored vector, including partly filled blocks, spare capacity and the
        insertion order; None if the library does not report it.
    remark
        A note on this row, printed after the name.
    """

    name: str
    library: str
    family: str
    size: int
    recall: float
    train: float
    add: float
    search: float
    qps: float
    memory: float | None = None
    remark: str = ""

    def row(self) -> str:
        """Return a row of the Markdown table."""
        cells = (
            self.name + (f" ({self.remark})" if self.remark else ""),
            str(self.size),
            "" if self.memory is None else f"{self.memory:.1f}",
            f"{self.recall:.3f}",
            f"{self.train:.1f}",
            f"{self.add:.2f}",
            f"{self.search:.3f}",
            f"{self.qps:,.0f}",
        )
        return f"| {' | '.join(cells)} |"


@dataclass
class Section:
    """The results of one data set and metric, keyed by method name."""

    title: str
    results: dict[str, Result] = field(default_factory=dict)

    def table(self, names: Sequence[str]) -> Iterator[str]:
        """Yield a Markdown table of the named methods, followed by footnotes."""
        yield f"| {' | '.join(_HEAD)} |"
        yield "|---" + "|--:" * (len(_HEAD) - 1) + "|"
        shown = [self.results[name] for name in names if name in self.results]
        yield from (result.row() for result in shown)
        yield from _footnotes(shown)


class Results:
    """Sections by title, optionally backed by a file so that an interrupted run can resume."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self.sections: dict[str, Section] = {}
        if path is not None and path.is_file():
            stored: Mapping[str, list[dict[str, Any]]] = json.loads(path.read_text())
            for title, rows in stored.items():
                results = (Result(**row) for row in rows)
                self.sections[title] = Section(title, {one.name: one for one in results})

    def section(self, title: str) -> Section:
        """Return the section with this title; create it if it does not exist."""
        return self.sections.setdefault(title, Section(title))

    def keep(self, title: str, result: Result) -> None:
        """Add or replace a result and write the file."""
        self.section(title).results[result.name] = result
        if self._path is None:
            return
        stored = {
            one.title: [asdict(result) for result in one.results.values()]
            for one in self.sections.values()
        }
        write_json(self._path, stored)


def write_json(path: Path, value: object) -> None:
    """Write a JSON file atomically: an interrupted run leaves the old file or the new one."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(value, indent=1) + "\n")
    os.replace(partial, path)


def _footnotes(shown: Sequence[Result]) -> Iterator[str]:
    if any(one.memory is not None for one in shown):
        yield ""
        yield (
            "Bytes: stored bytes per vector. With cells, waterfill also stores the insertion "
            "order, 1.3 to 1.7 bytes per vector, and fills the last block of each cell only "
            "partly. In memory: bytes per vector including these and spare capacity; not reported "
            "by peers."
        )
