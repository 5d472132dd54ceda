"""The size of a vector: one definition for every number that is shown or estimated.

*Bytes per vector* is what the file of an index grows by with each vector, everything included: its
code with the scale (groups are stored in pairs, so an odd one takes the room of two), the second
byte of L2, its place in the order of the lists, an explicit id, a refinement row, and the links of
a graph. Memory takes no more, but for room to grow.

*Fixed* is all else, whatever the number of vectors: the codec with the centroids of its cells,
headers, and unused places in the last block of each list.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from waterfill._util.validation import Metric

RefineName = Literal["int8", "float16", "float32"]

BLOCK = 32  # vectors
ID_BYTES, ID_ORDER_BYTES = 8, 4  # the latter where ids do not ascend

_FLOAT_BYTES = 4
_LINK_BYTES = 4
_MOST_BYTE_LISTS = 256  # whose numbers take one byte
_MOST_LOW_BYTE_LISTS = 2048  # in which a label has one low byte


@dataclass(frozen=True)
class VectorBytes:
    """Bytes of one more vector, by what they hold.

    Attributes
    ----------
    code : int
        A byte for each group, in pairs, and one or two for scales; of a graph its row.
    order : float
        Its list, and its number in it; 0 without lists.
    id : float
        0 for ids that are positions, and for consecutive ids in a folder.
    row : int
        Of `refine`, if the index keeps rows.
    links : int
        Of a graph.
    """

    code: int
    order: float = 0.0
    id: float = 0.0
    row: int = 0
    links: int = 0

    @property
    def total(self) -> float:
        """Bytes per vector."""
        return self.code + self.order + self.id + self.row + self.links

    @property
    def parts(self) -> dict[str, float]:
        """What is not 0, by name."""
        return {name: value for name, value in vars(self).items() if value}

    def times_smaller(self, d: int) -> float:
        """Return the size of a float32 vector in sizes of this one."""
        return _FLOAT_BYTES * d / self.total


def vector_bytes(
    d: int,
    groups: int,
    *,
    metric: Metric = "ip",
    lists: int = 0,
    refine: RefineName | None = None,
    id_bytes: float = 0.0,
) -> VectorBytes:
    """Return the bytes of one more vector of an index of codes.

    Parameters
    ----------
    d, groups : int
        Dimensions, and code bytes without the scale.
    metric : {'ip', 'l2', 'cosine'}
        The metric.
    lists : int
        Lists, or cells of the codec; 0 for neither.
    refine : {'int8', 'float16', 'float32'}, optional
        Rows that the index keeps.
    id_bytes : float
        Of an explicit id.
    """
    return VectorBytes(
        code=padded(groups) + scale_bytes(metric),
        order=order_bytes(lists),
        id=id_bytes,
        row=row_bytes(refine, d),
    )


def graph_bytes(row_and_links: int, links: int, id_bytes: float = 0.0) -> VectorBytes:
    """Return the bytes of one more vector of a graph."""
    linked = _LINK_BYTES * links
    return VectorBytes(code=row_and_links - linked, id=id_bytes, links=linked)


def padded(groups: int) -> int:
    """Return the groups that are stored: the scan takes two per step."""
    return groups + groups % 2


def scale_bytes(metric: Metric) -> int:
    """Return the side bytes of a code."""
    return 2 if metric == "l2" else 1


def row_bytes(refine: RefineName | None, d: int) -> int:
    """Return the bytes of a refinement row; an int8 row starts with its center and step."""
    return {None: 0, "int8": d + 8, "float16": 2 * d, "float32": _FLOAT_BYTES * d}[refine]


def order_bytes(lists: int, filled: float | None = None) -> float:
    """Return the bytes of a vector's list, and of its number among those of the list.

    The numbers of a list ascend and are in Elias-Fano code (Elias 1974): one or two low bytes each,
    the high part in unary, and eight bytes of directory for every 64 numbers.

    Parameters
    ----------
    lists : int
        0 without lists.
    filled : float, optional
        Lists that are not empty; by default all.
    """
    if not lists:
        return 0.0
    list_number = 1 if lists <= _MOST_BYTE_LISTS else 2
    if lists == 1:
        return float(list_number)
    low = 1 if lists <= _MOST_LOW_BYTE_LISTS else 2
    high = 1 + (lists if filled is None else filled) * 2.0 ** (-8 * low)
    return list_number + low + high / 8 + 8 / 64
