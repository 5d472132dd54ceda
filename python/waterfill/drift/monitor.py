"""`DriftMonitor`: compares a stream of vectors and queries with the baseline of a codec."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from waterfill._util.atomic_file import atomic_write
from waterfill._util.validation import Metric, as_int, metric_name
from waterfill.codec import Codec
from waterfill.data.rows import Rows
from waterfill.drift import monitor_state
from waterfill.drift.baseline import (
    LEARNT_ROWS,
    baseline_recall,
    checked_alpha,
    checked_permutations,
    learnt_sensitivity,
    probe_rows,
    untrained,
)
from waterfill.drift.canary import Canary
from waterfill.drift.canary_recall import CanaryRecall
from waterfill.drift.feature_families import Features
from waterfill.drift.model_change import Probes, model_of
from waterfill.drift.monitored_stream import RECENT, Stream, slots_for
from waterfill.drift.report import DriftReport, Look
from waterfill.drift.retrain_policy import Cost
from waterfill.drift.window_comparison import Occupancy, error_ratio, occupancy

_FEWEST_ROWS, _FEWEST_QUERIES = 500, 100
_LEARNT_QUERIES = 1000
_DATA_SHARE = 0.8  # of alpha, that false alarms about stored vectors may spend; queries the rest


class DriftMonitor:
    """Monitor whether vectors and queries still resemble those that a codec was made for.

    Sums over what comes are compared with those of a baseline: see `report`. No vector is kept.
    The state takes less than 2 MB, does not grow, goes through pickle, and those of several workers
    are merged into what one worker would have seen. Safe to use from several threads. Made by
    `from_codec`.

    Attributes
    ----------
    codec : Codec
    alpha : float
        Probability of a false alarm, ever.

    Notes
    -----
    Rows that come together are alike, and tests that take them for independent alarm all the time.
    So rows are summed up in blocks, and blocks are what is compared: give ``block=`` the session,
    the document or whatever else rows come by. Without it all rows are taken for independent, but
    for copies: stored vectors that come again not long after count once, and equal queries are
    a block.
    """

    def __init__(
        self,
        codec: Codec,
        settings: monitor_state.MonitorSettings,
        data: Stream,
        queries: Stream,
        probes: Probes | None,
    ) -> None:
        self.codec = codec
        self._settings, self._probes = settings, probes
        self._data, self._queries = data, queries
        self._lock = threading.RLock()
        self._last: Look | None = None

    @classmethod
    def from_codec(
        cls,
        codec: Codec,
        reference: Any = None,
        *,
        blocks: Any = None,
        queries: Any = None,
        query_blocks: Any = None,
        probes: Any = None,
        canary: Canary | CanaryRecall | None = None,
        metric: Metric | int = "ip",
        errors: bool = True,
        alpha: float = 0.01,
        permutations: int = 999,
        seed: int = 0,
    ) -> DriftMonitor:
        """Start to monitor the vectors of a codec.

        Parameters
        ----------
        codec : Codec
        reference : array_like, shape (n, d), optional
            The baseline: 500 vectors at least, 3,000 to rely on, of the time that the codec was
            trained for, but not those that it was trained on, whose error is smaller. Of the very
            array that it was trained on, the rows that were drawn are left out. Without it the
            first 3,000 rows of `update` become the baseline.
        blocks : array_like of int or str, shape (n,), optional
            The block of each reference row, as for `update`.
        queries, query_blocks : optional
            Likewise of queries, 100 at least. Without them, the first 1,000 of `update_queries`.
        probes : array_like, shape (m, d), optional
            Embeddings of 64 or so fixed texts. Embed the same texts again now and then, and hand
            them to `update_probes`: nothing else tells a new version of the model from new topics.
        canary : Canary or CanaryRecall, optional
            Queries and full vectors of the time of the codec: recall is measured with them, which
            takes some seconds, and the result is kept.
        metric : {'ip', 'l2', 'cosine'} or int
            Of the index, for estimates of recall.
        errors : bool
            Encode vectors and judge the error of the decoded ones; `update` takes about three times
            as long.
        alpha : float
            Probability that this monitor ever raises a false alarm, over all families of tests and
            all looks; above 0, at most 0.2.
        permutations : int
            Of blocks, in each test; 99 at least.
        seed : int
            Of these.

        Returns
        -------
        DriftMonitor

        Raises
        ------
        ValueError
            For too few rows, other dimensions, a NaN or an infinity in the baseline, or a value out
            of range.
        TypeError
            If an argument has the wrong type.
        """
        if not isinstance(codec, Codec):
            raise TypeError(f"codec must be a waterfill.Codec, got {type(codec).__name__}")
        settings = monitor_state.MonitorSettings(
            alpha=checked_alpha(alpha),
            permutations=checked_permutations(permutations),
            seed=as_int("seed", seed),
            metric=metric_name(metric),
            canary=None,
        )
        features = Features(codec)
        slots, groups = slots_for(len(features), codec.d), codec._core.groups if errors else 0
        data = Stream.empty(features, slots[:2], groups, LEARNT_ROWS)
        data.recent = np.zeros(RECENT, np.uint32)
        asked = Stream.empty(features, slots[2:], 0, _LEARNT_QUERIES)
        if reference is not None:
            rows = Rows(reference, "reference", codec.d)
            chosen = untrained(codec, rows)
            data.learn(rows, chosen, blocks, _FEWEST_ROWS)
        if queries is not None:
            asked.learn(Rows(queries, "queries", codec.d), None, query_blocks, _FEWEST_QUERIES)
        if reference is not None and errors:
            settings.sensitivity = learnt_sensitivity(codec, rows, chosen, queries, settings.metric)
        kept = None if probes is None else Probes.of(probe_rows(codec.d, probes))
        settings.canary = baseline_recall(codec, canary)  # takes seconds, so it comes last
        return cls(codec, settings, data, asked, kept)

    @property
    def alpha(self) -> float:
        """Probability of any false alarm over all reports."""
        return self._settings.alpha

    @property
    def metric(self) -> Metric:
        """Metric of the index: ``ip``, ``l2`` or ``cosine``."""
        return self._settings.metric

    @property
    def canary(self) -> CanaryRecall | None:
        """Recall of the canary at the baseline."""
        return self._settings.canary

    @property
    def last(self) -> Look | None:
        """The last report, the recall of its canary, and its time."""
        return self._last

    @property
    def learning(self) -> bool:
        """Whether the next vectors are added to the baseline."""
        return self._data.learns > 0

    @property
    def learning_queries(self) -> bool:
        """Whether the next queries are added to the baseline."""
        return self._queries.learns > 0

    @property
    def nbytes(self) -> int:
        """Size of the state in bytes, without the codec."""
        probes = 0 if self._probes is None else self._probes.vectors.nbytes
        return probes + self._data.nbytes + self._queries.nbytes

    # What comes.

    def update(self, x: Any, block: Any = None) -> None:
        """Add stored vectors to the window.

        Parameters
        ----------
        x : array_like, shape (n, d)
            Rows with a NaN or an infinity are counted and left out, as are those that are ten times
            as long as any of the baseline.
        block : int, str, or array_like of them, shape (n,), optional
            What rows come by, as a session: of all rows, or of each. Rows of a block may come in
            several calls.

        Raises
        ------
        ValueError
            For another number of dimensions, or of blocks.
        TypeError
            If `x` is not an array of real numbers on the CPU, or blocks are neither integers nor
            strings.
        """
        with self._lock:
            self._data.update(Rows(x, "x", self.codec.d), block)

    def update_queries(self, q: Any, block: Any = None) -> None:
        """Add queries to the window, as `update`; they are tested separately from vectors."""
        with self._lock:
            self._queries.update(Rows(q, "q", self.codec.d), block)

    def update_probes(self, probes: Any) -> None:
        """Compare new embeddings of the probe texts, in the order of the baseline.

        Parameters
        ----------
        probes : array_like, shape (m, d)

        Raises
        ------
        ValueError
            If the baseline has no probes or another number of them, for other dimensions, or a NaN
            or an infinity.
        TypeError
            If it is not an array of real numbers on the CPU.
        """
        with self._lock:
            if self._probes is None:
                raise ValueError("probes: the baseline has none; give them to from_codec")
            again, wanted = probe_rows(self.codec.d, probes), len(self._probes.vectors)
            if len(again) != wanted:
                raise ValueError(f"probes has {len(again)} rows; the baseline has {wanted}")
            self._probes.update(again)

    def reset(self) -> None:
        """Start a new window; the baseline and the number of reports stay."""
        with self._lock:
            self._data.forget()
            self._queries.forget()
            if self._probes is not None:
                self._probes.forget()

    def merge(self, other: DriftMonitor) -> None:
        """Add the rows that another worker's copy of this monitor saw.

        Parameters
        ----------
        other : DriftMonitor
            Unchanged. Copies of one monitor, through pickle, have one baseline; two that still
            learn theirs have it together from now on. Copy a monitor with an empty window, and
            a baseline that is whole or empty: what both had at the start counts twice.

        Raises
        ------
        ValueError
            If it has another codec, or another baseline.
        TypeError
            If it is no monitor.
        """
        if not isinstance(other, DriftMonitor):
            raise TypeError(f"other must be a DriftMonitor, got {type(other).__name__}")
        if other is self:
            raise ValueError("other is the monitor itself")
        first, second = sorted((self, other), key=id)  # two merges must not wait in a circle
        with first._lock, second._lock:
            if self.codec.fingerprint != other.codec.fingerprint:
                raise ValueError("other has another codec")
            for own, theirs in ((self._data, other._data), (self._queries, other._queries)):
                own.require_like(theirs)
            self._data.merge(other._data)
            self._queries.merge(other._queries)
            if self._probes is not None and other._probes is not None:
                self._probes.merge(other._probes)

    # What is made of it.

    def report(self, canary: Canary | None = None, ntotal: int | None = None) -> DriftReport:
        """Test the window: all rows since the last `reset`.

        Blocks of the window are compared with those of the baseline, in families of features: means
        and variances along the codec's eigen-directions, means and variances of the vectors' own
        dimensions, energy in bands of directions, norms, and the error of decoded vectors. A family
        alarms if its largest difference is rarer than alpha under permutation of blocks, divided by
        the number of families (Bonferroni) and, at the k-th look, by k (k + 1), which sums up to
        one over all looks that may come (alpha spending: Lan & DeMets 1983).

        Parameters
        ----------
        canary : Canary, optional
            Queries and full vectors of today: what drift costs is measured with them, in seconds.
            Without one it is estimated from the growth of the error.
        ntotal : int, optional
            Vectors of the index whose recall is asked for; by default those that are searched.

        Returns
        -------
        DriftReport

        Raises
        ------
        ValueError
            If the canary does not go with the codec or with the baseline's canary.
        TypeError
            If it is no canary.
        """
        with self._lock:
            settings = self._settings
            part = settings.alpha * _DATA_SHARE
            data = self._data.look(part, settings.permutations, settings.seed)
            asked = None
            if self._queries.window.n:
                rest = settings.alpha - part
                asked = self._queries.look(rest, settings.permutations, settings.seed + 1)
            seen = self._data.window
            ratio, cells = self._codes()
            model = model_of(self._data.features, self._data.reference, seen, self._probes)
            quality = seen.counted()
        measured = self._measured(canary)
        cost = self._cost(measured, ratio, ntotal)
        report = DriftReport(data, asked, model, ratio, cells, cost, quality, settings.alpha)
        self._last = Look(report, measured, time.time())
        return report

    def _codes(self) -> tuple[float | None, Occupancy | None]:
        """Return the growth of the error and the use of cells, where known."""
        data = self._data
        if not data.errors or data.learns > 0 or data.window.n == 0:
            return None, None
        ratio = error_ratio(data.features, data.reference, data.window)
        return ratio, occupancy(data.reference, data.window)

    def _measured(self, canary: Canary | None) -> CanaryRecall | None:
        if canary is None:
            return None
        if not isinstance(canary, Canary):
            raise TypeError(f"canary must be a Canary, got {type(canary).__name__}")
        return canary.measure(self.codec, self._settings.canary)

    def _cost(
        self, measured: CanaryRecall | None, ratio: float | None, ntotal: int | None
    ) -> Cost | None:
        if measured is not None:
            return measured.cost(self._settings.canary, ntotal)
        if ratio is None or self._settings.sensitivity is None:
            return None
        return self._settings.sensitivity.estimate(ratio)

    # Copies and files.

    def to_bytes(self) -> bytes:
        """Serialise codec, baseline and window."""
        with self._lock:
            return monitor_state.write(
                self.codec, self._settings, self._data, self._queries, self._probes
            )

    @classmethod
    def from_bytes(cls, data: bytes) -> DriftMonitor:
        """Read what `to_bytes` wrote.

        Raises
        ------
        waterfill.FormatError
            If `data` is something else, or damaged.
        """
        return cls(*monitor_state.read(data))

    def save(self, path: Any) -> None:
        """Write `to_bytes` to a file atomically; OSError if the file system fails."""
        with atomic_write(path) as file:
            file.write(self.to_bytes())

    @classmethod
    def load(cls, path: Any) -> DriftMonitor:
        """Read what `save` wrote; FormatError if the file is damaged or of another kind."""
        return cls.from_bytes(monitor_state.bytes_of(path))

    def __reduce__(self) -> tuple[Callable[[bytes], DriftMonitor], tuple[bytes]]:
        return DriftMonitor.from_bytes, (self.to_bytes(),)

    def __repr__(self) -> str:
        seen = self._data.reference.n, self._data.window.n
        return (
            f"DriftMonitor: baseline of {seen[0]:,} vectors"
            + (" so far" if self.learning else "")
            + f", {seen[1]:,} in the window, alpha {self.alpha:g}"
        )
