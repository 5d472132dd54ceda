"""What the accuracy bench measured: kept in a JSON file, printed as Markdown."""

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
    """What was measured of one method.

    Attributes
    ----------
    family
        The method, whatever its size: what one line of the picture is drawn of.
    size
        Bytes that are stored of one vector, side information included.
    memory
        Bytes of memory a stored vector, where the library tells: half-empty blocks, room for
        growth and the order in which vectors came included.
    remark
        What a reader of the table must know of this row alone.
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
        """Return it as a row of the table."""
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
    """The results of one set of vectors and metric, by the names of the methods."""

    title: str
    results: dict[str, Result] = field(default_factory=dict)

    def table(self, names: Sequence[str]) -> Iterator[str]:
        """Yield the lines of a Markdown table of those named, footnotes below."""
        yield f"| {' | '.join(_HEAD)} |"
        yield "|---" + "|--:" * (len(_HEAD) - 1) + "|"
        shown = [self.results[name] for name in names if name in self.results]
        yield from (result.row() for result in shown)
        yield from _footnotes(shown)


class Results:
    """Sections by title; in a file too where there is one, so that a run can be taken up again."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self.sections: dict[str, Section] = {}
        if path is not None and path.is_file():
            kept: Mapping[str, list[dict[str, Any]]] = json.loads(path.read_text())
            for title, rows in kept.items():
                results = (Result(**row) for row in rows)
                self.sections[title] = Section(title, {one.name: one for one in results})

    def section(self, title: str) -> Section:
        """Return the section of this title, an empty one where it is new."""
        return self.sections.setdefault(title, Section(title))

    def keep(self, title: str, result: Result) -> None:
        """Take a result in, in the place of an older one, and write the file."""
        self.section(title).results[result.name] = result
        if self._path is None:
            return
        kept = {
            one.title: [asdict(result) for result in one.results.values()]
            for one in self.sections.values()
        }
        write_json(self._path, kept)


def write_json(path: Path, value: object) -> None:
    """Write a file in one step: an interrupted run leaves the old file or the new one."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(value, indent=1) + "\n")
    os.replace(partial, path)


def _footnotes(shown: Sequence[Result]) -> Iterator[str]:
    if any(one.memory is not None for one in shown):
        yield ""
        yield (
            "Bytes are those of a stored vector. With cells waterfill keeps the order in which "
            "vectors came on top, 1.3 to 1.7 bytes a vector, and fills every cell's last block in "
            "part. In memory: all of that and room for growth, a vector; peers do not tell theirs."
        )
