"""The interface of methods whose search settings are swept, and values of these settings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

import faiss
from numpy.typing import NDArray
from recall_curves import Setting

Array = NDArray[Any]
Metric = Literal["ip", "l2"]
Value = TypeVar("Value")

FAISS_METRICS = {"ip": faiss.METRIC_INNER_PRODUCT, "l2": faiss.METRIC_L2}
PROBES = (
    *(1, 2, 3, 4, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 56, 64, 80, 96, 128, 160, 192, 256),
    *(320, 384, 512, 768, 1024),
)
_BLAS_QUERIES = 4


class Swept(Protocol):
    """An index with search settings."""

    name: str

    @property
    def size(self) -> float:
        """Stored bytes per vector, including ids; available once filled."""

    def fill(self, x: Array) -> None:
        """Train on the vectors and add them."""

    def settings(self) -> Iterator[list[Setting]]:
        """Yield lists of settings, each in order of increasing effort and recall."""

    def use(self, setting: Setting) -> None:
        """Apply a setting to the following searches."""

    def search(self, q: Array, k: int) -> Array:
        """Return the labels of the k nearest vectors of each query."""


@dataclass(frozen=True)
class Scope:
    """What the methods of one set have in common.

    Attributes
    ----------
    n, d, metric
        Number of vectors, dimensions, metric.
    quick
        Whether to use every second value of a setting and fewer indexes.
    threads
        Threads that fill indexes; searches use one.
    store
        A folder that keeps filled indexes of peers between runs.
    """

    n: int
    d: int
    metric: Metric
    quick: bool = False
    threads: int = 1
    store: Path | None = None

    def values(self, values: Sequence[Value]) -> list[Value]:
        """Return the values to sweep."""
        return list(values[::2] if self.quick else values)

    def probes(self, nlist: int) -> list[int]:
        """Return the numbers of lists to probe."""
        return [probes for probes in self.values(PROBES) if probes <= nlist]

    def path(self, name: str, ending: str) -> Path | None:
        """Return the file that keeps an index, if there is a store."""
        return self.store and self.store / f"{''.join(_plain(name))}.{ending}"


def tune_faiss(d: int) -> None:
    """Make FAISS's flat quantizer use BLAS from 4 queries on, where it becomes faster.

    By default it uses BLAS if queries times dimensions reach 128,000: 333 queries of 384
    dimensions. Without BLAS, 100 such queries take 2.5 times as long.
    """
    faiss.cvar.distance_compute_blas_threshold = _BLAS_QUERIES * d


def _plain(name: str) -> Iterator[str]:
    yield from (letter if letter.isalnum() else "-" for letter in name)
