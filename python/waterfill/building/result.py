"""What `build` returns, and warns of."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from waterfill.building.record import FinishedShard
from waterfill.data.row_policy import caller_stacklevel
from waterfill.folder.snapshot import read_manifest

_MAX_LISTED = 10


@dataclass(frozen=True)
class BuildResult:
    """The result of `waterfill.build`.

    Attributes
    ----------
    path : str
        The folder, for `waterfill.open_index`.
    vectors : int
        Vectors in it.
    segments : int
        Segments of the folder.
    finished_before : bool
        Whether there was nothing to do. The folder may have been changed since it was built.
    resumed : int
        Shards that an interrupted run had finished.
    left_out : int
        Rows that the policy left out.
    clipped : int
        Vectors whose distance the codec clips: see `Codec.encode`.
    skipped : tuple of str
        Files without rows.
    seconds : float
        Wall time of this call.
    """

    path: str
    vectors: int
    segments: int
    finished_before: bool = False
    resumed: int = 0
    left_out: int = 0
    clipped: int = 0
    skipped: tuple[str, ...] = ()
    seconds: float = 0.0

    def __str__(self) -> str:
        text = f"{self.path}: {self.vectors:,} vectors in {self.segments:,} segments"
        if self.finished_before:
            return f"{text}; it was finished before, nothing was done"
        more = f", {self.resumed:,} of them from an earlier run" if self.resumed else ""
        return f"{text}{more}"


def result_of(
    path: str,
    skipped: Sequence[str],
    *,
    done: Sequence[FinishedShard] = (),
    **values: Any,
) -> BuildResult:
    """Describe the folder of a build."""
    manifest = read_manifest(path)
    return BuildResult(
        path=path,
        vectors=sum(segment.vectors - segment.dead for segment in manifest.segments),
        segments=len(manifest.segments),
        left_out=sum(each.left for each in done),
        clipped=sum(each.clipped for each in done),
        skipped=tuple(skipped),
        **values,
    )


def warn_of_rows(name: str, done: Sequence[FinishedShard]) -> None:
    """Warn of rows that were left out, and of distances that were clipped."""
    rows = sum(each.rows for each in done)
    left, clipped = sum(each.left for each in done), sum(each.clipped for each in done)
    if left:
        first = [entry for each in done for entry in each.left_out][:_MAX_LISTED]
        listed = ", ".join(f"{file}: row {row} ({', '.join(why)})" for file, row, why in first)
        more = ", ..." if left > len(first) else ""
        _warn(f"{name}: {left} of {rows} rows are left out: {listed}{more}")
    if clipped:
        _warn(
            f"{name}: {clipped} of {rows} vectors are so far from the rows that training drew, or "
            "so near to their mean, that their distance is clipped. Train on vectors like these, "
            "or normalise them"
        )


def _warn(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=caller_stacklevel())
