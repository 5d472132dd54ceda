"""`Health`: what a managed index is, how well it finds, and what it has done and will do."""

from __future__ import annotations

from dataclasses import dataclass

from waterfill.managed.record import Event
from waterfill.managed.settings import Measured


@dataclass(frozen=True)
class Health:
    """The state of a managed index. Returned by `ManagedIndex.health`.

    Attributes
    ----------
    vectors : int
        Number of vectors.
    asked_for : str
        The settings in words.
    phase : {'exact', 'coded', 're-encoding'}
        ``exact``: all rows are compared, as there are too few vectors to train with.
    bytes_per_vector : float
        What each vector takes on the disk, its row included: see `IndexFlat.bytes_per_vector`.
    row_bytes : int
        Those of the row, which searches read of few vectors, or of all while the phase is
        ``exact``; 0 if rows are not kept.
    disk_bytes : int
        Size of the folder.
    recall : Measured or None
        As last measured with queries that were asked or, if they are too few, with stored vectors;
        None before the first time, and while the phase is ``exact``.
    nlist, nprobe : int
        Lists, and how many of them a query searches; equal if all are.
    older_codes : int
        Vectors with codes of earlier codecs: still to be encoded anew, if rows are kept.
    drift : str
        In words.
    done : tuple of Event
        The last events, the oldest first.
    next : str
        What maintenance will do, in words.
    """

    vectors: int
    asked_for: str
    phase: str
    bytes_per_vector: float
    row_bytes: int
    disk_bytes: int
    recall: Measured | None
    nlist: int
    nprobe: int
    older_codes: int
    drift: str
    done: tuple[Event, ...]
    next: str

    def __str__(self) -> str:
        searched = f"{self.nprobe:,} of {self.nlist:,} lists are searched"
        if self.phase == "exact":
            searched = "all rows are compared: exact"
        elif self.nprobe >= self.nlist:
            searched = "all codes are searched"
        recall = str(self.recall) if self.recall else "not measured yet"
        rows = f", {self.row_bytes:,} of them a row" if self.row_bytes else ""
        lines = [
            f"{self.vectors:,} vectors; asked for: {self.asked_for}",
            f"  search   {searched}",
            f"  size     {self.bytes_per_vector:.4g} bytes per vector{rows}; "
            f"{self.disk_bytes:,} bytes on the disk",
            f"  recall   {'1 (exact)' if self.phase == 'exact' else recall}",
            f"  drift    {self.drift}",
        ]
        if self.older_codes:
            wait = self.phase == "re-encoding"
            what = "are still to be encoded anew" if wait else "keep codes of earlier codecs"
            lines.append(f"  codes    {self.older_codes:,} vectors {what}")
        lines += [f"  done     {event}" for event in self.done]
        return "\n".join([*lines, f"  next     {self.next}"])
