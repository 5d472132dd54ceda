"""`MaintainedIndex`: what maintenance reads of a managed index and does to it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from waterfill.codec import Codec
from waterfill.data.rows import FloatRows, Rows
from waterfill.encoding import Codes
from waterfill.folder.index import FolderIndexIVF
from waterfill.index.search_parameters import SearchParametersIVF
from waterfill.index.vector_index import Labels
from waterfill.io import write_codec
from waterfill.managed.drift_watch import DriftWatch
from waterfill.managed.record import Event, Record
from waterfill.managed.reservoir import Reservoir
from waterfill.managed.settings import State
from waterfill.managed.stored_rows import sample
from waterfill.managed.worker import Worker

PREVIOUS = "MANAGED.codec"
"""The file of the codec before the present one."""

_RESERVOIR_ROWS = 32_768


class MaintainedIndex(FolderIndexIVF):
    """An index in a folder that changes its codec, its lists and its state while it is open."""

    _state: State
    _record: Record
    _watch: DriftWatch
    _worker: Worker | None
    _reservoir: Reservoir | None  # where no rows are kept
    _warns_of_clipped = False  # the user cannot train; drift is watched, and recall measured
    _coming: dict[str, Any] | None  # settings of lists that come with the next codec

    @property
    def _exact(self) -> bool:
        """Whether there are too few vectors to train with, so that all rows are compared."""
        codec = self._codec
        assert codec is not None
        return codec.fingerprint == self._state.first_codec

    @property
    def _older_vectors(self) -> int:
        """Number of vectors that have another codec than new ones."""
        return sum(list(self.codecs.values())[:-1])

    def _drop_rows(self, codec: Codec, nlist: int) -> None:
        """Use the first codec, and keep a sample of the rows only."""
        with self._changing:  # nothing comes between the sample and the codec
            reservoir = Reservoir(self._path, self.d)
            reservoir.start(*sample(self, _RESERVOIR_ROWS, seed=0), self.ntotal)
            reservoir.save()
            self._take_codec(codec, nlist, at_once=True)
            self._reservoir = reservoir

    def _note_stored(self, rows: Rows) -> None:
        if self._reservoir is not None and rows.n:
            core = self._trained()
            self._reservoir.note(core.ids(core.size - rows.n, rows.n), rows)

    def _logged(
        self, kind: str, ids: Labels, codes: Codes | None, rows: Any, change: Callable[[], Any]
    ) -> Any:
        before = self._trained().size + (0 if codes is None else len(codes))
        answer = super()._logged(kind, ids, codes, rows, change)
        removed = before - self._trained().size
        if self._reservoir is not None and removed:
            self._reservoir.remove(ids, removed)
        return answer

    def _keep_known(self, *, unknown: bool) -> None:
        """Leave out of the sample what is not in the index any more."""
        assert self._reservoir is not None
        core = self._trained()
        self._reservoir.keep(lambda ids: core.find(ids)[0] >= 0, core.size, unknown=unknown)

    def reset(self) -> None:
        """Remove all vectors."""
        with self._changing:
            super().reset()
            if self._reservoir is not None:
                self._reservoir.start(
                    np.empty(0, np.int64), np.empty((0, self.d), np.float32), vectors=0
                )
                self._reservoir.save()

    def _erase_removed(self) -> None:
        super()._erase_removed()
        if self._reservoir is not None:
            with self._changing:
                self._keep_known(unknown=False)
                self._reservoir.save()

    def _take_codec(self, codec: Codec, nlist: int, *, at_once: bool) -> None:
        """Use another codec from now on, with lists if `nlist` is not 0."""
        old = self._codec
        assert old is not None
        if not self._exact:
            write_codec(old, os.path.join(self._path, PREVIOUS))
        target = self._state.settings.target_recall
        lists = 1 - (1 - (target or 0.9)) / 2  # of the neighbours; codes lose some, too
        self._coming = {
            "nprobe": max(1, nlist // 32) if nlist else codec.cells,
            "target_recall": lists if nlist else None,
        }
        try:
            if at_once:
                keep_rows = self._state.settings.keep_rows != "none"
                self._exchange_codec(codec, keep_rows=keep_rows)
            else:
                self.change_codec(codec)
        finally:
            self._coming = None

    def _manifest_settings(self) -> dict[str, Any]:
        return super()._manifest_settings() | (self._coming or {})

    def _take_settings(self, codec: Codec) -> None:
        super()._take_settings(codec)
        if self._coming is not None:
            self._set_lists(self._coming["nprobe"], self._coming["target_recall"])

    def _in_turn(self, work: Any) -> None:
        """Write segments anew when nobody else does."""
        with self._merging:
            if not self._closing:
                work()

    def _note(self, state: State, *events: Event) -> None:
        """Keep a new state, and events in the record."""
        with self._changing:
            self._require_changeable()
            state.write(self._path)
            self._state = state
            for event in events:
                self._record.append(event)

    def _merge_if_worthwhile(self) -> None:
        self._wake()  # maintenance merges, too

    def _wake(self) -> None:
        if self._worker is not None:
            self._worker.wake()

    def _search_quietly(self, queries: FloatRows, k: int, nprobe: int) -> tuple[FloatRows, Labels]:
        """Search without remembering the queries."""
        found = super()._found(queries, k, SearchParametersIVF(nprobe=nprobe), None, "")
        return found[0], found[1]

    def _search_more_lists(self, nprobe: int) -> None:
        """Search so many lists from now on, until the next codec."""
        with self._changing:
            self._require_changeable()
            self._set_lists(nprobe, None)
            self._publish()

    def _candidates(self, k: int, k_factor: float | None) -> tuple[int, int]:
        if self._exact:
            n = self.ntotal + 1  # as in `search_exactly`
            return n, n
        return super()._candidates(k, k_factor)

    def _depth_key(self) -> tuple[Any, ...]:
        return *super()._depth_key(), self._exact
