"""The methods that bench/peers.py compares, by kind: flat, lists, lists with rows, graphs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from flat_methods import FaissFlat, TurbovecFlat, WaterfillFlat
from graph_methods import FaissGraph, Hnswlib, Scann, Usearch, WaterfillGraph
from ivf_methods import FaissLists, FaissShelf, WaterfillLists, WaterfillShelf
from methods import rabitq
from swept_methods import Scope, Swept

LIBRARIES = ("waterfill", "faiss", "turbovec", "hnswlib", "usearch", "scann")
KINDS = ("flat", "lists", "rows", "graph")
LISTS = (512, 1024, 2048, 4096)
_ROWS_PER_LIST = 16  # fewer make lists mostly empty blocks
# Budgets as multiples of an eighth of a byte per dimension; a quick run takes every second one.
# With partly filled blocks, 1.75 and 3.75 need fewer bytes than turbovec with 2 and 4 bit.
_FLAT_SHARES = (1, 0.5, 1.75, 1.5, 3.75, 3)
_LIST_SHARES = (1, 1.5, 2, 4)
_ROW_SHARES = (1.5, 2, 1)


@dataclass(frozen=True)
class Family:
    """A method: indexes that differ in their number of lists only, of one library and kind."""

    name: str
    library: str
    kind: str
    makers: Sequence[Callable[[], Swept]]


def all_families(scope: Scope, lists: Sequence[int]) -> Iterator[Family]:
    """Yield waterfill and its peers for a set; each index is made when its maker is called."""
    numbers = [nlist for nlist in lists if nlist * _ROWS_PER_LIST <= scope.n] or [min(lists)]
    yield from _waterfill(scope, numbers)
    yield _single("waterfill WFHNSW32", "waterfill", "graph", partial(WaterfillGraph, scope))
    yield from _faiss(scope, numbers)
    for bits in (2, 4):
        yield _single(
            f"turbovec {bits} bit", "turbovec", "flat", partial(TurbovecFlat, scope, bits)
        )
    yield _single("FAISS HNSW32", "faiss", "graph", partial(FaissGraph, scope))
    yield _single("FAISS HNSW32_SQ8", "faiss", "graph", partial(FaissGraph, scope, "SQ8"))
    yield _single("hnswlib", "hnswlib", "graph", partial(Hnswlib, scope))
    for dtype in ("i8", "f16"):
        yield _single(f"usearch {dtype}", "usearch", "graph", partial(Usearch, scope, dtype))
    yield _single("ScaNN", "scann", "rows", partial(Scann, scope))


def _single(name: str, library: str, kind: str, make: Callable[[], Swept]) -> Family:
    return Family(name, library, kind, [make])


def _waterfill(scope: Scope, lists: Sequence[int]) -> Iterator[Family]:
    for budget in _budgets(scope, _FLAT_SHARES):
        name = f"waterfill {budget}"
        yield _single(name, "waterfill", "flat", partial(WaterfillFlat, scope, budget, "auto"))
        bare = partial(WaterfillFlat, scope, budget, 0)
        yield _single(f"{name}, no cells", "waterfill", "flat", bare)
    shelf = WaterfillShelf(scope)
    variants = [("lists", "", _LIST_SHARES), ("rows", "float16", _ROW_SHARES)]
    variants.append(("rows", "int8", _ROW_SHARES[:1]))
    for kind, refine, shares in variants:
        for budget in _budgets(scope, shares):
            name = f"waterfill IVF, {budget}" + (f", {refine} rows" if refine else "")
            makers = [partial(WaterfillLists, scope, shelf, budget, n, refine) for n in lists]
            yield Family(name, "waterfill", kind, makers)


def _faiss(scope: Scope, lists: Sequence[int]) -> Iterator[Family]:
    d = scope.d
    flat = [f"PQ{part}x4fs" for part in _parts(d, (8, 4, 2))]
    flat += [rabitq(bits, d) for bits in (2, 4)]
    for factory in flat:
        make = partial(FaissFlat, scope, factory)
        yield _single(f"FAISS {factory}", "faiss", "flat", make)
    scans = [f"IVF{{}},PQ{part}x4fs{kind}" for part in _parts(d, (4, 2)) for kind in ("", "r")]
    shelf = FaissShelf(scope)
    for pattern, refine in [
        *((f"RR{d},IVF{{}},RaBitQfs2", False), *((scan, False) for scan in scans)),
        *((scan, True) for scan in scans),
    ]:
        name = f"FAISS {pattern.format('')}" + (",Refine(SQfp16)" if refine else "")
        makers = [partial(FaissLists, scope, shelf, pattern, n, refine) for n in lists]
        yield Family(name, "faiss", "rows" if refine else "lists", makers)


def _budgets(scope: Scope, shares: Sequence[float]) -> list[int]:
    return sorted(round(share * scope.d / 8) for share in scope.values(shares))


def _parts(d: int, shares: Sequence[int]) -> list[int]:
    return [d // share for share in shares if d % share == 0]
