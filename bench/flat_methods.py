"""Flat indexes of waterfill, FAISS and turbovec with the search settings to sweep."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import faiss
from methods import Array, Faiss, Turbovec, Waterfill, set_threads
from recall_curves import Setting
from swept_methods import Scope

import waterfill as wf

_REFINE_FACTORS = (5, 7, 10, 14, 20, 28, 40, 56, 80, 112)
_SIGMAS = (1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0)


class WaterfillFlat(Waterfill):
    """``IndexFlat`` at a budget; with cells, it scans those that prune_sigma leaves."""

    def __init__(self, scope: Scope, budget: int, cells: Literal["auto", 0]) -> None:
        super().__init__(budget, scope.metric, cells)
        self._scope = scope

    @property
    def size(self) -> float:
        """Bytes of the codes, in whole blocks, and of the order of insertion."""
        return float(self.index.nbytes / self.index.ntotal)

    def fill(self, x: Array) -> None:
        """Train on the vectors and add them."""
        wf.set_num_threads(self._scope.threads)
        self.train(x)
        self.add(x)
        set_threads(1)

    def settings(self) -> Iterator[list[Setting]]:
        """Yield refinement factors for each prune_sigma."""
        factors = self._scope.values(_REFINE_FACTORS)
        if not self.index.codec.cells:
            yield [{"refine_factor": factor} for factor in factors]
            return
        for factor in factors:
            sigmas = self._scope.values(_SIGMAS)
            yield [{"refine_factor": factor, "prune_sigma": sigma} for sigma in sigmas]

    def use(self, setting: Setting) -> None:
        """Set the search attributes of the index."""
        for name, value in setting.items():
            setattr(self.index, name, value)


class FaissFlat(Faiss):
    """A flat index of FAISS's factory, with a fast scan."""

    def __init__(self, scope: Scope, factory: str) -> None:
        super().__init__(factory, scope.d, scope.metric)
        self._scope = scope

    @property
    def size(self) -> float:
        """Bytes of the code."""
        return float(self.bytes_per_vector)

    def fill(self, x: Array) -> None:
        """Train on the vectors and add them."""
        faiss.omp_set_num_threads(self._scope.threads)
        self.train(x)
        self.add(x)
        set_threads(1)

    def settings(self) -> Iterator[list[Setting]]:
        """Yield FAISS's own choice of an implementation: a flat fast scan has no settings."""
        yield [{}]

    def use(self, setting: Setting) -> None:
        """Do nothing."""


class TurbovecFlat(Turbovec):
    """TurboQuant of the package ``turbovec``, which has no search settings."""

    def __init__(self, scope: Scope, bits: int) -> None:
        if scope.metric != "ip":
            raise ValueError("inner products only")
        if scope.d % 8:
            raise ValueError("dimensions must be a multiple of 8")
        super().__init__(bits, scope.d)

    @property
    def size(self) -> float:
        """Bytes of the code and its scale."""
        return float(self.bytes_per_vector)

    def fill(self, x: Array) -> None:
        """Train on the vectors and add them."""
        self.train(x)
        self.add(x)

    def settings(self) -> Iterator[list[Setting]]:
        """Yield the only setting."""
        yield [{}]

    def use(self, setting: Setting) -> None:
        """Do nothing."""
