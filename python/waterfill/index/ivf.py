"""An inverted file: each query looks at the few lists that are nearest to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from waterfill import _core
from waterfill._util.optional import require_faiss
from waterfill._util.validation import Metric, as_int, as_positive_int
from waterfill.codec import Codec, Codes
from waterfill.data.rows import FloatRows, Rows
from waterfill.index.base import Index, Stored
from waterfill.index.search_parameters import SearchParameters
from waterfill.index.selectors import Step
from waterfill.plan import Plan
from waterfill.recipe import Recipe, learn
from waterfill.training.cells import MOST_CELLS

if TYPE_CHECKING:
    from typing_extensions import Self

_PROBED = 32  # one list in so many is looked at, until nprobe is set


class IndexIVF(Index):
    """Compressed vectors in lists, of which a search looks at the `nprobe` nearest.

    Vectors are coded from the centroid of their list, and queries get one set of tables for all
    lists. Ids are int64 and stay with their vectors when others are removed; `add` numbers vectors
    from `ntotal` on, as FAISS does.

    Parameters
    ----------
    codec : Plan, Recipe or Codec
        A plan or a recipe is trained by `train`; a codec must have `nlist` cells.
    nlist : int
        Number of lists, 1 to 65,536; some ``4 * sqrt(n)`` to ``16 * sqrt(n)`` are usual.
    quantizer : faiss.Index, optional
        Finds the lists, instead of an exhaustive search of our own: an IndexHNSWFlat, say, for many
        lists. One with `nlist` vectors gives the centroids; an empty one is given those that
        `train` learns.
    metric, refine, k_factor
        As for `IndexFlat`.

    Attributes
    ----------
    nprobe : int
        Lists that each query looks at: a 32nd of all at first (FAISS's default is 1). A search
        restricted to ids does not count lists without any of these, and where they are few looks
        at more lists, so that no fewer neighbours are found than without.
    refine_factor, coarse_groups, prune_sigma, k_factor
        As for `IndexFlat`. `prune_sigma` skips lists among the `nprobe` that cannot contribute.
        There are at least 50 candidates; those that cannot be among the best are dropped.

    Raises
    ------
    ValueError, TypeError
        As `IndexFlat`; if `nlist` is out of range, or a codec or quantizer has other lists.
    """

    _least_candidates = 50

    def __init__(
        self,
        codec: Codec | Plan | Recipe,
        nlist: int,
        quantizer: Any = None,
        *,
        metric: Metric | int = "ip",
        refine: Any = None,
        k_factor: float = 4.0,
    ) -> None:
        self._nlist = as_nlist(nlist)
        if isinstance(codec, Codec) and codec.cells != self._nlist:
            raise ValueError(
                f"codec has {codec.cells} cells, nlist={nlist} lists; give codec.plan, and train"
            )
        super().__init__(codec, metric, refine, k_factor)
        self._quantizer = quantizer
        self._quantizer_bytes = b""
        self.nprobe = max(1, self._nlist // _PROBED)
        if quantizer is not None:
            _check_quantizer(quantizer, self.d, self._nlist)
            if isinstance(codec, Codec):
                _fill(quantizer, codec._core.arrays["centroids"])

    own_fields = False  # FAISS's way to say who deletes the quantizer; Python counts references

    @property
    def nlist(self) -> int:
        """Number of lists."""
        return self._nlist

    @property
    def nprobe(self) -> int:
        """Lists that each query looks at."""
        return self._nprobe

    @nprobe.setter
    def nprobe(self, value: int) -> None:
        self._nprobe = as_positive_int("nprobe", value)

    @property
    def quantizer(self) -> Any:
        """The FAISS index that finds the lists, or None."""
        if self._quantizer is None and self._quantizer_bytes:
            faiss = require_faiss("an index with a FAISS quantizer")
            data = np.frombuffer(self._quantizer_bytes, dtype=np.uint8)
            self._quantizer = faiss.deserialize_index(data)
            self._quantizer_bytes = b""
        return self._quantizer

    def get_list_size(self, list_no: int) -> int:
        """Return the number of vectors in a list; IndexError if there is no such list."""
        sizes, number = self.list_sizes(), as_int("list_no", list_no)
        if not 0 <= number < len(sizes):
            raise IndexError(f"list_no={number} must be from 0 to {len(sizes) - 1}")
        return int(sizes[number])

    def list_sizes(self) -> NDArray[np.int64]:
        """Return the number of vectors in each list, int64 (nlist,)."""
        return np.asarray(self._trained().list_sizes, dtype=np.int64)

    def make_direct_map(self, new_maintain_direct_map: bool = True) -> None:
        """Do nothing: `reconstruct` needs no map. FAISS's indexes want it called."""

    def _learn(self, source: Plan | Recipe, x: Any, queries: Any) -> Codec:
        quantizer, cells = self._quantizer, self._nlist
        if quantizer is not None and quantizer.ntotal:
            cells = quantizer.reconstruct_n(0, self._nlist)
        codec = learn(source, x, self.metric, cells=cells, queries=queries)
        if codec.cells != self._nlist:  # as many as there are rows
            raise ValueError(f"x has {codec.cells} rows, too few for nlist={self._nlist} lists")
        if quantizer is not None:
            _fill(quantizer, codec._core.arrays["centroids"])
        return codec

    def _encode(self, rows: Rows) -> Codes:
        assert self._codec is not None
        if self.quantizer is None:
            return super()._encode(rows)
        return self._codec._encode(rows, self._prepare, self._assign)

    def _assign(self, block: FloatRows) -> NDArray[np.uint16]:
        lists = self.quantizer.search(block, 1)[1][:, 0]
        if (lists < 0).any():
            raise ValueError("quantizer finds no list for some rows of x")
        return np.ascontiguousarray(lists, dtype=np.uint16)

    def _probes(self, queries: FloatRows, chosen: SearchParameters) -> Any:
        nprobe = min(chosen.nprobe or self._nprobe, self._nlist)
        if self.quantizer is None:
            return nprobe
        options = {} if chosen.quantizer_params is None else {"params": chosen.quantizer_params}
        lists = self.quantizer.search(queries, nprobe, **options)[1]
        return np.ascontiguousarray(lists, dtype=np.int64)

    def merge_from(self, otherIndex: Any, add_id: int = 0) -> None:  # noqa: N803
        """Take all vectors of an index with the same codec, which is left empty.

        As `IndexFlat.merge_from`, but that any `add_id` other than 0 is added to the other's ids.
        With 0, vectors that were added without ids get their new positions (FAISS would give
        ids twice). Errors are the same.
        """
        self.check_compatible_for_merge(otherIndex)
        if as_int("add_id", add_id) not in (0, self.ntotal):
            self._trained().keep_ids()
        super().merge_from(otherIndex, add_id)

    def _remove(self, core: _core.Index, steps: list[Step]) -> int:
        core.keep_ids()
        return core.remove(steps)

    def _settings(self) -> dict[str, Any]:
        kept = self._quantizer_bytes
        if self._quantizer is not None:
            faiss = require_faiss("writing an index with a FAISS quantizer")
            kept = faiss.serialize_index(self._quantizer).tobytes()
        return super()._settings() | {
            "inverted": True,
            "nprobe": self._nprobe,
            "quantizer": kept,
        }

    @classmethod
    def _from_stored(cls, stored: Stored, refine: Any = None) -> Self:
        index = super()._from_stored(stored, refine)
        core, _, nprobe, _, quantizer = stored
        index._nlist, index._nprobe = core.codec.cells, nprobe
        index._quantizer, index._quantizer_bytes = None, quantizer
        return index

    def __repr__(self) -> str:
        state = f"{self.ntotal:,} vectors" if self.is_trained else "not trained"
        return (
            f"IndexIVF: {state} of {self.d} dimensions, {self.nlist:,} lists, nprobe "
            f"{self.nprobe}, metric {self.metric!r}"
        )


def as_nlist(nlist: Any) -> int:
    """Return a number of lists that an index can have."""
    number = as_positive_int("nlist", nlist)
    if number > MOST_CELLS:
        raise ValueError(f"nlist={number} must be at most {MOST_CELLS}")
    return number


def _check_quantizer(quantizer: Any, d: int, nlist: int) -> None:
    for name in ("d", "ntotal", "search", "add", "reconstruct_n"):
        if not hasattr(quantizer, name):
            raise TypeError(f"quantizer must be a faiss.Index, got {type(quantizer).__name__}")
    if quantizer.d != d:
        raise ValueError(f"quantizer has {quantizer.d} dimensions, expected {d}")
    if quantizer.ntotal not in (0, nlist):
        raise ValueError(f"quantizer has {quantizer.ntotal} vectors; wanted are nlist={nlist} or 0")


def _fill(quantizer: Any, centroids: FloatRows) -> None:
    """Give the centroids to a quantizer that has none."""
    if quantizer.ntotal == 0:
        if not quantizer.is_trained:
            quantizer.train(centroids)
        quantizer.add(centroids)
        return
    found = quantizer.reconstruct_n(0, len(centroids))
    scale = np.abs(centroids).max()
    if not np.allclose(found, centroids, atol=1e-5 * scale):
        raise ValueError("quantizer has other centroids than the codec")
