"""`IndexIVF`: an inverted file, of which a query searches the nearest lists."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from waterfill import _core
from waterfill._util.optional import require_faiss
from waterfill._util.progress import Option
from waterfill._util.validation import Metric, as_int, as_positive_int
from waterfill.codec import Codec
from waterfill.data.rows import FloatRows, Rows
from waterfill.encoding import Codes, encode_rows
from waterfill.index.base import Stored
from waterfill.index.coarse_quantizer import CoarseQuantizer, add_centroids, check_quantizer
from waterfill.index.inverted_lists import InvertedLists
from waterfill.index.list_recall import DEFAULT_TARGET_RECALL, ListRecall, as_target_recall
from waterfill.index.search_parameters import SearchParameters
from waterfill.index.selector_graph import Step
from waterfill.plan import Plan
from waterfill.recipe import Recipe, train_codec
from waterfill.training.cells import MAX_CELLS, Cells

if TYPE_CHECKING:
    from typing_extensions import Self


class IndexIVF(InvertedLists):
    """Compressed vectors in inverted lists, of which a query searches the `nprobe` nearest.

    Lists are those of an inverted file over a coarse quantizer [1]_. Codes are relative to the
    centroid of their list; one set of tables per query serves all lists. Ids are int64 and stay
    when other vectors are removed; `add` numbers vectors from `ntotal` on, as FAISS does.

    Parameters
    ----------
    codec : Plan, Recipe or Codec
        A plan or a recipe is trained by `train`; a codec must have `nlist` cells.
    nlist : int
        Number of lists, 1 to 65,536; usually ``4 * sqrt(n)`` to ``16 * sqrt(n)``.
    quantizer : faiss.Index, optional
        Finds the lists instead of an exhaustive search, such as an IndexHNSWFlat for many lists. A
        quantizer with `nlist` vectors defines the centroids; an empty one is filled by `train`.
    metric : {'ip', 'l2', 'cosine'} or int
        As for `IndexFlat`.
    refine : {'float16', 'int8', 'float32'} or array, shape (m, d), optional
        As for `IndexFlat`.
    k_factor : float
        As for `IndexFlat`.
    target_recall : float
        The recall that `nprobe` is chosen for: see the attribute.

    Attributes
    ----------
    target_recall : float or None
        The share of the neighbours of a search of all lists that a search must find, above 0 and at
        most 1; None if `nprobe` was set. Setting it sets `nprobe`.
    nprobe : int
        Lists to search per query (FAISS's default is 1). By default as few as find `target_recall`
        of the ten nearest: training measures it, and vectors that are added later count
        (`list_recall`). Setting it ends that. A search restricted to ids skips lists without any of
        them, and searches more lists where there are few, so that it does not find fewer
        neighbours.
    refine_factor, coarse_groups : int
        As for `IndexFlat`. There are at least 50 candidates instead of 100. Those that cannot be
        among the best are dropped.
    prune_sigma : float
        As for `IndexFlat`; it skips lists among the `nprobe` that cannot contribute.
    k_factor : float
        As for `IndexFlat`; can be changed.

    Raises
    ------
    ValueError, TypeError
        As `IndexFlat`; or if `nlist` is out of range, or does not match the codec or quantizer.

    References
    ----------
    .. [1] H. Jégou, M. Douze and C. Schmid, "Product quantization for nearest neighbor search",
       IEEE Transactions on Pattern Analysis and Machine Intelligence 33(1), 2011.
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
        target_recall: float = DEFAULT_TARGET_RECALL,
    ) -> None:
        self._nlist: int = as_nlist(nlist)
        if isinstance(codec, Codec) and codec.cells != self._nlist:
            raise ValueError(
                f"codec has {codec.cells} cells, expected nlist={nlist}; pass codec.plan and train"
            )
        super().__init__(codec, metric, refine, k_factor)
        self._quantizer = quantizer
        self._quantizer_bytes = b""
        self.target_recall = target_recall
        if quantizer is not None:
            check_quantizer(quantizer, self.d, self._nlist)
            if isinstance(codec, Codec):
                add_centroids(quantizer, codec._core)

    _known_nprobe: tuple[Any, int] | None = None  # of the last target, with what it depends on

    own_fields = False  # whether a FAISS index deletes its quantizer; Python counts references

    @property
    def nlist(self) -> int:
        """Number of lists."""
        return self._nlist

    @property
    def nprobe(self) -> int:
        """Number of lists to search per query."""
        number, target = self._list_setting
        if number is not None:
            return number
        assert target is not None
        return self._nprobe_for(target)

    @nprobe.setter
    def nprobe(self, value: int) -> None:
        self._list_setting = as_positive_int("nprobe", value), None

    @property
    def target_recall(self) -> float | None:
        """The share of the neighbours in all lists that a search must find."""
        return self._list_setting[1]

    @target_recall.setter
    def target_recall(self, value: float) -> None:
        self._list_setting = None, as_target_recall(value)

    def _set_lists(self, nprobe: int, target: float | None) -> None:
        """Set `nprobe` as it was stored, or the target recall that it follows."""
        if target is None:
            self.nprobe = nprobe
        else:
            self.target_recall = target

    def list_recall(self, nprobe: int | None = None) -> float | None:
        """Return the share of the true ten nearest that the nearest lists hold, as training found.

        It is what a search finds of the neighbours that a search of all lists would find, and thus
        the recall of an index whose rows rank the candidates; codes without rows lose a share of
        their own. For other queries than those of training, or more than ten neighbours, measure.

        Parameters
        ----------
        nprobe : int, optional
            Number of lists; by default that of the index.

        Returns
        -------
        float or None
            For the present number of vectors; a careful estimate, by one standard error. None if
            the codec was trained with fewer than 32 held-out rows, or comes from an older file.

        Raises
        ------
        ValueError, TypeError
            If `nprobe` is not an int of at least 1.
        NotTrainedError
            If the index is not trained.
        """
        number = self.nprobe if nprobe is None else as_positive_int("nprobe", nprobe)
        return self._lists_of(self._trained().codec).share(number, self.ntotal)

    def _lists_of(self, core: _core.Codec) -> ListRecall:
        return ListRecall.of(core, self._metric)

    def _nprobe_for(self, target: float) -> int:
        """Return `nprobe` for a target recall; without a codec, what no calibration gives."""
        if self._codec is None:
            return ListRecall(self._nlist, 0, (), 0.0).nprobe(target, 0)
        core = self._codec._core
        key = core, target, self.ntotal
        known = self._known_nprobe  # one read: another thread may replace it
        if known is None or known[0] != key:
            known = key, self._lists_of(core).nprobe(target, self.ntotal)
            self._known_nprobe = known
        return known[1]

    @property
    def quantizer(self) -> Any:
        """The FAISS index that finds the lists, or the index's own `CoarseQuantizer`.

        None before training, unless it is a FAISS index.
        """
        found = self._faiss_quantizer()
        if found is not None or self._codec is None:
            return found
        return CoarseQuantizer(self._codec._core.routing_vectors, self._metric)

    def _faiss_quantizer(self) -> Any:
        if self._quantizer is None and self._quantizer_bytes:
            faiss = require_faiss("an index with a FAISS quantizer")
            data = np.frombuffer(self._quantizer_bytes, dtype=np.uint8)
            try:
                quantizer = faiss.deserialize_index(data)
                check_quantizer(quantizer, self.d, self._nlist)
            except (RuntimeError, ValueError, TypeError, MemoryError) as error:
                raise _core.FormatError(
                    f"damaged: section QUANT is not the quantizer of this index: {error}"
                ) from None
            self._quantizer, self._quantizer_bytes = quantizer, b""
        return self._quantizer

    def _learn(self, source: Plan | Recipe, x: Any, queries: Any, progress: Option) -> Codec:
        quantizer = self._quantizer
        cells: Cells = self._nlist
        rows = Rows(x).n
        if 0 < rows < self._nlist:
            raise ValueError(f"x has {rows} rows, too few for nlist={self._nlist} lists")
        if quantizer is not None and quantizer.ntotal:
            cells = np.asarray(quantizer.reconstruct_n(0, self._nlist))
        codec = train_codec(source, x, self.metric, cells=cells, queries=queries, progress=progress)
        if codec.cells != self._nlist:  # fewer rows than lists
            raise ValueError(f"x has {codec.cells} rows, too few for nlist={self._nlist} lists")
        if quantizer is not None:
            add_centroids(quantizer, codec._core)
        return codec

    def _encode(self, rows: Rows) -> Codes:
        assert self._codec is not None
        if self._faiss_quantizer() is None:
            return super()._encode(rows)
        core, warns = self._codec._core, self._warns_of_clipped
        return encode_rows(core, rows, self._prepare, self._assign, warns=warns)

    def _assign(self, block: FloatRows) -> NDArray[np.uint16]:
        lists = self.quantizer.search(block, 1)[1][:, 0]
        if (lists < 0).any():
            raise ValueError("quantizer finds no list for some rows of x")
        return np.ascontiguousarray(lists, dtype=np.uint16)

    def _lists_to_search(self, chosen: SearchParameters) -> int:
        nprobe = chosen.nprobe or self.nprobe
        if chosen.target_recall is not None:
            nprobe = self._nprobe_for(chosen.target_recall)
        return min(nprobe, self._nlist)

    def _probes(self, queries: FloatRows, chosen: SearchParameters, number: int | None) -> Any:
        if self._faiss_quantizer() is None:
            if chosen.quantizer_params is not None:
                raise ValueError(
                    "params: quantizer_params are for an index with a FAISS quantizer, and this "
                    "one has none"
                )
            return number
        options = {} if chosen.quantizer_params is None else {"params": chosen.quantizer_params}
        lists = self.quantizer.search(queries, number, **options)[1]
        return np.ascontiguousarray(lists, dtype=np.int64)

    def merge_from(self, otherIndex: Any, add_id: int = 0) -> None:
        """Move all vectors of an index with the same codec into this one.

        Like `IndexFlat.merge_from`, but an `add_id` other than 0 is always added to the ids of the
        other index. With 0, vectors that were added without ids are numbered as by `add`; FAISS
        would create duplicates.

        Parameters
        ----------
        otherIndex : IndexIVF
            Of the same metric and codec, and with the same `refine`; it is empty afterwards.
        add_id : int
            Added to the ids of the other index.

        Raises
        ------
        ValueError, TypeError, NotTrainedError
            As `IndexFlat.merge_from`.
        """
        self.check_compatible_for_merge(otherIndex)
        self._require_changeable()
        otherIndex._require_changeable()
        if as_int("add_id", add_id) not in (0, self.ntotal):
            self._trained().keep_ids()
        super().merge_from(otherIndex, add_id)

    def _remove(self, steps: list[Step]) -> int:
        with self._writing:
            self._require_changeable()
            self._trained().keep_ids()
            return super()._remove(steps)

    def _settings(self) -> dict[str, Any]:
        kept = self._quantizer_bytes
        if self._quantizer is not None:
            faiss = require_faiss("writing an index with a FAISS quantizer")
            kept = faiss.serialize_index(self._quantizer).tobytes()
        return super()._settings() | {
            "inverted": True,
            "nprobe": self.nprobe,
            "target_recall": self.target_recall,
            "quantizer": kept,
        }

    @classmethod
    def _from_stored(cls, stored: Stored, refine: Any = None) -> Self:
        index = super()._from_stored(stored, refine)
        core, _, nprobe, target, _, quantizer = stored
        index._nlist = core.codec.cells
        index._set_lists(nprobe, target)
        index._quantizer, index._quantizer_bytes = None, quantizer
        return index

    def __repr__(self) -> str:
        lists = f"{self.nlist:,} lists, nprobe {self.nprobe}, metric {self.metric!r}"
        if not self.is_trained:
            return f"IndexIVF: not trained, {self.d} dimensions, {lists}"
        return (
            f"IndexIVF: {self.ntotal:,} vectors of {self.d} dimensions in "
            f"{self.bytes_per_vector:.4g} bytes each, {self.nbytes:,} bytes of memory in all, "
            f"{lists}"
        )


def as_nlist(nlist: Any) -> int:
    """Validate a number of lists."""
    number = as_positive_int("nlist", nlist)
    if number > MAX_CELLS:
        raise ValueError(f"nlist={number} must be at most {MAX_CELLS}")
    return number
