"""`ManagedIndex`: an index in a folder that trains itself and stays good."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from waterfill.data.row_policy import Policy
from waterfill.data.rows import FloatRows, Rows
from waterfill.errors import ArgumentError
from waterfill.folder.index import as_distinct
from waterfill.folder.snapshot import Snapshot
from waterfill.index.vector_index import Labels
from waterfill.io import read_codec
from waterfill.managed.drift_watch import MONITOR, DriftWatch
from waterfill.managed.growth import size_for
from waterfill.managed.health import Health
from waterfill.managed.maintained_index import PREVIOUS, MaintainedIndex
from waterfill.managed.maintenance import Maintenance
from waterfill.managed.record import RECORD, Event, Record
from waterfill.managed.reservoir import RESERVOIR, Reservoir
from waterfill.managed.settings import MANAGED, Settings, State
from waterfill.managed.worker import Worker
from waterfill.reporting.object_tables import health_html

if TYPE_CHECKING:
    from typing_extensions import Self

_EVENTS = 5  # of a health report


class ManagedIndex(MaintainedIndex):
    """An index in a folder that needs no training and no tuning; made by `open_index` with ``d=``.

    It answers exactly until there are enough vectors to train a codec, which happens in the
    background. From then on it follows its size, measures its recall, and encodes the vectors anew
    when that pays. It has the methods of an `IndexIVF` in a folder, and `health`, `history`,
    `maintain` and `rollback`.
    """

    _maintenance: Maintenance

    @classmethod
    def _open(cls, path: str, snapshot: Snapshot, lock: Any, **options: Any) -> Self:
        index = super()._open(path, snapshot, lock, **options)
        index._state = _about(State.read(path), snapshot)
        index._record = Record(path)
        index._watch = DriftWatch(path, snapshot.codec)
        index._maintenance = Maintenance(index)
        index._worker = None
        coded = snapshot.codec.fingerprint != index._state.first_codec
        drops = index._state.settings.keep_rows == "none"
        index._reservoir = None
        if drops and coded:
            index._reservoir = Reservoir(path, index.d)
            index._keep_known(unknown=True)
        index._coming = None
        return index

    def _start(self, share: float) -> None:
        """Begin to maintain the index in the background."""
        self._worker = Worker(self, share)
        self._worker.wake()

    def _wish(self, wishes: dict[str, Any]) -> None:
        """Take the settings that the user gives for an existing folder; None: as they are."""
        now = self._state.settings
        given = {name: value for name, value in wishes.items() if value is not None}
        if given.get("keep_rows", now.keep_rows) != now.keep_rows:
            raise ValueError(
                f"keep_rows={given['keep_rows']!r}: the folder keeps rows of {now.keep_rows}"
            )
        target, code_bytes = given.get("target_recall"), given.get("code_bytes")
        if target is None and code_bytes is None:
            target, code_bytes = now.target_recall, now.code_bytes
        settings = Settings.of(
            self.d,
            target,
            code_bytes,
            now.keep_rows,
            given.get("on_drift", now.on_drift),
            given.get("truncate", now.truncate),
        )
        if settings == now:
            return
        if self._lock is None:
            raise ValueError(f"{next(iter(given))}: open the folder with mode='a' to change it")
        bytes_change = (settings.target_recall, settings.code_bytes) != (
            now.target_recall,
            now.code_bytes,
        )
        state = replace(self._state, settings=settings)
        if bytes_change and not self._exact:
            state = replace(state, meant_for=0)  # a new codec is due
        self._note(state, Event("asked", settings.words, self.ntotal))

    # What a user asks.

    def health(self) -> Health:
        """Return the size, the measured recall, and what was done and will be done."""
        exact = self._exact
        taken = self._vector_bytes()
        older = self._older_vectors
        recoded = older and self._reservoir is None
        return Health(
            vectors=self.ntotal,
            asked_for=self._state.settings.words,
            phase="exact" if exact else "re-encoding" if recoded else "coded",
            bytes_per_vector=taken.total,
            row_bytes=taken.row,
            disk_bytes=_size_of(self._path),
            recall=None if exact else self._state.asked or self._state.measured,
            nlist=self.nlist,
            nprobe=min(self.nprobe, self.nlist),
            older_codes=older,
            drift=self._state.drift,
            done=tuple(self.history[-_EVENTS:]),
            next=self._maintenance.plan(),
        )

    @property
    def history(self) -> list[Event]:
        """All that maintenance has decided and done, the oldest first."""
        return self._record.events()

    def maintain(self) -> list[Event]:
        """Do all maintenance that is due.

        For schedulers, with ``background="off"``. With a background it waits for its turn.

        Returns
        -------
        list of Event
            What was done.

        Raises
        ------
        ValueError
            If the index is not open for changes.
        OSError
            If files cannot be written; nothing is lost.
        """
        self._require_changeable()
        return self._maintenance.run(lambda: None)

    def rollback(self) -> None:
        """Go back to the codec before the present one, and encode the vectors with it.

        Waits for the step of maintenance that is under way.

        Raises
        ------
        ValueError
            If there is none, or the index is not open for changes.
        """
        self._require_changeable()
        name = os.path.join(self._path, PREVIOUS)
        if not os.path.exists(name):
            raise ValueError("there is no codec to go back to: only one has been trained")
        with self._maintenance.turn():
            codec, n = read_codec(name), self.ntotal
            state = State(
                self._state.settings,
                self._state.first_codec,
                codec=codec.fingerprint,
                trained_among=n,
                meant_for=size_for(n, with_rows=self._reservoir is None).meant_for,
            )
            self._take_codec(codec, codec.cells if self.nprobe < self.nlist else 0, at_once=False)
            self._note(state, Event("rolled back", "to the codec of before, as asked", n))
        self._wake()

    # Vectors and queries.

    def upsert(
        self, ids: Any, x: Any, *, policy: Policy = "raise", new_model: bool = False
    ) -> None:
        """Add vectors, and remove those that had their ids, in one step.

        Parameters
        ----------
        ids : array_like of int, shape (n,)
            Each once, and not -1.
        x : array_like, shape (n, d)
            Vectors.
        policy : {'raise', 'drop', 'quarantine'}
            As for `add`; old vectors of rows that are left out stay.
        new_model : bool
            Take vectors that another embedding model seems to have made. Without it they are
            refused: their distances from those that are stored mean nothing.

        Raises
        ------
        ValueError
            As `add_with_ids`; if an id occurs twice; or for vectors of another embedding model.
        TypeError, OSError
            As `add_with_ids`.
        """
        self._append(x, as_distinct(ids), "upsert", policy, replaces=True, same_model=not new_model)

    def _append(
        self,
        x: Any,
        ids: Labels | None,
        call: str,
        policy: Policy,
        *,
        replaces: bool = False,
        same_model: bool = True,
    ) -> None:
        x = self._first_dimensions(x)
        if same_model:
            self._watch.require_same_model(Rows(x, "x", self.d))
        super()._append(x, ids, call, policy, replaces=replaces)
        self._wake()

    def _found(
        self, queries: FloatRows, k: int, params: Any, lists: Labels | None, contents: str
    ) -> Any:
        found = super()._found(queries, k, params, lists, contents)
        if self._watch.note(queries):  # which are valid, as they were answered
            self._wake()
        return found

    def _search(self, x: Any, *arguments: Any, **options: Any) -> Any:
        return super()._search(self._first_dimensions(x), *arguments, **options)

    def _range_search(self, x: Any, *arguments: Any, **options: Any) -> Any:
        return super()._range_search(self._first_dimensions(x), *arguments, **options)

    def _first_dimensions(self, x: Any) -> Any:
        """Leave out the dimensions beyond those of the index, if that was asked for."""
        if not self._state.settings.truncate:
            return x
        if not hasattr(x, "shape") or len(x.shape) != 2:
            x = np.asarray(x, np.float32)
        if x.ndim != 2 or x.shape[1] < self.d:
            raise ArgumentError(
                f"x: expected vectors of {self.d} or more dimensions, got shape {tuple(x.shape)}"
            )
        return x[:, : self.d]

    # The folder.

    def close(self) -> None:
        """Stop maintenance, and close the folder as any other."""
        worker, self._worker = self._worker, None
        self._closing = True
        if worker is not None:
            worker.stop()
        try:
            if self._reservoir is not None and self._lock is not None and self._lock.held:
                self._reservoir.save()
        finally:
            super().close()

    def refresh(self) -> bool:
        """Take in what the writer of the folder has done, as any reader of a folder.

        Returns
        -------
        bool
            Whether it has done anything.

        Raises
        ------
        FormatError, OSError
            If the folder is damaged or gone; the index stays as it was.
        """
        changed = super().refresh()
        if self._lock is None:
            self._state = _about(State.read(self._path), self._snapshot)
        return changed

    def snapshot(self, path: Any) -> None:
        """Make a folder with the present state, which is managed, too.

        Parameters
        ----------
        path : str or path-like
            Must not exist.

        Raises
        ------
        FileExistsError
            If `path` exists.
        OSError
            If it cannot be written.
        """
        with self._changing:
            super().snapshot(path)
            self._copy_own_files(os.fspath(path))

    def _copy_own_files(self, path: str) -> None:
        if self._reservoir is not None and self._lock is not None:
            self._reservoir.save()  # without what was removed
        for name in (MANAGED, RECORD, MONITOR, RESERVOIR, PREVIOUS):
            source = os.path.join(self._path, name)
            if os.path.exists(source):
                shutil.copyfile(source, os.path.join(path, name))

    def __reduce_ex__(self, protocol: Any) -> Any:
        from waterfill.managed.opening import open_index

        return open_index, (self._path, "r")

    def __repr__(self) -> str:
        what = "exact" if self._exact else f"{self.nlist:,} lists, nprobe {self.nprobe}"
        return (
            f"ManagedIndex: {self.ntotal:,} vectors of {self.d} dimensions, metric "
            f"{self.metric!r}, {self._state.settings.words}; {what}"
        )

    def _repr_html_(self) -> str:
        return health_html(self, self.health())


def _about(state: State, snapshot: Snapshot) -> State:
    """Return the state of a folder; of one whose writer was killed after it had taken a codec."""
    used = snapshot.codec.fingerprint
    if used in (state.codec, state.first_codec):
        return state
    n, with_rows = snapshot.core.size, state.settings.keep_rows != "none"
    return State(
        state.settings,
        state.first_codec,
        codec=used,
        trained_among=n,
        meant_for=size_for(n, with_rows=with_rows).meant_for,
    )


def _size_of(path: str) -> int:
    """Return the bytes of the files of a folder."""
    total = 0
    with os.scandir(path) as entries:
        for entry in entries:
            try:
                total += entry.stat().st_size
            except FileNotFoundError:  # a merger has removed it
                continue
    return total
