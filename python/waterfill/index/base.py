"""Base of flat and inverted indexes: the search of codes, and copies of an index."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from waterfill import _core
from waterfill._util.optional import loaded_faiss
from waterfill._util.validation import Metric, as_positive_int, metric_of
from waterfill.codec import Codec
from waterfill.data.row_policy import Quarantine
from waterfill.data.rows import FloatRows
from waterfill.index.search_depth import SearchDepth
from waterfill.index.search_parameters import SearchParameters, read_parameters
from waterfill.index.self_score import self_score
from waterfill.index.trainable import check_refine
from waterfill.index.vector_index import Labels, register, write_lock
from waterfill.index.views import DistanceComputer
from waterfill.plan import Plan
from waterfill.recipe import Recipe

if TYPE_CHECKING:
    from typing_extensions import Self

Stored = tuple[_core.Index, bool, int, float | None, float, bytes]
"""The core, whether it is an IVF, nprobe, target_recall, k_factor, and a quantizer's own bytes."""


class Index(SearchDepth):
    """Base of `IndexFlat` and `IndexIVF`; see there.

    Methods take and return what those of a ``faiss.Index`` do, under the same names. Safe to search
    from several threads; adding and removing wait for running searches.
    """

    def __init__(
        self, source: Codec | Plan | Recipe, metric: Metric | int, refine: Any, k_factor: float
    ) -> None:
        super().__init__(source, metric, refine, k_factor)
        register()

    # Search.

    def _found(
        self, queries: FloatRows, k: int, params: Any, lists: Labels | None, contents: str
    ) -> tuple[FloatRows, Labels, NDArray[Any] | None]:
        self._trained()
        k = as_positive_int("k", k)
        chosen = read_parameters(params)
        depth = self._depth(k, chosen, None if lists is None else lists.shape[1])
        selector = self._program(chosen.sel)
        if self._metric == "cosine":
            _core.require_finite(queries, "x", 0)
            queries = self._prepare(queries)
        distances, ids, stored = self._ranked(
            queries,
            k,
            depth.candidates,
            depth.coarse_groups,
            depth.prune_sigma,
            self._probes(queries, chosen, depth.lists) if lists is None else lists,
            selector,
            depth.exact,
            self._contents if contents == "vectors" else contents,
        )
        if contents == "vectors" and stored is not None:
            stored = self._vectors_of(stored[(ids != -1).reshape(-1)])
        return distances, ids, stored

    def _ranked(self, *arguments: Any) -> tuple[FloatRows, Labels, NDArray[Any] | None]:
        """Search with arguments and results as of the core's `search`."""
        return self._trained().search(*arguments)

    def to_gpu(self, device: int = 0, *, memory: int | None = None) -> Any:
        """Return an index that a GPU searches, with the vectors of this one.

        They are not copied in host memory: what is added to one index, or removed, is in the other
        as well. Settings are copied.

        Parameters
        ----------
        device : int
            Number of the GPU, as CUDA counts those that the process sees.
        memory : int, optional
            Bytes that the codes may take on the GPU; by default four fifths of what is free.

        Returns
        -------
        waterfill.gpu.IndexFlat or waterfill.gpu.IndexIVF
            Of the same kind.

        Raises
        ------
        ImportError
            Without cuda-core: ``pip install ".[cuda]"``.
        RuntimeError
            Without a driver or a GPU.
        ValueError, TypeError
            For another `device` or `memory`, or an index in a folder.
        NotTrainedError
            If the index is not trained.
        """
        from waterfill.gpu.indexes import on_gpu

        return on_gpu(self, device, memory)

    def get_distance_computer(self) -> DistanceComputer:
        """Return an object that computes distances between a query and single vectors."""
        self._trained()
        return DistanceComputer(self)

    def expected_self_score(self) -> float:
        """Estimate the score of a vector with itself, from the stored codes.

        Codes hold less than the vectors, so scores of very near vectors are off: inner products are
        too low, squared distances too high. Of the nearest neighbours of other queries they are
        right on average, because a search also selects by the error. The estimate rests on the
        centroid condition [1]_. ``docs/scores.md`` has the figures, and how to choose thresholds.

        Returns
        -------
        float
            For ``ip`` and ``cosine`` the mean score of a vector with itself, divided by its mean
            squared norm: 1 if the codes lose nothing. For ``l2`` its mean squared distance from
            itself: 0 if they lose nothing. Exactly that with `refine`.

        Raises
        ------
        ValueError
            If the index has no vectors.
        NotTrainedError
            If the index is not trained.

        References
        ----------
        .. [1] A. Gersho and R. M. Gray, Vector Quantization and Signal Compression, Kluwer, 1992,
           section 11.2.
        """
        return self_score(self)

    def _read_parameters(self, params: Any) -> SearchParameters:
        return read_parameters(params)

    def _found_within(
        self, queries: FloatRows, radius: float, chosen: SearchParameters, lists: Labels | None
    ) -> tuple[NDArray[np.uint64], NDArray[np.float32], Labels]:
        self._trained()
        selector = self._program(chosen.sel)
        number = self._lists_to_search(chosen)
        probes = self._probes(queries, chosen, number) if lists is None else lists
        return self._ranged(queries, radius, probes, selector)

    def _ranged(
        self, queries: FloatRows, radius: float, probes: Any, selector: Any
    ) -> tuple[NDArray[np.uint64], NDArray[np.float32], Labels]:
        """Call the core's search within a radius."""
        return self._trained().range_search(queries, radius, probes, selector)

    def _probes(self, queries: FloatRows, chosen: SearchParameters, number: int | None) -> Any:
        """Return the lists to search per query, or `number`: that of the nearest, or None."""
        return number

    # Copies and files.

    def _settings(self) -> dict[str, Any]:
        """Return the settings that are stored with the vectors, as arguments of the core."""
        return {
            "inverted": False,
            "nprobe": 0,
            "target_recall": None,
            "k_factor": self._k_factor,
            "quantizer": b"",
        }

    @classmethod
    def _from_stored(cls, stored: Stored, refine: Any = None) -> Self:
        """Make an index from the content of a file or a byte string."""
        core, _, _, _, k_factor, _ = stored
        index = cls.__new__(cls)
        kept = core.refine_row_kind
        if kept is not None:
            refine = kept.name
        source = Codec(core.codec)
        Index.__init__(index, source, metric_of(core.metric), None, k_factor)
        index._refine = check_refine(refine)
        index._attach(core, source)
        return index

    def __reduce_ex__(self, protocol: Any) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        held = Quarantine(self._quarantine)  # the copy's own
        if self._core is None:
            state = self.__dict__ | {"_writing": None, "_quarantine": held}
            return _remake, (type(self), state)
        borrowed = None if isinstance(self._refine, str) else self._refine
        own = {
            "_given": dict(self._given),  # the copy's own, too
            "_k_factor": self._k_factor,  # the bytes have it only with refine rows of their own
            "_keeps_ids": self._keeps_ids,
            "_quarantine": held,
            "verbose": self.verbose,
            "metric_arg": self.metric_arg,
        }
        return _restore, (type(self), self._pickled(protocol), borrowed, own)

    # LlamaIndex's FaissMapVectorStore requires isinstance(index, faiss.IndexIDMap2), and an index
    # with explicit ids behaves like one. isinstance compares the type first and then __class__, so
    # that this property suffices. A subclass would import FAISS with waterfill, and methods that an
    # index lacks would work on the copy behind `this`.
    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        passes = self._keeps_ids or self.has_ids
        faiss = loaded_faiss() if passes else None
        return getattr(faiss, "IndexIDMap2", type(self))

    def __dir__(self) -> list[str]:  # object's would list the methods of __class__
        return sorted({*dir(type(self)), *self.__dict__})


def _remake(kind: type[Index], state: dict[str, Any]) -> Index:
    index = kind.__new__(kind)
    index.__dict__.update(state, _writing=write_lock(index))
    return index


def _restore(kind: type[Index], data: Any, refine: Any, state: dict[str, Any]) -> Index:
    index = kind._from_stored(_core.index_from_bytes(data), refine)
    index.__dict__.update(state)
    if index._keeps_ids:
        index._keep_ids()  # not stored for an empty index
    return index
