"""What indexes on a GPU have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from waterfill._util.progress import Option
from waterfill._util.tensors import is_device_array
from waterfill._util.validation import as_positive_int
from waterfill.codec import Codec
from waterfill.data.row_policy import Policy
from waterfill.data.rows import FloatRows, Rows
from waterfill.device import opening
from waterfill.device.array_encoding import encode_device_rows
from waterfill.device.arrays import DeviceRows, device_source, in_kind
from waterfill.device.backend import Device
from waterfill.device.encoder import DeviceEncoder
from waterfill.device.row_pipeline import RowPipeline
from waterfill.device.search import DeviceSearch
from waterfill.device.trainer import TrainedOn
from waterfill.encoding import Codes, warn_of_ends
from waterfill.index.base import Index
from waterfill.index.vector_index import Labels

if TYPE_CHECKING:
    from typing_extensions import Self

_CODES_SHARE = 0.8  # of the free memory; searches need the rest


class OnDevice(Index):
    """An index whose codes are copied to a GPU when it is searched."""

    _ordinal = 0
    _memory: int | None = None
    _opened: Device | None = None
    _pipeline: tuple[Codec, RowPipeline] | None = None
    _search_state: tuple[Any, DeviceSearch] | None = None

    def _use_device(self, device: int, memory: int | None) -> None:
        self._memory = None if memory is None else as_positive_int("memory", memory)
        self._opened = opening.open_device(device)
        self._ordinal = device

    @property
    def device(self) -> int:
        """Number of the GPU."""
        return self._ordinal

    @property
    def device_bytes(self) -> int:
        """Bytes that codes take on the GPU now; 0 before the first search."""
        state = self._search_state
        return 0 if state is None else state[1].codes.nbytes

    @property
    def _device(self) -> Device:
        if self._opened is None:  # of a copy
            self._opened = opening.open_device(self._ordinal)
        return self._opened

    @classmethod
    def _from_cpu(cls, index: Index, device: int, memory: int | None) -> Self:
        """Return an index on a GPU that has its vectors in common with another one."""
        index._trained()
        own = cls.__new__(cls)
        kept = {k: v for k, v in index.__dict__.items() if k not in _OF_THE_DEVICE}
        own.__dict__.update(kept, _given=dict(index._given))
        own._use_device(device, memory)
        return own

    # Training and filling it.

    def train(self, x: Any, *, xq_train: Any = None, **options: Any) -> None:
        """Train the codec on the GPU, unless the index has one.

        Parameters
        ----------
        x : array_like, shape (n, d)
            Vectors, also in the memory of a GPU. Only the rows that training draws are copied.
        xq_train : array_like, shape (m, d), optional
            Typical queries, also in the memory of a GPU.
        **options : object
            As of `waterfill.IndexFlat.train`.

        Raises
        ------
        ValueError, TypeError
            As `waterfill.IndexFlat.train`.
        MemoryError
            If the GPU has too little memory to train; the index stays untrained.
        """
        super().train(device_source(x), xq_train=device_source(xq_train, "xq_train"), **options)

    def _learn(self, source: Any, x: Any, queries: Any, progress: Option) -> Codec:
        rows = x if isinstance(x, DeviceRows) else TrainedOn(x, self._device)
        return super()._learn(source, rows, queries, progress)

    def _append(
        self,
        x: Any,
        ids: Labels | None,
        call: str,
        policy: Policy,
        *,
        replaces: bool = False,
    ) -> None:
        super()._append(device_source(x), ids, call, policy, replaces=replaces)

    def sa_encode(self, x: Any, codes: Any = None) -> Codes:
        """Encode vectors as `add` does, without adding them.

        Parameters
        ----------
        x : array_like, shape (n, d)
            Vectors, also in the memory of a GPU.
        codes : uint8 (n, sa_code_size()), optional
            Array for the codes, in host memory.

        Returns
        -------
        uint8 (n, sa_code_size())
            The codes, in host memory.

        Raises
        ------
        ValueError, TypeError, NotTrainedError
            As `waterfill.IndexFlat.sa_encode`.
        """
        return super().sa_encode(device_source(x), codes)

    def _encode(self, rows: Rows) -> Codes:
        if self.__dict__.get("_quantizer") is not None or self.__dict__.get("_quantizer_bytes"):
            return super()._encode(rows)  # a quantizer of FAISS chooses the lists, on the CPU
        codec = self._codec
        assert codec is not None
        codes, ends = np.empty((rows.n, codec.code_size), np.uint8), (0, 0)
        normalize = self._metric == "cosine"
        source = rows.source
        if isinstance(source, DeviceRows):
            memory = source.device.allocate(max(codes.nbytes, 1))
            if rows.n:
                ends = encode_device_rows(codec._core, source, memory, normalize=normalize)
                own = source.device.read(memory, np.uint8, codes.size)
                codes[:] = own.reshape(codes.shape)
        else:
            with self._writing:  # one call at a time uses the stream
                pipeline = self._pipeline_of(codec, rows.n)
                blocks = rows.blocks(finite=False, step=pipeline.capacity)  # the GPU checks them
                ends = pipeline.encode(blocks, codes, name=rows.name, normalize=normalize)
        if self._warns_of_clipped:
            warn_of_ends(codec._core, rows.name, rows.n, *ends)
        return codes

    def _pipeline_of(self, codec: Codec, n: int) -> RowPipeline:
        """Return the pipeline of the last call, or one with more room or another codec."""
        known, capacity = self._pipeline, RowPipeline.capacity_for(n, codec.d)
        if known is None or known[0] is not codec or known[1].capacity < capacity:
            self._pipeline = None  # its memory is free before the other takes some
            encoder = DeviceEncoder(self._device, codec._core)
            self._pipeline = known = codec, RowPipeline(self._device, encoder, n)
        return known[1]

    # Searching it.

    def search(self, x: Any, k: int, **options: Any) -> tuple[Any, Any]:
        """Find the k nearest vectors of each query.

        Parameters
        ----------
        x : array_like, shape (n, d)
            Queries, also in the memory of a GPU.
        k : int
            At least 1; may exceed `ntotal`.
        **options : object
            As of `waterfill.IndexFlat.search`.

        Returns
        -------
        D : float32 (n, k)
            Scores or distances, best first; for queries in the memory of a GPU, an array of the
            same kind there.
        I : int64 (n, k)
            Ids, in the same kind of array.

        Raises
        ------
        ValueError, TypeError, NotTrainedError
            As `waterfill.IndexFlat.search`.
        MemoryError
            If the GPU has too little memory for the search; the index stays as it is.
        """
        queries, convert = _queries(x)
        distances, ids = super().search(queries, k, **options)
        return convert(distances), convert(ids)

    def _ranked(self, *arguments: Any) -> tuple[FloatRows, Labels, NDArray[Any] | None]:
        *searched, contents = arguments
        if contents:  # of what is found; a search of few queries, which the CPU answers
            return super()._ranked(*arguments)
        with self._writing:  # changes wait, and so does another search: they share the stream
            return *self._current().search(*searched), None

    def range_search(self, x: Any, thresh: float, **options: Any) -> tuple[Any, Any, Any]:
        """Find all vectors within a radius.

        Parameters
        ----------
        x : array_like, shape (n, d)
            Queries, also in the memory of a GPU.
        thresh : float
            The radius, as for `waterfill.IndexFlat.range_search`.
        **options : object
            As of `waterfill.IndexFlat.range_search`.

        Returns
        -------
        lims : uint64 (n + 1,)
            The results of query i are those from ``lims[i]`` up to ``lims[i + 1]``. For queries in
            the memory of a GPU, an array of int64 of the same kind there, as D and I.
        D : float32 (lims[n],)
            Inner products above the radius, or squared distances below it.
        I : int64 (lims[n],)
            Ids; those of a query are in order of insertion.

        Raises
        ------
        ValueError, TypeError, NotTrainedError
            As `waterfill.IndexFlat.range_search`.
        MemoryError
            If the GPU has too little memory for the search; the index stays as it is.
        """
        queries, convert = _queries(x)
        limits, distances, ids = super().range_search(queries, thresh, **options)
        if queries is not x:
            limits = limits.astype(np.int64)
        return convert(limits), convert(distances), convert(ids)

    def _ranged(
        self, queries: FloatRows, radius: float, probes: Any, selector: Any
    ) -> tuple[NDArray[np.uint64], NDArray[np.float32], Labels]:
        if self._trained().refine_row_kind is not None:  # exact scores, from rows in host memory
            return super()._ranged(queries, radius, probes, selector)
        with self._writing:
            return self._current().range_search(queries, radius, probes, selector)

    def _current(self) -> DeviceSearch:
        """Return the present vectors on the GPU, copied there unless they are there."""
        version = self._version
        if self._search_state is None or self._search_state[0] != version:
            self._search_state = None  # its memory is free before the other takes some
            device = self._device
            device.synchronize()
            memory = self._memory or int(_CODES_SHARE * device.free_bytes())
            self._search_state = version, DeviceSearch(device, self._trained(), memory)
        return self._search_state[1]

    # Copies.

    def __reduce_ex__(self, protocol: Any) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        make, (*arguments, state) = super().__reduce_ex__(protocol)
        kept = {k: v for k, v in state.items() if k not in _OF_THE_DEVICE}
        return make, (*arguments, kept | {"_ordinal": self._ordinal, "_memory": self._memory})


_OF_THE_DEVICE = ("_opened", "_pipeline", "_search_state")


def _queries(x: Any) -> tuple[Any, Callable[[NDArray[Any]], Any]]:
    """Return queries in host memory, and what turns results into arrays of their kind."""
    if not is_device_array(x):
        return x, lambda values: values
    rows = DeviceRows.of(x)
    return rows.read(0, rows.shape[0]), in_kind(rows)
