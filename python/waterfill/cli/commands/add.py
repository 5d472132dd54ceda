"""The command ``waterfill add``: add vectors to an index in a folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from waterfill.cli.errors import UsageError, print_line
from waterfill.cli.folders import changed_folder
from waterfill.cli.inputs import Vectors, add_parts, open_parts, read_ids
from waterfill.cli.options import FolderPath, Format, Ids, Key
from waterfill.cli.output import Output
from waterfill.index.selector_members import sorted_unique


def add(
    out: Output,
    folder: FolderPath,
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILES",
            help="Files of vectors, which are added in this order.",
            show_default=False,
        ),
    ],
    ids: Ids = None,
    upsert: Annotated[
        bool, typer.Option("--upsert", help="Replace vectors that have one of the --ids.")
    ] = False,
    key: Key = None,
    format: Format = None,
) -> None:
    """Add vectors to an index in a folder.

    Without --ids, vectors are numbered from the largest id that the folder
    ever had. Blocks that were added stay, also if a later one fails; with
    --upsert the command can be repeated.

    Example:
      waterfill add corpus.wfx new.npy
      waterfill add corpus.wfx new.npy --ids ids.npy --upsert
    """
    if upsert and ids is None:
        raise UsageError("--upsert needs --ids FILE, the ids of the vectors to replace")
    parts = open_parts(files, key, format)
    n = sum(part.n for part in parts)
    numbers = None if ids is None else _new_ids(ids, n, distinct=upsert)
    with changed_folder(folder) as index:
        _require_dimensions(folder, parts, index.d)
        before, addition = index.ntotal, _Addition(index, numbers, upsert)
        try:
            add_parts(out, addition, parts)
        except BaseException:
            if addition.done:
                print_line(
                    f"note: the first {addition.done:,} of {n:,} vectors are in {folder} now"
                )
            raise
        after = index.ntotal
        with out.progress("writing"):
            index.flush()
            index.close()
    document = {"folder": str(folder), "added": n, "replaced": before + n - after, "n": after}
    replaced = f", {before + n - after:,} replaced" if upsert else ""
    out.show(document, f"{folder}: {n:,} vectors added{replaced}, {after:,} in all")


class _Addition:
    """Adds blocks of vectors, with the ids that belong to them.

    Attributes
    ----------
    done : int
        Number of vectors that were added.
    """

    def __init__(self, index: Any, ids: NDArray[np.int64] | None, upsert: bool) -> None:
        self._index, self._ids = index, ids
        with_ids: Callable[[Any, Any], object] = index.add_with_ids
        self._add = (lambda x, ids: index.upsert(ids, x)) if upsert else with_ids
        self.done = 0

    def __call__(self, block: Any) -> None:
        n = len(block)
        if self._ids is None:
            self._index.add(block)
        else:
            self._add(block, self._ids[self.done : self.done + n])
        self.done += n


def _new_ids(path: Path, n: int, *, distinct: bool) -> NDArray[np.int64]:
    ids = read_ids(path, n)
    if (ids == -1).any():
        raise ValueError(f"{path}: id -1 stands for a missing result; give another")
    if distinct and len(sorted_unique(ids)) != n:
        raise ValueError(f"{path}: expected each id once, because --upsert replaces vectors")
    return ids


def _require_dimensions(folder: Path, parts: list[Vectors], d: int) -> None:
    for part in parts:
        if part.d != d:
            raise ValueError(f"{part.name}: expected {d} dimensions, as in {folder}, got {part.d}")
