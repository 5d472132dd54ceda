"""Bytes of an index, from the layout of its files (``cpp/FORMAT.md``)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from waterfill._util.validation import Metric

Ids = Literal["positions", "ascending", "any"]
Refine = Literal["int8", "float16", "float32"]

IDS: tuple[Ids, ...] = ("positions", "ascending", "any")

_BLOCK = 32  # vectors
_HEADER = 64
_SECTIONS = 16  # of a segment, with 32 bytes in the table, and up to 63 of padding
_RECORD = 600  # of a segment in the manifest and in the journal of its build


@dataclass(frozen=True)
class Storage:
    """Bytes of an index, by what they hold.

    Attributes
    ----------
    vectors, segments : int
        Numbers of vectors, and of segments.
    codes : int
        As the scan reads them: blocks of 32, the last of a list with unused places, and the bytes
        of scales.
    order : int
        Which vector of a list is which; 0 without lists.
    ids : int
        0 for positions.
    rows : int
        Of `refine`.
    codec : int
        With the centroids of the lists.
    headers : int
        Of segments and lists, and the records of a folder.
    """

    vectors: int
    segments: int
    codes: int
    order: int
    ids: int
    rows: int
    codec: int
    headers: int

    @property
    def file_bytes(self) -> int:
        """Bytes of all files."""
        return self.memory_bytes + self.rows

    @property
    def memory_bytes(self) -> int:
        """Bytes that searches touch, if rows stay on the disk."""
        return self.codes + self.order + self.ids + self.codec + self.headers


def storage(
    vectors: int,
    d: int,
    code_bytes: int,
    *,
    metric: Metric = "ip",
    lists: int = 0,
    refine: Refine | None = None,
    ids: Ids = "positions",
    segments: int = 1,
    codec_bytes: int = 0,
) -> Storage:
    """Return the bytes of a folder, or of an index in a file or in memory (one segment).

    Sizes follow from the layout, so they are exact but for the filling of lists, which is taken to
    be even, and for rounding.

    Parameters
    ----------
    vectors, d : int
        Number of vectors, and of their dimensions.
    code_bytes : int
        As for `Recipe`: without the scale's byte.
    metric : {'ip', 'l2', 'cosine'}
        The metric; ``l2`` takes another byte per vector.
    lists : int
        Lists of an inverted file, or cells; 0 for neither.
    refine : {'int8', 'float16', 'float32'}, optional
        Rows that the index keeps.
    ids : {'positions', 'ascending', 'any'}
        Numbers in the order of the vectors, or ids of yours.
    segments : int
        Number of segments; 1 for a file or memory.
    codec_bytes : int
        Of a codec without lists: ``len(codec.to_bytes())``.

    Returns
    -------
    Storage
        Bytes by what they hold.
    """
    each = vectors / segments
    padded = code_bytes + code_bytes % 2
    blocks = _blocks(each, max(lists, 1))
    scales = 2 if metric == "l2" else 1
    codes = segments * 16 * padded * blocks + vectors * (padded / 2 + scales)
    order = segments * _order(each, lists) if lists else 0.0
    row = {None: 0, "int8": d + 8, "float16": 2 * d, "float32": 4 * d}[refine]
    headers = _HEADER + _SECTIONS * 64 + 16 * max(lists, 1) + _RECORD
    return Storage(
        vectors=vectors,
        segments=segments,
        codes=round(codes),
        order=round(order),
        ids=vectors * {"positions": 0, "ascending": 8, "any": 12}[ids],
        rows=vectors * row,
        codec=codec_bytes + 4 * d * lists,
        headers=segments * headers,
    )


def _blocks(vectors: float, lists: int) -> float:
    """Return the expected number of blocks: one that is not full for each list."""
    mean = vectors / lists
    if lists == 1:
        return math.ceil(mean / _BLOCK)
    if mean < _BLOCK / 2:
        return lists * -math.expm1(-mean)  # of Poisson: a list that is not empty has one
    return lists * (mean / _BLOCK + (_BLOCK - 1) / (2 * _BLOCK))  # ends are uniform in a block


def _order(vectors: float, lists: int) -> float:
    """Return the bytes of ``LISTOF``, and of the numbers of the lists' vectors (Elias-Fano)."""
    low_bytes = 1 if lists <= 2048 else 2
    list_of = 1 if lists <= 256 else 2
    filled = lists * -math.expm1(-vectors / lists)
    highs = (vectors + filled * vectors / 256**low_bytes) / 8 + filled * 4  # whole words of 8 bytes
    samples = 8 * (vectors / 64 + filled / 2)
    return float(vectors * (list_of + low_bytes) + highs + samples)
