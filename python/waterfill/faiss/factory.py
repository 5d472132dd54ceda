"""`index_factory`: indexes from a string in the style of FAISS's ``index_factory``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

from waterfill._util.optional import require_faiss
from waterfill._util.validation import Metric, metric_name
from waterfill.index.flat import IndexFlat
from waterfill.index.hnsw import IndexHNSW
from waterfill.index.ivf import IndexIVF
from waterfill.recipe import Recipe

Refine = Literal["fp16", "int8", "flat"]

GRAMMAR = """\
[IDMap,|IDMap2,][IVF<lists>[_HNSW<links>],]WF<bytes>[,Refine(fp16)|,Refine(int8)|,Refine(flat)]
or [IDMap,|IDMap2,]WFHNSW<links>
  WF48                 48 bytes per vector, and one for its scale
  WF48,Refine(fp16)    candidates are re-ranked by float16 rows
  IVF1024,WF48         1,024 lists
  IVF65536_HNSW32,WF32 65,536 lists, found through a graph of 32 links (needs FAISS)
  IDMap2,WF48          an index with explicit ids
  WFHNSW32             a graph of 32 links over rows of 8 bits per dimension, also HNSW32,SQ8"""

_REFINE: dict[str, Refine] = {
    "RFlat": "flat",
    "Refine(flat)": "flat",
    "Refine(Flat)": "flat",
    "Refine(fp16)": "fp16",
    "Refine(SQfp16)": "fp16",
    "Refine(int8)": "int8",
    "Refine(SQ8)": "int8",
}
_THOUSANDS = {"": 1, "k": 1 << 10, "M": 1 << 20}
_HNSW_LINKS = 32
_MOST_LINKS = 256


@dataclass(frozen=True)
class Description:
    """The content of a factory string.

    Attributes
    ----------
    code_bytes : int
        Bytes of a code, without the scale's.
    id_map : {'IDMap', 'IDMap2'} or None
        Every waterfill index accepts ids; with these it has explicit ids from the start.
    nlist : int or None
        Number of lists of an IndexIVF; None for an IndexFlat.
    hnsw : int or None
        Links of the HNSW graph that finds the lists.
    refine : {'fp16', 'int8', 'flat'} or None
        Rows that are kept for re-ranking candidates.
    graph : int or None
        Links of an IndexHNSW, which has no code.
    """

    code_bytes: int
    id_map: str | None = None
    nlist: int | None = None
    hnsw: int | None = None
    refine: Refine | None = None
    graph: int | None = None


def parse(description: str) -> Description:
    """Parse a factory string.

    Raises
    ------
    TypeError
        If `description` is not a string.
    ValueError
        If it does not match the grammar; the message shows the position and the grammar.
    """
    if not isinstance(description, str):
        raise TypeError(f"description must be a str, got {type(description).__name__}")
    parts = _Parts(description)
    id_map = parts.take("IDMap2?")
    graph = parts.take(r"WFHNSW(?P<links>\d+)|HNSW(?P<faiss>\d+)(?P<rows>_SQ8)?")
    if graph is not None:
        return _graph_description(parts, graph, None if id_map is None else id_map[0])
    cells = parts.take(r"IVF(?P<lists>\d+)(?P<unit>[kM]?)(?P<graph>_HNSW(?P<links>\d*))?")
    nlist = None if cells is None else int(cells["lists"]) * _THOUSANDS[cells["unit"]]
    if cells is not None and nlist == 0:
        raise parts.wrong(cells[0], "needs at least 1 list")
    hnsw = int(cells["links"] or _HNSW_LINKS) if cells is not None and cells["graph"] else None
    if cells is not None and hnsw is not None and hnsw < 2:
        raise parts.wrong(cells[0], "needs at least 2 links")
    code = parts.take(r"WF(?P<bytes>\d+)")
    if code is None:
        raise parts.unexpected("WF and a number of bytes")
    if int(code["bytes"]) == 0:
        raise parts.wrong(code[0], "needs at least 1 byte")
    refine = parts.take("|".join(re.escape(name) for name in _REFINE))
    if not parts.done:
        raise parts.unexpected("the end" if refine else "Refine(fp16), Refine(int8) or the end")
    return Description(
        code_bytes=int(code["bytes"]),
        id_map=None if id_map is None else id_map[0],
        nlist=nlist,
        hnsw=hnsw,
        refine=None if refine is None else _REFINE[refine[0]],
    )


def _graph_description(parts: _Parts, graph: re.Match[str], id_map: str | None) -> Description:
    """Return the description of an IndexHNSW, whose rows have 8 bits in any case."""
    links = int(graph["links"] or graph["faiss"])
    if not 2 <= links <= _MOST_LINKS:
        raise parts.wrong(graph[0], f"needs 2 to {_MOST_LINKS} links")
    if graph["faiss"] and not graph["rows"] and parts.take("SQ8") is None:
        raise parts.unexpected("SQ8, because a graph keeps rows of 8 bits per dimension")
    if not parts.done:
        raise parts.unexpected("the end, because a graph re-ranks by the rows that it keeps")
    return Description(code_bytes=0, id_map=id_map, graph=links)


def index_factory(
    d: int, description: str, metric: Metric | int = 1
) -> IndexFlat | IndexIVF | IndexHNSW:
    """Make an untrained index from a factory string: call its `train`, then `add`.

    Parameters
    ----------
    d : int
        Dimensions of the vectors.
    description : str
        ``[IDMap,|IDMap2,][IVF<lists>[_HNSW<links>],]WF<bytes>[,Refine(fp16|int8|flat)]``, such as
        ``WF48``, ``WF48,Refine(fp16)``, ``IVF1024,WF48``, ``IVF65536_HNSW32,WF32`` or
        ``IDMap2,WF48``. FAISS's own spellings ``RFlat``, ``Refine(SQfp16)``, ``Refine(SQ8)`` and
        ``IVF64k`` (64 times 1,024) are accepted. ``WF48`` means codes of 48 bytes, as ``PQ48``
        does in FAISS. The scale adds a byte, and L2 another one unless norms are equal.
        ``WFHNSW32``, which may be written ``HNSW32,SQ8`` or ``HNSW32_SQ8``, makes an IndexHNSW.
    metric : {'ip', 'l2', 'cosine'} or int
        A name, or FAISS's METRIC_INNER_PRODUCT (0) or METRIC_L2 (1). As in FAISS, the default is
        L2.

    Returns
    -------
    IndexFlat, IndexIVF or IndexHNSW
        The untrained index.

    Raises
    ------
    ValueError
        If the string does not match the grammar (the message shows the position and the grammar),
        the metric is unknown, or there are more bytes than dimensions.
    TypeError
        If an argument has the wrong type.
    ImportError
        If the string has a graph (``_HNSW``) over lists, and FAISS is not installed.
    """
    parsed = parse(description)
    name = metric_name(metric)
    index: IndexFlat | IndexIVF | IndexHNSW
    if parsed.graph is not None:
        index = IndexHNSW(d, parsed.graph, name)
        if parsed.id_map is not None:
            index._keep_ids()
        return index
    recipe = Recipe(d, parsed.code_bytes)
    if parsed.nlist is None:
        index = IndexFlat(recipe, name, refine=parsed.refine)
    else:
        graph = None if parsed.hnsw is None else _graph(d, parsed.hnsw, name)
        index = IndexIVF(recipe, parsed.nlist, graph, metric=name, refine=parsed.refine)
    if parsed.id_map is not None:
        index._keep_ids()
    return index


def _graph(d: int, links: int, metric: Metric) -> Any:
    faiss = require_faiss(f"IVF with _HNSW{links}")
    return faiss.IndexHNSWFlat(
        d, links, faiss.METRIC_L2 if metric == "l2" else faiss.METRIC_INNER_PRODUCT
    )


class _Parts:
    """The parts of a description between commas, consumed from the left."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._parts = text.split(",")
        self._at = 0

    @property
    def done(self) -> bool:
        return not self._parts

    def take(self, pattern: str) -> re.Match[str] | None:
        """Consume the next part if it matches a pattern."""
        match = re.fullmatch(pattern, self._parts[0], re.ASCII) if self._parts else None
        if match:
            self._at += len(self._parts.pop(0)) + 1
        return match

    def unexpected(self, expected: str) -> ValueError:
        if self.done:
            return self._error(f"expected {expected}, got the end", len(self._text))
        return self._error(f"expected {expected}, got {self._parts[0]!r}", self._at)

    def wrong(self, part: str, why: str) -> ValueError:
        return self._error(f"{part!r} {why}", self._text.index(part))

    def _error(self, why: str, at: int) -> ValueError:
        return ValueError(
            f"description={self._text!r}: {why}\n  {self._text}\n  {' ' * at}^\nexpected: {GRAMMAR}"
        )
