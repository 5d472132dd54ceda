"""The commands ``waterfill open``, ``health`` and ``maintain``: folders that manage themselves."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import waterfill as wf
from waterfill.cli.errors import UsageError
from waterfill.cli.folders import changed_folder, explained
from waterfill.cli.options import FolderPath, MetricName
from waterfill.cli.output import Output

if TYPE_CHECKING:
    from waterfill.managed.index import ManagedIndex

_NOT_MANAGED = "expected a managed folder; waterfill open FOLDER --dim D makes one"


def open_(
    out: Output,
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="The folder to make or to open.")
    ],
    dim: Annotated[
        int, typer.Option("--dim", min=1, metavar="D", help="Dimensions of the vectors.")
    ],
    metric: Annotated[MetricName, typer.Option("--metric", help="Similarity.")] = MetricName.cosine,
    target_recall: Annotated[
        float | None,
        typer.Option(
            "--target-recall",
            metavar="R",
            help="Recall@10 to keep with the fewest bytes; 0.9 by default.",
            show_default=False,
        ),
    ] = None,
    code_bytes: Annotated[
        int | None,
        typer.Option(
            "--code-bytes", metavar="N", help="Bytes of a code instead.", show_default=False
        ),
    ] = None,
) -> None:
    """Make an index in a folder that needs no training, or change what it is asked for.

    It is exact until there are enough vectors to train with. waterfill add
    adds vectors, and waterfill maintain trains, measures and merges.

    Example:
      waterfill open corpus.wfx --dim 384 --target-recall 0.9
      waterfill add corpus.wfx new.npy
      waterfill maintain corpus.wfx
    """
    if target_recall is not None and code_bytes is not None:
        raise UsageError("--target-recall does not go with --code-bytes; give one of them")
    with (
        explained(folder),
        wf.open_index(
            folder,
            "a",
            d=dim,
            metric=metric.value,
            target_recall=target_recall,
            code_bytes=code_bytes,
            background="off",
        ) as index,
    ):
        _show(out, folder, _managed(index))


def health(out: Output, folder: FolderPath) -> None:
    """Show the size of a managed folder, its measured recall, and what was and will be done.

    Example:
      waterfill health corpus.wfx
    """
    with explained(folder), wf.open_index(folder) as index:
        _show(out, folder, _managed(index))


def maintain(out: Output, folder: FolderPath) -> None:
    """Train, encode anew, measure and merge what is due in a managed folder.

    If it is interrupted, the folder is complete; repeat the command to go on.

    Example:
      waterfill maintain corpus.wfx
    """
    with changed_folder(folder) as index, out.progress("maintaining"):
        done = _managed(index).maintain()
    document = {"folder": str(folder), "done": [asdict(event) for event in done]}
    out.show(document, *([str(event) for event in done] or [f"{folder}: nothing is due"]))


def _managed(index: Any) -> ManagedIndex:
    from waterfill.managed.index import ManagedIndex  # imports the optimizer and more

    if not isinstance(index, ManagedIndex):
        raise ValueError(f"{index.path}: {_NOT_MANAGED}")
    return index


def _show(out: Output, folder: Path, index: ManagedIndex) -> None:
    found = index.health()
    out.show({"folder": str(folder), **asdict(found)}, str(found))
