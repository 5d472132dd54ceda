"""An index of the core whose vectors have codes of several codecs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from waterfill import _core
from waterfill._util.fork_safe_lock import fork_safe_lock
from waterfill._util.validation import Metric
from waterfill.codec import Codec
from waterfill.index.list_recall import ListRecall
from waterfill.index.search_depth import MOST_CANDIDATES, sigma_for
from waterfill.index.selector_graph import Step
from waterfill.training.train import QUARTERS

T = TypeVar("T")

_ATTEMPTS = 3  # to read while there are changes, before changes must wait
_MIXED = (
    "{call}: {older:,} of {all:,} vectors have codes of an older codec; call recode() on the "
    "index that is open for changes"
)


class MixedIndex:
    """What stands for a `_core.Index` where the vectors of a folder have several codecs.

    Each codec has an index of its own, in the order of insertion; the last one grows. Each method
    sees one state of all. What would show codes of two codecs at once raises ValueError.

    Parameters
    ----------
    indexes : sequence of _core.Index
        At least two, with explicit ids, and with the same metric and kind of refine rows.
    """

    def __init__(self, indexes: Sequence[_core.Index]) -> None:
        *self._older, self._newest = self._indexes = tuple(indexes)
        self.codec, self.metric = self._newest.codec, self._newest.metric
        self.alpha, self.keeps_extra = self._newest.alpha, self._newest.keeps_extra
        self.refine_row_kind, self.has_ids = self._newest.refine_row_kind, True
        self._state = fork_safe_lock(self, "_state", threading.RLock)
        self._changes = 0  # odd during a change

    # One state of all indexes.

    @contextmanager
    def _change(self) -> Iterator[None]:
        with self._state:
            self._changes += 1
            try:
                yield
            finally:
                self._changes += 1

    def _read(self, read: Callable[[_core.Index], T]) -> list[T]:
        """Call a function for each index; no change comes in between."""
        for _ in range(_ATTEMPTS):
            before = self._changes
            if before % 2 == 0:
                answers = [read(index) for index in self._indexes]
                if self._changes == before:
                    return answers
        with self._state:
            return [read(index) for index in self._indexes]

    @property
    def older_sizes(self) -> list[int]:
        """Numbers of vectors with codes of older codecs, by codec."""
        return [index.size for index in self._older]

    @property
    def size(self) -> int:
        """Number of vectors."""
        return sum(self._read(lambda index: index.size))

    @property
    def version(self) -> int:
        """Grows with each change."""
        return sum(self._read(lambda index: index.version))

    @property
    def nbytes(self) -> int:
        """Memory that the process itself holds."""
        return sum(self._read(lambda index: index.nbytes))

    @property
    def id_bytes(self) -> int:
        """What the files hold of ids."""
        return sum(self._read(lambda index: index.id_bytes))

    # Changes.

    def append(
        self,
        codes: NDArray[np.uint8],
        ids: NDArray[np.int64] | None = None,
        rows: _core.RefineRows | None = None,
        replaced: list[Step] | None = None,
    ) -> None:
        """Append vectors, and remove those of before that a program selects."""
        with self._change():
            self._newest.append(codes, ids, rows, replaced)
            if replaced is not None:
                for index in self._older:
                    index.remove(replaced)

    def remove(self, program: list[Step]) -> int:
        """Remove the selected ids; return their number."""
        with self._change():
            return sum(index.remove(program) for index in self._indexes)

    # Search.

    def search(
        self,
        x: NDArray[np.float32],
        k: int,
        candidates: int,
        coarse_groups: int,
        prune_sigma: float,
        probes: NDArray[np.int64] | int | None = None,
        selector: list[Step] | None = None,
        refine_candidates: int = 0,
        contents: str = "",
    ) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[Any] | None]:
        """Search all vectors; `contents`: '' or 'rows', which are decoded if none are kept."""
        self._require_probes(probes)
        if contents == "codes":
            raise ValueError(self._message("codes"))

        def search(index: _core.Index) -> Any:
            depth, lists = (candidates, coarse_groups, prune_sigma), probes
            if index is not self._newest:
                depth, lists = self._depth(index, k, candidates), self._lists(index, probes)
            stored = contents and self._contents(index)
            return index.search(x, k, *depth, lists, selector, refine_candidates, stored)

        found = self._read(search)
        distances = np.concatenate([part[0] for part in found], axis=1)
        keys = distances if self.metric == _core.Metric.l2 else -distances
        best = np.argsort(keys, axis=1, kind="stable")[:, :k]  # equal ones: the earlier vector
        ids = np.concatenate([part[1] for part in found], axis=1)
        result = np.take_along_axis(distances, best, 1), np.take_along_axis(ids, best, 1)
        if not contents:
            return *result, None
        shape = (len(x), k, self.codec.d)
        rows = [
            self._rows(index, part[2]).reshape(shape)
            for index, part in zip(self._indexes, found, strict=True)
        ]
        chosen = np.take_along_axis(np.concatenate(rows, axis=1), best[:, :, None], 1)
        return *result, chosen.reshape(-1, self.codec.d)

    def range_search(
        self,
        x: NDArray[np.float32],
        radius: float,
        probes: NDArray[np.int64] | int | None = None,
        selector: list[Step] | None = None,
    ) -> tuple[NDArray[np.uint64], NDArray[np.float32], NDArray[np.int64]]:
        """Find all vectors within a radius, those of a query in the order of insertion."""
        self._require_probes(probes)
        found = self._read(lambda index: index.range_search(x, radius, probes, selector))
        counts = [np.diff(limits).astype(np.int64) for limits, _, _ in found]
        queries = np.concatenate([np.repeat(np.arange(len(x)), count) for count in counts])
        order = np.argsort(queries, kind="stable")
        limits = np.concatenate([[0], np.cumsum(sum(counts))]).astype(np.uint64)
        distances = np.concatenate([part[1] for part in found])[order]
        return limits, distances, np.concatenate([part[2] for part in found])[order]

    def _depth(self, index: _core.Index, k: int, candidates: int) -> tuple[int, int, float]:
        """Return the settings of a search in an older index: what its training chose."""
        codec, metric = Codec(index.codec), self._metric_name
        sigma = sigma_for(codec.prune_sigma[metric], index.codec.calibration_rows, index.size)
        deep = min(codec.refine_factor[metric] * k, MOST_CANDIDATES)
        return max(candidates, deep), codec.coarse_groups[metric], sigma

    def _lists(self, index: _core.Index, probes: Any) -> int | None:
        """Return how many lists of an older index hold the share that those of the newest do."""
        if probes is None or not index.codec.cells:
            return None
        newest = ListRecall.of(self._newest.codec, self._metric_name)
        share = newest.share(probes, self._newest.size)
        older = ListRecall.of(index.codec, self._metric_name)
        return older.nlist if share is None else older.nprobe(share, index.size)

    @property
    def _metric_name(self) -> Metric:
        return "l2" if self.metric == _core.Metric.l2 else "ip"

    def _require_probes(self, probes: Any) -> None:
        if isinstance(probes, np.ndarray):
            raise ValueError(self._message("search in given lists"))

    # Vectors by id and by position.

    def ids(self, first: int, n: int) -> NDArray[np.int64]:
        """Return ids by label."""
        return np.concatenate(self._by_position(first, n, lambda index, *span: index.ids(*span)))

    def refine_rows(self, first: int, n: int) -> NDArray[np.float32]:
        """Return rows by label, decoded if none are kept."""

        def read(index: _core.Index, at: int, count: int) -> NDArray[np.float32]:
            kept = self._contents(index) == "rows"
            return self._rows(index, (index.refine_rows if kept else index.codes)(at, count))

        return np.concatenate(self._by_position(first, n, read))

    def _by_position(
        self, first: int, n: int, read: Callable[[_core.Index, int, int], T]
    ) -> list[T]:
        with self._state:
            parts, start = [], 0
            for index in self._indexes:
                end = start + index.size
                at, to = max(first, start), min(first + n, end)
                parts.append(read(index, max(0, at - start), max(0, to - at)))
                start = end
            return parts

    def find(
        self, ids: NDArray[np.int64], contents: str = ""
    ) -> tuple[NDArray[np.int64], NDArray[Any] | None]:
        """Return the last label of each id, or -1, and the rows, decoded if none are kept."""

        def find(index: _core.Index) -> tuple[int, NDArray[np.int64], Any]:
            labels, stored = index.find(ids, contents and self._contents(index))
            return index.size, labels, self._rows(index, stored) if contents else None

        labels = np.full(len(ids), -1, np.int64)
        rows = np.zeros((len(ids), self.codec.d), np.float32) if contents else None
        start = 0
        for size, own, stored in self._read(find):
            known = own >= 0
            labels[known] = start + own[known]
            if rows is not None:
                rows[known] = stored[known]
            start += size
        return labels, rows

    def selected_ids(self, program: list[Step]) -> NDArray[np.int64]:
        """Return the ids that a program selects."""
        return np.unique(np.concatenate(self._read(lambda index: index.selected_ids(program))))

    def removed_labels(self) -> NDArray[np.uint32]:
        """Return the labels of vectors that are marked as removed, by all vectors of segments."""
        start, labels = 0, []
        for size, own in self._read(lambda index: (index.size, index.removed_labels())):
            labels.append(own + np.uint32(start))
            start += size + len(own)
        return np.concatenate(labels)

    def _contents(self, index: _core.Index) -> str:
        return "codes" if index.refine_row_kind is None else "rows"

    def _rows(self, index: _core.Index, stored: NDArray[Any] | None) -> NDArray[np.float32]:
        assert stored is not None
        if stored.dtype == np.float32:
            return stored
        return Codec(index.codec).decode(stored, alpha=index.alpha / QUARTERS)

    def keep_ids(self) -> None:
        """Do nothing: ids are explicit."""

    # Codes and files.

    def codes(self, first: int, n: int) -> NDArray[np.uint8]:
        """Return codes by label, of vectors with the newest codec only."""
        with self._state:
            older = sum(self.older_sizes)
            if first < older:
                raise ValueError(self._message("codes"))
            return self._newest.codes(first - older, n)

    @property
    def list_sizes(self) -> list[int]:
        """Raise ValueError: each codec has its own lists."""
        raise ValueError(self._message("lists"))

    def write_segment(self, fd: int, path: bytes, mark: bytes, own: bool) -> int:
        """Write the vectors that are in no segment yet."""
        assert own
        return self._newest.write_segment(fd, path, mark, own)

    def write(self, *_: Any, **__: Any) -> None:
        """Raise ValueError: a file has one codec."""
        raise ValueError(self._message("write_index"))

    def to_bytes(self, *_: Any, **__: Any) -> NDArray[np.uint8]:
        """Raise ValueError: a file has one codec."""
        raise ValueError(self._message("serialize_index"))

    def _message(self, call: str) -> str:
        return _MIXED.format(call=call, older=sum(self.older_sizes), all=self.size)
