"""The methods of an index, each forwarded to the index that is current at the call."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from waterfill._util.validation import Metric
from waterfill.codec import Codec
from waterfill.data.row_policy import Policy, Quarantine
from waterfill.data.rows import FloatRows
from waterfill.index.collection import Labels
from waterfill.training.manifest import Manifest


class IndexProxy(ABC):
    """Base of `SwapIndex`: forwards searches, additions and properties to `index`."""

    _writing: threading.RLock

    @property
    @abstractmethod
    def index(self) -> Any:
        """The index in use."""

    # Search and decode.

    def search(self, x: Any, k: int, **options: Any) -> tuple[FloatRows, Labels]:
        """Find the k nearest vectors of each query: see `IndexFlat.search`."""
        found: tuple[FloatRows, Labels] = self.index.search(x, k, **options)
        return found

    def search_and_reconstruct(
        self, x: Any, k: int, **options: Any
    ) -> tuple[FloatRows, Labels, NDArray[np.float32]]:
        """Search, and decode what is found, in one generation."""
        found: tuple[FloatRows, Labels, NDArray[np.float32]] = self.index.search_and_reconstruct(
            x, k, **options
        )
        return found

    def range_search(
        self, x: Any, thresh: float, **options: Any
    ) -> tuple[NDArray[np.uint64], NDArray[np.float32], Labels]:
        """Find all vectors nearer than a radius: see `IndexFlat.range_search`."""
        found: tuple[NDArray[np.uint64], NDArray[np.float32], Labels] = self.index.range_search(
            x, thresh, **options
        )
        return found

    def assign(self, x: Any, k: int = 1, labels: Labels | None = None) -> Labels:
        """Return the ids that `search` finds."""
        found: Labels = self.index.assign(x, k, labels)
        return found

    def reconstruct(self, key: int, x: Any = None) -> NDArray[np.float32]:
        """Decode the vector with an id: see `IndexFlat.reconstruct`."""
        found: NDArray[np.float32] = self.index.reconstruct(key, x)
        return found

    def reconstruct_batch(self, key: Any, x: Any = None) -> NDArray[np.float32]:
        """Decode the vectors with some ids."""
        found: NDArray[np.float32] = self.index.reconstruct_batch(key, x)
        return found

    def reconstruct_n(self, n0: int = 0, ni: int = -1, x: Any = None) -> FloatRows:
        """Decode `ni` vectors from the n0-th on; -1: all the others."""
        found: FloatRows = self.index.reconstruct_n(n0, ni, x)
        return found

    def ids(self, n0: int = 0, ni: int = -1) -> Labels:
        """Return the ids of `ni` vectors from the n0-th on, int64 (ni,)."""
        found: Labels = self.index.ids(n0, ni)
        return found

    # Add and remove.

    def add(self, x: Any, numeric_type: int = 0, *, policy: Policy = "raise") -> None:
        """Encode vectors and append them to the current generation; waits for a swap."""
        with self._writing:
            self.index.add(x, numeric_type, policy=policy)

    def add_with_ids(
        self, x: Any, ids: Any, numeric_type: int = 0, *, policy: Policy = "raise"
    ) -> None:
        """Append vectors with ids of their own; waits for a swap."""
        with self._writing:
            self.index.add_with_ids(x, ids, numeric_type, policy=policy)

    def remove_ids(self, x: Any) -> int:
        """Remove vectors by id and return how many; waits for a swap."""
        with self._writing:
            return int(self.index.remove_ids(x))

    # Properties.

    @property
    def d(self) -> int:
        """Dimensions of the vectors."""
        return int(self.index.d)

    @property
    def ntotal(self) -> int:
        """Number of vectors."""
        return int(self.index.ntotal)

    @property
    def metric(self) -> Metric:
        """One of ``ip``, ``l2``, ``cosine``."""
        found: Metric = self.index.metric
        return found

    @property
    def metric_type(self) -> int:
        """FAISS's number of the metric."""
        return int(self.index.metric_type)

    @property
    def is_trained(self) -> bool:
        """Always true."""
        return True

    @property
    def codec(self) -> Codec:
        """What encodes the vectors of the current generation."""
        found: Codec = self.index.codec
        return found

    @property
    def manifest(self) -> Manifest | None:
        """What its codec was made of and how: see `Codec.manifest`."""
        return self.codec.manifest

    @property
    def quarantine(self) -> Quarantine:
        """Rows that the current generation left out and kept: see `IndexFlat.add`."""
        found: Quarantine = self.index.quarantine
        return found

    @property
    def nbytes(self) -> int:
        """Bytes of memory of the current generation's vectors; those kept are not counted."""
        return int(self.index.nbytes)

    def __len__(self) -> int:
        return self.ntotal

    def __bool__(self) -> bool:
        return True
