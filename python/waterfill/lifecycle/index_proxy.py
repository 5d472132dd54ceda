"""`IndexProxy`: forwards the methods of an index to the current one."""

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
from waterfill.index.vector_index import Labels
from waterfill.training.manifest import Manifest


class IndexProxy(ABC):
    """Base of `SwapIndex`: forwards searches, updates and properties to `index`."""

    _writing: threading.RLock

    @property
    @abstractmethod
    def index(self) -> Any:
        """The current index."""

    # Searching and decoding.

    def search(self, x: Any, k: int, **options: Any) -> tuple[FloatRows, Labels]:
        """Find the k nearest vectors of each query: see `IndexFlat.search`."""
        result: tuple[FloatRows, Labels] = self.index.search(x, k, **options)
        return result

    def search_and_reconstruct(
        self, x: Any, k: int, **options: Any
    ) -> tuple[FloatRows, Labels, NDArray[np.float32]]:
        """Search and decode the results in the same generation."""
        result: tuple[FloatRows, Labels, NDArray[np.float32]] = self.index.search_and_reconstruct(
            x, k, **options
        )
        return result

    def range_search(
        self, x: Any, thresh: float, **options: Any
    ) -> tuple[NDArray[np.uint64], NDArray[np.float32], Labels]:
        """Find all vectors within a radius: see `IndexFlat.range_search`."""
        result: tuple[NDArray[np.uint64], NDArray[np.float32], Labels] = self.index.range_search(
            x, thresh, **options
        )
        return result

    def assign(self, x: Any, k: int = 1, labels: Labels | None = None) -> Labels:
        """Return the ids that `search` finds, int64 (m, k)."""
        result: Labels = self.index.assign(x, k, labels)
        return result

    def reconstruct(self, key: int, x: Any = None) -> NDArray[np.float32]:
        """Decode the vector with an id: see `IndexFlat.reconstruct`."""
        result: NDArray[np.float32] = self.index.reconstruct(key, x)
        return result

    def reconstruct_batch(self, key: Any, x: Any = None) -> NDArray[np.float32]:
        """Decode the vectors with these ids, float32 (m, d)."""
        result: NDArray[np.float32] = self.index.reconstruct_batch(key, x)
        return result

    def reconstruct_n(self, n0: int = 0, ni: int = -1, x: Any = None) -> FloatRows:
        """Decode `ni` vectors from position n0 on; -1 for all."""
        result: FloatRows = self.index.reconstruct_n(n0, ni, x)
        return result

    def ids(self, n0: int = 0, ni: int = -1) -> Labels:
        """Return the ids of `ni` vectors from position n0 on, int64 (ni,); -1 for all."""
        result: Labels = self.index.ids(n0, ni)
        return result

    # Adding and removing.

    def add(self, x: Any, numeric_type: int = 0, *, policy: Policy = "raise") -> None:
        """Add vectors to the current generation; waits while a swap runs."""
        with self._writing:
            self.index.add(x, numeric_type, policy=policy)

    def add_with_ids(
        self, x: Any, ids: Any, numeric_type: int = 0, *, policy: Policy = "raise"
    ) -> None:
        """Add vectors with explicit ids; waits while a swap runs."""
        with self._writing:
            self.index.add_with_ids(x, ids, numeric_type, policy=policy)

    def upsert(self, ids: Any, x: Any, *, policy: Policy = "raise") -> None:
        """Replace vectors of an index in a folder by id: see `open_index`; waits like `add`."""
        with self._writing:
            self.index.upsert(ids, x, policy=policy)

    def remove_ids(self, x: Any) -> int:
        """Remove vectors by id and return their number; waits while a swap runs."""
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
        result: Metric = self.index.metric
        return result

    @property
    def metric_type(self) -> int:
        """FAISS's number for the metric."""
        return int(self.index.metric_type)

    @property
    def is_trained(self) -> bool:
        """Always true."""
        return True

    @property
    def codec(self) -> Codec:
        """Codec of the current generation."""
        result: Codec = self.index.codec
        return result

    @property
    def manifest(self) -> Manifest | None:
        """Training manifest of the current codec: see `Codec.manifest`."""
        return self.codec.manifest

    @property
    def quarantine(self) -> Quarantine:
        """Rows that the current generation rejected and kept: see `IndexFlat.add`."""
        result: Quarantine = self.index.quarantine
        return result

    @property
    def nbytes(self) -> int:
        """Memory of the current generation in bytes, without generations kept for `rollback`."""
        return int(self.index.nbytes)

    def __len__(self) -> int:
        return self.ntotal

    def __bool__(self) -> bool:
        return True
