"""Methods of the accuracy benchmark: waterfill and its peers at sizes near each budget."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from methods import (
    Faiss,
    Method,
    Metric,
    Turbovec,
    Waterfill,
    fast_scan,
    product,
    rabitq,
    rotated_fast_scan,
    rotated_product,
)

CELLS, NO_CELLS = "waterfill", "waterfill, no cells"

_SCALARS = ("SQ4", "SQ6", "SQ8")
_RABITQ_BITS = range(1, 9)
_TURBO_BITS = (2, 3, 4)
_LARGEST = 2  # largest RaBitQ code, as a multiple of the largest budget


@dataclass(frozen=True)
class Setting:
    """Dimensions, metric, budgets and time limits that determine the methods.

    Attributes
    ----------
    unit
        Whether all vectors have norm 1.
    slow
        Whether to include OPQ.
    rotation_rows
        Training rows of the OPQ rotation; None for all.
    """

    d: int
    metric: Metric
    budgets: Sequence[int]
    unit: bool = False
    slow: bool = False
    rotation_rows: int | None = None


@dataclass(frozen=True)
class SizedMethod:
    """A named method and the function that creates it."""

    library: str
    family: str
    name: str
    make: Callable[[], Method]
    remark: str = ""


def sized_methods(setting: Setting) -> Iterator[SizedMethod]:
    """Yield the methods, grouped by family, without duplicate names."""
    seen = set()
    for one in _all(setting):
        if one.name not in seen:
            seen.add(one.name)
            yield one


def _all(setting: Setting) -> Iterator[SizedMethod]:
    yield from _waterfill(setting)
    yield from _products(setting)
    yield from _rabitq(setting)
    yield from _scalars(setting)
    yield from _turbovec(setting)


def _waterfill(setting: Setting) -> Iterator[SizedMethod]:
    for budget in setting.budgets:
        make = partial(Waterfill, budget, setting.metric)
        yield SizedMethod("waterfill", CELLS, f"waterfill {budget}", make)
    for budget in setting.budgets:
        make = partial(Waterfill, budget, setting.metric, 0)
        yield SizedMethod("waterfill", NO_CELLS, f"waterfill {budget}, no cells", make)


def _products(setting: Setting) -> Iterator[SizedMethod]:
    d = setting.d
    sizes = sorted({size for budget in setting.budgets for size in _around(d, budget)})
    for family, factory in (("PQ", product), ("PQ 4 bits", fast_scan)):
        for size in sizes:
            yield _faiss(family, factory(size, d), setting)
    if not setting.slow:
        return
    for family, factory in (("OPQ+PQ 4 bits", rotated_fast_scan), ("OPQ+PQ", rotated_product)):
        for size in sizes:
            yield _faiss(family, factory(size, d), setting)


def _around(d: int, budget: int) -> Iterator[int]:
    """Yield the divisors of d next below and above a budget: possible sizes of 8-bit PQ."""
    most = d // 2  # larger quantizers train for minutes and lose to scalar ones
    sizes = [size for size in range(1, most + 1) if d % size == 0]
    yield max(size for size in sizes if size <= max(budget, sizes[0]))
    yield min((size for size in sizes if size >= budget), default=sizes[-1])


def _rabitq(setting: Setting) -> Iterator[SizedMethod]:
    most = _LARGEST * max(setting.budgets)
    for bits in _RABITQ_BITS:
        if bits == 1 or bits * setting.d / 8 <= most:
            yield _faiss("RaBitQ", rabitq(bits, setting.d), setting)


def _scalars(setting: Setting) -> Iterator[SizedMethod]:
    for factory in _SCALARS:
        yield _faiss("SQ", factory, setting)
    if setting.unit:  # TurboQuant's codebook assumes rotated vectors of norm 1
        for bits in (1, *_TURBO_BITS):
            yield _faiss("SQ TurboQuant", f"RR{setting.d},SQtqmse{bits}", setting)


def _turbovec(setting: Setting) -> Iterator[SizedMethod]:
    if setting.metric == "ip" and setting.d % 8 == 0:
        for bits in _TURBO_BITS:
            make = partial(Turbovec, bits, setting.d)
            yield SizedMethod("turbovec", "turbovec", f"turbovec {bits} bits", make)


def _faiss(family: str, factory: str, setting: Setting) -> SizedMethod:
    rows = setting.rotation_rows if factory.startswith("OPQ") else None
    make = partial(Faiss, factory, setting.d, setting.metric, rows)
    remark = f"rotation learned from {rows:,} rows" if rows else ""
    return SizedMethod("faiss", f"FAISS {family}", f"FAISS {factory}", make, remark)
