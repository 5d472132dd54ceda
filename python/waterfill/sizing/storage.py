"""Bytes of an index, from the layout of its files (``cpp/FORMAT.md``)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from waterfill._util.validation import Metric
from waterfill.layout import (
    BLOCK,
    ID_BYTES,
    ID_ORDER_BYTES,
    RefineName,
    order_bytes,
    padded,
    row_bytes,
    scale_bytes,
    vector_bytes,
)

Ids = Literal["positions", "ascending", "any"]

IDS: tuple[Ids, ...] = ("positions", "ascending", "any")

_ID_BYTES: dict[Ids, int] = {
    "positions": 0,
    "ascending": ID_BYTES,
    "any": ID_BYTES + ID_ORDER_BYTES,
}
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
    bytes_per_vector : float
        What each vector takes of all of these: see `waterfill.IndexFlat.bytes_per_vector`.
    """

    vectors: int
    segments: int
    codes: int
    order: int
    ids: int
    rows: int
    codec: int
    headers: int
    bytes_per_vector: float

    @property
    def fixed_bytes(self) -> int:
        """Bytes of all files beside those of the vectors: codec, headers, unused places."""
        return self.file_bytes - round(self.vectors * self.bytes_per_vector)

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
    refine: RefineName | None = None,
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
    groups = padded(code_bytes)
    blocks = _blocks(each, max(lists, 1))
    codes = segments * 16 * groups * blocks + vectors * (groups / 2 + scale_bytes(metric))
    order = segments * _order(each, lists) if lists else 0.0
    taken = vector_bytes(
        d, code_bytes, metric=metric, lists=lists, refine=refine, id_bytes=_ID_BYTES[ids]
    )
    headers = _HEADER + _SECTIONS * 64 + 16 * max(lists, 1) + _RECORD
    return Storage(
        vectors=vectors,
        segments=segments,
        codes=round(codes),
        order=round(order),
        ids=vectors * _ID_BYTES[ids],
        rows=vectors * row_bytes(refine, d),
        codec=codec_bytes + 4 * d * lists,
        headers=segments * headers,
        bytes_per_vector=taken.total,
    )


def _blocks(vectors: float, lists: int) -> float:
    """Return the expected number of blocks: one that is not full for each list."""
    mean = vectors / lists
    if lists == 1:
        return math.ceil(mean / BLOCK)
    if mean < BLOCK / 2:
        return lists * -math.expm1(-mean)  # of Poisson: a list that is not empty has one
    return lists * (mean / BLOCK + (BLOCK - 1) / (2 * BLOCK))  # ends are uniform in a block


def _order(vectors: float, lists: int) -> float:
    """Return the bytes of ``LISTOF``, and of the numbers of the lists' vectors (Elias-Fano)."""
    filled = lists * -math.expm1(-vectors / lists)
    ends = filled * (4 + 8 / 2)  # bits in whole words of 8 bytes, and the first sample of a list
    return vectors * order_bytes(lists, filled) + ends
