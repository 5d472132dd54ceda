"""The command ``waterfill remove``: remove vectors of an index in a folder by id."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import typer

from waterfill.cli.errors import UsageError
from waterfill.cli.folders import changed_folder
from waterfill.cli.inputs import read_ids
from waterfill.cli.options import FolderPath, Ids
from waterfill.cli.output import Output


def remove(
    out: Output,
    folder: FolderPath,
    numbers: Annotated[
        list[int] | None,
        typer.Argument(metavar="[IDS]", help="Ids of vectors.", show_default=False),
    ] = None,
    ids: Ids = None,
) -> None:
    """Remove vectors of an index in a folder by id.

    Ids that are not in the folder are ignored. compact gives the space back.

    Example:
      waterfill remove corpus.wfx 17 42
      waterfill remove corpus.wfx --ids old.txt
    """
    if bool(numbers) == (ids is not None):
        raise UsageError("expected the ids to remove, as arguments or by --ids FILE")
    for number in numbers or ():
        if not -(2**63) <= number < 2**63:
            raise UsageError(f"{number} is no id: expected an int64")
    chosen = np.array(numbers, np.int64) if ids is None else read_ids(ids)
    with changed_folder(folder) as index:
        with out.progress("removing"):
            removed = index.remove_ids(chosen)
            if removed:
                index.flush()
        left = index.ntotal
    document = {"folder": str(folder), "removed": removed, "n": left}
    out.show(document, f"{folder}: {removed:,} vectors removed, {left:,} left")
