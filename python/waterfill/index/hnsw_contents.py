"""What an `IndexHNSW` holds: ids, vectors, removal, and errors for what it does not have."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from waterfill._core import GraphIndex
from waterfill._util.tensors import positional_outputs, returned
from waterfill._util.validation import as_int, as_int64, output
from waterfill.data.row_policy import Quarantine
from waterfill.data.rows import FloatRows
from waterfill.errors import MissingIdError
from waterfill.index.collection import Labels
from waterfill.index.selector_members import Universe, sorted_unique
from waterfill.index.selectors import as_ids, is_selector, program
from waterfill.index.trainable import missing_attribute

_INSTEAD = {  # of attributes of other indexes
    "codes": "ids() and reconstruct_n() return what it holds",
    "codec": "it stores rows of 8 bits per dimension, not codes; waterfill.IndexIVF has a codec",
    "nlist": "waterfill.IndexIVF has lists",
    "nprobe": "waterfill.IndexIVF has lists; a graph has hnsw.efSearch",
    "quantizer": "waterfill.IndexIVF has lists",
    "merge_from": "two graphs have no links in common; add the vectors of one to the other",
    "sa_encode": "waterfill.IndexFlat and waterfill.Codec encode vectors to codes",
    "storage": "reconstruct_n() returns the vectors",
    "update": "remove_ids(ids), then add_with_ids(x, ids)",
}


class HNSWContents:
    """The vectors of a graph, by id and by position."""

    _core: GraphIndex | None
    _d: int
    _keeps_ids: bool
    _quarantine: Quarantine
    _writing: threading.RLock

    def _trained(self) -> GraphIndex:
        raise NotImplementedError

    @property
    def is_trained(self) -> bool:
        """Whether vectors can be added."""
        return self._core is not None

    @property
    def ntotal(self) -> int:
        """Number of vectors."""
        return self._core.size if self._core else 0

    @property
    def has_ids(self) -> bool:
        """Whether vectors have explicit ids; otherwise ids are positions."""
        return self._core.has_ids if self._core else False

    @property
    def bytes_per_vector(self) -> int:
        """Bytes of a row and its links; explicit ids are 8 more."""
        return self._trained().bytes_per_vector

    @property
    def nbytes(self) -> int:
        """Memory of rows, links and ids in bytes."""
        return self._core.nbytes if self._core else 0

    @property
    def quarantine(self) -> Quarantine:
        """Rows that calls with ``policy="quarantine"`` left out."""
        return self._quarantine

    def __len__(self) -> int:
        return self.ntotal

    def __bool__(self) -> bool:
        return True  # also if empty, as any FAISS index

    def __setattr__(self, name: str, value: Any) -> None:
        """Refuse attributes that the index does not have: their value would have no effect."""
        if not name.startswith("_") and not hasattr(type(self), name):
            raise AttributeError(self._missing(name))
        object.__setattr__(self, name, value)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(self._missing(name))

    def _missing(self, name: str) -> str:
        instead = _INSTEAD.get(name)
        if instead is None:
            return missing_attribute(self, name)
        return f"{type(self).__name__} has no attribute {name!r}; {instead}"

    def _keep_ids(self) -> None:
        """Store explicit ids from the first vector on, like FAISS's IndexIDMap2."""
        self._keeps_ids = True
        if self._core:
            self._core.keep_ids()

    def _universe(self) -> Universe:
        core = self._trained()
        return Universe(core.size, core.ids, (id(core), core.version))

    def ids(self, n0: int = 0, ni: int = -1) -> Labels:
        """Return the ids of `ni` vectors in order of insertion, starting at the n0-th, int64 (ni,).

        ``ni=-1`` stands for all remaining ones. Raises MissingIdError if the range exceeds the
        index.
        """
        with self._writing:
            return self._trained().ids(*self._span(n0, ni))

    def _span(self, n0: int, ni: int) -> tuple[int, int]:
        n0, ni = as_int("n0", n0), as_int("ni", ni)
        ni = self.ntotal - n0 if ni == -1 else ni
        if n0 < 0 or ni < 0 or n0 + ni > self.ntotal:
            raise MissingIdError(f"n0={n0}, ni={ni} reach beyond an index of {self.ntotal} vectors")
        return n0, ni

    def neighbors(self, position: int) -> Labels:
        """Return the positions that the vector at a position links to, int64 (m,), m at most M.

        Raises MissingIdError if there is no such position.
        """
        with self._writing:
            return self._trained().links_of(self._span(position, 1)[0])

    def reconstruct(self, key: int, x: Any = None) -> NDArray[np.float32]:
        """Return the vector with an id as its row holds it, float32 (d,), in `x` if given.

        Raises MissingIdError if there is no vector with this id, TypeError if `key` is not an int.
        """
        vector = output("x", x, (self._d,), np.float32)
        vector[:] = self._by_id(np.array([as_int64("key", key)]))[0]
        return returned(vector, x)

    def reconstruct_batch(self, key: Any, x: Any = None) -> FloatRows:
        """Return the vectors with given ids, float32 (n, d); errors as of `reconstruct`."""
        keys = as_ids(key, "key")
        vectors = output("x", x, (len(keys), self._d), np.float32)
        vectors[:] = self._by_id(keys)
        return returned(vectors, x, key)

    def _by_id(self, keys: Labels) -> FloatRows:
        labels, vectors = self._trained().find(keys)
        if (labels < 0).any():
            missing = int(keys[np.argmax(labels < 0)])
            raise MissingIdError(f"key={missing} is not in an index of {self.ntotal} vectors")
        return vectors

    def reconstruct_n(self, n0: int = 0, ni: int = -1, x: Any = None) -> FloatRows:
        """Return `ni` vectors in order of insertion, starting at the n0-th; -1 for all remaining.

        Raises MissingIdError if the range exceeds the index.
        """
        core = self._trained()
        with self._writing:
            n0, ni = self._span(n0, ni)
            vectors = output("x", x, (ni, self._d), np.float32)
            vectors[:] = core.vectors(n0, ni)
        return returned(vectors, x)

    def search(self, x: Any, k: int, *, params: Any = None) -> tuple[FloatRows, Labels]:
        """Find k near vectors of each query."""
        raise NotImplementedError

    def assign(self, x: Any, k: int = 1, labels: Any = None) -> Labels:
        """Return the ids that `search` finds, int64 (n, k), in `labels` if given."""
        found = self.search(x, k)[1]
        if labels is None:
            return found
        out = output("labels", labels, found.shape, np.int64)
        out[:] = found
        return returned(out, labels, x)

    @positional_outputs("D", "I", "R")
    def search_and_reconstruct(
        self, x: Any, k: int, *, params: Any = None
    ) -> tuple[FloatRows, Labels, NDArray[np.float32]]:
        """Search, and return the vectors that were found, NaN where there are fewer than k."""
        with self._writing:  # no vector is removed between the search and the reconstruction
            distances, ids = self.search(x, k, params=params)
            found = np.asarray(ids) != -1
            vectors = np.full((*found.shape, self._d), np.nan, np.float32)
            vectors[found] = self._by_id(np.asarray(ids)[found])
        return distances, ids, returned(vectors, None, x)

    def remove_ids(self, x: Any) -> int:
        """Remove vectors by id, and return their number; the others keep their order.

        Vectors with links to removed ones get links to what these were linked to. The whole graph
        is gone through, so remove many ids at once. Explicit ids stay; otherwise ids are
        positions, and the remaining vectors are renumbered.

        Parameters
        ----------
        x : array_like of int, shape (m,), or IDSelector
            Ids that are not in the index are ignored, and duplicates count once.

        Raises
        ------
        TypeError
            If `x` is neither an array of integers nor a selector.
        """
        core = self._trained()
        selects = is_selector(x)
        ids = None if selects else sorted_unique(as_ids(x, "x"))
        with self._writing:
            return core.remove(program(x, self._universe()) if selects else [("set", ids)])

    def reset(self) -> None:
        """Remove all vectors."""
        if self._core:
            with self._writing:
                self._core.reset()
                if self._keeps_ids:
                    self._core.keep_ids()
