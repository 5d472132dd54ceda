"""What an index of many vectors would take."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Estimate:
    """What a flat index of `n` vectors takes on this machine.

    Attributes
    ----------
    n : int
    memory_bytes, file_bytes : int
    load_seconds : float
        To read the file, from this machine's page cache.
    query_seconds : float
        A query among many, searched by as many threads as are set.
    cost_per_month : float or None
        Of the memory, for the price that was given.
    recall : Expected
    """
