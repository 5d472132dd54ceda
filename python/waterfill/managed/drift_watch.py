"""Watching what is added and asked: drift from the vectors of training, and another model."""

from __future__ import annotations

import os
import threading
from contextlib import suppress

import numpy as np

from waterfill._util.fork_safe_lock import fork_safe_lock
from waterfill._util.validation import Metric
from waterfill.codec import Codec
from waterfill.data.rows import FloatRows, Rows
from waterfill.drift.model_change import Model, model_of
from waterfill.drift.monitor import DriftMonitor
from waterfill.errors import ArgumentError

MONITOR = "MANAGED.drift"
"""The file of the monitor in a folder."""

MANY_ASKED = 1000
"""Queries after which recall is measured again, though no vectors came."""

_ASKED = 1000  # queries that are remembered
_PER_CALL = 32  # of them from one call
_DISTINCT = 128  # queries that differ, from which a codec can be trained for them
_FEWEST_ROWS = 32  # of a call whose embedding model can be judged
_MOST_ROWS = 256
_BASELINE_ROWS = 3000
_PERMUTATIONS = 199


class AnotherModelError(ArgumentError):
    """Vectors seem to come from another embedding model; `model` says it in words."""

    def __init__(self, model: Model) -> None:
        super().__init__(
            f"x: expected vectors of the embedding model of the stored ones, got {model}; "
            "call upsert(ids, x, new_model=True) if the index is to have them"
        )
        self.model = model


class DriftWatch:
    """What maintenance knows of recent vectors and queries. Thread-safe.

    Parameters
    ----------
    path : str
        The folder.
    codec : Codec
        The one in use; the baseline of another one is not used.
    """

    def __init__(self, path: str, codec: Codec) -> None:
        self._path = os.path.join(path, MONITOR)
        self._asking = fork_safe_lock(self, "_asking", threading.Lock)  # searches take it: short
        self._lock = fork_safe_lock(self, "_lock", threading.Lock)
        self._asked: list[FloatRows] = []
        self._place = 0
        self._since = 0  # queries since the last measurement
        self._monitor: DriftMonitor | None = None
        with suppress(FileNotFoundError, ValueError):  # without a baseline nothing is watched
            monitor = DriftMonitor.load(self._path)
            if monitor.codec.fingerprint == codec.fingerprint:
                self._monitor = monitor

    # Queries.

    def note(self, queries: FloatRows) -> bool:
        """Remember some queries of a call; return whether enough came to measure again."""
        with self._asking:
            before, self._since = self._since, self._since + len(queries)
            enough = before // MANY_ASKED < self._since // MANY_ASKED
            for query in queries[:_PER_CALL]:
                if len(self._asked) < _ASKED:
                    self._asked.append(query.copy())
                else:
                    self._asked[self._place] = query.copy()
                    self._place = (self._place + 1) % _ASKED
        return enough

    @property
    def since_measured(self) -> int:
        """Number of queries since `measured` was called."""
        return self._since

    def measured(self) -> None:
        """Count queries anew."""
        with self._asking:
            self._since = 0

    def asked(self, d: int) -> FloatRows:
        """Return the queries that are remembered, the latest last, float32 (m, d)."""
        with self._asking:
            ordered = self._asked[self._place :] + self._asked[: self._place]
            return np.array(ordered, np.float32).reshape(-1, d)

    def halves(self, d: int) -> tuple[FloatRows, FloatRows] | None:
        """Return distinct queries to train for, and as many to judge by; None if too few came."""
        asked = np.unique(self.asked(d), axis=0)
        if len(asked) < 2 * _DISTINCT:
            return None
        asked = np.random.default_rng(0).permutation(asked)
        return asked[::2], asked[1::2]

    # Vectors.

    def learn(self, codec: Codec, metric: Metric, rows: FloatRows) -> None:
        """Make some rows the baseline of a codec."""
        monitor = DriftMonitor.from_codec(
            codec,
            rows[:_BASELINE_ROWS],
            metric=metric,
            errors=False,
            permutations=_PERMUTATIONS,
        )
        monitor.save(self._path)
        with self._lock:
            self._monitor = monitor

    def compare(self, rows: FloatRows) -> str:
        """Compare recent rows with the baseline; return the result in words."""
        with self._lock:
            if self._monitor is None:
                return "not watched yet"
            state = self._monitor.to_bytes()
        monitor = DriftMonitor.from_bytes(state)  # additions do not wait for the tests
        monitor.reset()
        monitor.update(rows)
        report = monitor.report()
        monitor.save(self._path)  # it counts the looks
        with self._lock:
            self._monitor = monitor
        if not report.model.same:
            return str(report.model)
        if report.data.alarms:
            return f"new vectors differ in {', '.join(report.data.alarms)}"
        return f"{len(rows):,} new vectors are like those of training"

    def require_same_model(self, rows: Rows) -> None:
        """Raise ValueError for vectors that another embedding model seems to have made."""
        if rows.n < _FEWEST_ROWS or self._monitor is None:
            return
        chosen = np.arange(0, rows.n, max(1, rows.n // _MOST_ROWS))
        model = self._judge(rows.take(chosen, finite=False))  # the monitor leaves NaN out
        if model.verdict == "another":
            raise AnotherModelError(model)

    def _judge(self, rows: FloatRows) -> Model:
        with self._lock:
            monitor = self._monitor
            assert monitor is not None
            monitor.reset()
            monitor.update(rows)
            data = monitor._data
            model = model_of(data.features, data.reference, data.window, None)
            monitor.reset()
            return model
