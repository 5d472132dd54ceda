"""`DriftMonitor`: compares vectors and queries with the baseline of a codec."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from waterfill._util.atomic_file import atomic_write
from waterfill._util.fork_safe_lock import fork_safe_lock
from waterfill._util.validation import Metric, metric_name
from waterfill.codec import Codec
from waterfill.data.rows import Rows
from waterfill.drift import monitor_state
from waterfill.drift.baseline import (
    BASELINE_ROWS,
    baseline_recall,
    baseline_sensitivity,
    checked_alpha,
    checked_permutations,
    checked_seed,
    probe_rows,
    untrained,
)
from waterfill.drift.canary import Canary
from waterfill.drift.canary_recall import CanaryRecall
from waterfill.drift.feature_families import Features
from waterfill.drift.model_change import Probes, model_of
from waterfill.drift.monitored_stream import RECENT, Stream, slots_for
from waterfill.drift.report import DriftReport, LastReport
from waterfill.drift.retrain_policy import Cost
from waterfill.drift.window_comparison import Occupancy, error_ratio, occupancy

_MIN_ROWS, _MIN_QUERIES = 500, 100
_BASELINE_QUERIES = 1000
_DATA_SHARE = 0.8  # of alpha, spent on tests of stored vectors; tests of queries spend the rest


class DriftMonitor:
    """Monitor whether vectors and queries still resemble those that a codec was trained for.

    Sums over new rows are compared with those of a baseline: see `report`. No vectors are kept.
    The state takes less than 2 MB, does not grow and can be pickled. States of several workers are
    merged into the state that one worker would have. All methods are thread-safe. A monitor is
    made by `from_codec`.

    Attributes
    ----------
    codec : Codec
        The codec whose vectors are monitored.
    alpha : float
        Probability that the monitor ever raises a false alarm.

    Notes
    -----
    Rows of one session or document are correlated, and tests that treat them as independent raise
    false alarms. So rows are summed over blocks, and the tests permute blocks [1]_: pass the
    session, the document or the customer of each row as ``block=``. Without it, rows are treated as
    independent, except for repetitions: a stored vector that equals a recent one counts once, and
    equal queries form one block.

    References
    ----------
    .. [1] P. H. Westfall and S. S. Young, Resampling-Based Multiple Testing, Wiley, 1993.
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
        self._lock = fork_safe_lock(self, "_lock", threading.RLock)
        self._last: LastReport | None = None

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
        """Create a monitor for the vectors of a codec.

        Parameters
        ----------
        codec : Codec
            The codec of the index.
        reference : array_like, shape (n, d), optional
            The baseline: at least 500 vectors, 3,000 for reliable tests, of the period that the
            codec was trained for, without its training rows, whose error is smaller. If this is the
            array that the codec was trained on, its training rows are left out. Without a
            reference, the first 3,000 rows of `update` become the baseline.
        blocks : array_like of int or str, shape (n,), optional
            Block label of each reference row, as in `update`.
        queries : array_like, shape (m, d), optional
            Queries of the same period, at least 100. Without them, the first 1,000 rows of
            `update_queries` become the baseline.
        query_blocks : array_like of int or str, shape (m,), optional
            Block label of each of these queries.
        probes : array_like, shape (p, d), optional
            Embeddings of at least 8, preferably 64, fixed texts. Embed the same texts again
            regularly and pass them to `update_probes`: only probes distinguish a new version of the
            model from new topics.
        canary : Canary or CanaryRecall, optional
            Queries and full vectors of the codec's period. Recall is measured with them, which
            takes some seconds, and the result is kept.
        metric : {'ip', 'l2', 'cosine'} or int
            Metric of the index, for estimates of recall.
        errors : bool
            Encode vectors and test their quantization error; `update` takes about three times as
            long.
        alpha : float
            Probability that this monitor ever raises a false alarm, over all families of tests and
            all looks; above 0, at most 0.2.
        permutations : int
            Number of permutations of blocks in each test, 99 to 100,000.
        seed : int
            Seed of the permutations.

        Returns
        -------
        DriftMonitor
            With the baseline, and an empty window.

        Raises
        ------
        ValueError
            If there are too few rows, dimensions differ, the baseline has a NaN or an infinity, or
            a value is out of range.
        TypeError
            If an argument has the wrong type.
        """
        if not isinstance(codec, Codec):
            raise TypeError(f"codec must be a waterfill.Codec, got {type(codec).__name__}")
        settings = monitor_state.MonitorSettings(
            alpha=checked_alpha(alpha),
            permutations=checked_permutations(permutations),
            seed=checked_seed(seed),
            metric=metric_name(metric),
            canary=None,
        )
        features = Features(codec)
        slots, groups = slots_for(len(features), codec.d), codec._core.groups if errors else 0
        data = Stream.empty(features, slots[:2], groups, BASELINE_ROWS)
        data.recent = np.zeros(RECENT, np.uint32)
        query_stream = Stream.empty(features, slots[2:], 0, _BASELINE_QUERIES)
        if reference is not None:
            rows = Rows(reference, "reference", codec.d)
            positions = untrained(codec, rows)
            data.learn(rows, positions, blocks, _MIN_ROWS)
        if queries is not None:
            query_rows = Rows(queries, "queries", codec.d)
            query_stream.learn(query_rows, None, query_blocks, _MIN_QUERIES)
        if reference is not None and errors:
            settings.sensitivity = baseline_sensitivity(
                codec, rows, positions, queries, settings.metric
            )
        baseline_probes = None if probes is None else Probes.of(probe_rows(codec.d, probes))
        settings.canary = baseline_recall(codec, canary)  # takes seconds, so it comes last
        return cls(codec, settings, data, query_stream, baseline_probes)

    @property
    def alpha(self) -> float:
        """Probability that the monitor ever raises a false alarm."""
        return self._settings.alpha

    @property
    def metric(self) -> Metric:
        """Metric of the index: ``ip``, ``l2`` or ``cosine``."""
        return self._settings.metric

    @property
    def canary(self) -> CanaryRecall | None:
        """Recall of the baseline's canary, or None."""
        return self._settings.canary

    @property
    def last(self) -> LastReport | None:
        """The last report, with the recall of its canary and its time; None before the first."""
        return self._last

    @property
    def learning(self) -> bool:
        """Whether the next vectors are added to the baseline."""
        return self._data.rows_to_learn > 0

    @property
    def learning_queries(self) -> bool:
        """Whether the next queries are added to the baseline."""
        return self._queries.rows_to_learn > 0

    @property
    def nbytes(self) -> int:
        """Size of the state in bytes, without the codec."""
        probes = 0 if self._probes is None else self._probes.vectors.nbytes
        return probes + self._data.nbytes + self._queries.nbytes

    # Updates of the window.

    def update(self, x: Any, block: Any = None) -> None:
        """Add stored vectors to the window.

        Parameters
        ----------
        x : array_like, shape (n, d)
            Rows with a NaN or an infinity are counted and left out, as are rows whose norm is more
            than ten times the largest norm of the baseline.
        block : int, str, or array_like of int or str, shape (n,), optional
            Block label, such as a session: one for all rows, or one for each row. Rows of a block
            may be added in several calls.

        Raises
        ------
        ValueError
            If the number of dimensions or of block labels does not match.
        TypeError
            If `x` is not an array of real numbers on the CPU, or block labels are neither integers
            nor strings.
        """
        with self._lock:
            self._data.update(Rows(x, "x", self.codec.d), block)

    def update_queries(self, q: Any, block: Any = None) -> None:
        """Add queries to the window; they are tested separately from vectors.

        Parameters
        ----------
        q : array_like, shape (m, d)
            Queries.
        block : int, str, or array_like of these, shape (m,), optional
            Block label, as for `update`.

        Raises
        ------
        ValueError, TypeError
            As `update`.
        """
        with self._lock:
            self._queries.update(Rows(q, "q", self.codec.d), block)

    def update_probes(self, probes: Any) -> None:
        """Compare new embeddings of the probe texts with those of the baseline.

        Parameters
        ----------
        probes : array_like, shape (p, d)
            In the order of the baseline's probes.

        Raises
        ------
        ValueError
            If the baseline has no probes, the number of rows or dimensions differs, or a value is
            not finite.
        TypeError
            If `probes` is not an array of real numbers on the CPU.
        """
        with self._lock:
            if self._probes is None:
                raise ValueError(
                    "probes: the baseline has none to compare with; pass probes= to from_codec"
                )
            vectors, expected = probe_rows(self.codec.d, probes), len(self._probes.vectors)
            if len(vectors) != expected:
                raise ValueError(
                    f"probes: expected {expected} rows as in the baseline, got {len(vectors)}"
                )
            self._probes.update(vectors)

    def reset(self) -> None:
        """Start a new window; the baseline and the number of looks are kept."""
        with self._lock:
            self._data.reset()
            self._queries.reset()
            if self._probes is not None:
                self._probes.reset()

    def merge(self, other: DriftMonitor) -> None:
        """Add the rows of another worker's copy of this monitor.

        Parameters
        ----------
        other : DriftMonitor
            A pickled copy of this monitor with the same baseline; it is not changed. If both are
            still learning, their baselines are merged. Make copies while the window is empty and
            the baseline is complete or empty: rows that both had at that time count twice.

        Raises
        ------
        ValueError
            If `other` has another codec, another baseline or another value of `errors`, or is this
            monitor.
        TypeError
            If `other` is not a DriftMonitor.
        """
        if not isinstance(other, DriftMonitor):
            raise TypeError(f"other must be a DriftMonitor, got {type(other).__name__}")
        if other is self:
            raise ValueError("other: expected another monitor, got this monitor itself")
        first, second = sorted((self, other), key=id)  # one order of locking, against deadlocks
        with first._lock, second._lock:
            if self.codec.fingerprint != other.codec.fingerprint:
                raise ValueError(
                    f"other: expected codec {self.codec.fingerprint[:12]} as in this monitor, got "
                    f"{other.codec.fingerprint[:12]}; give workers copies of one monitor"
                )
            self._data.require_mergeable(other._data)
            self._queries.require_mergeable(other._queries)
            self._data.merge(other._data)
            self._queries.merge(other._queries)
            if self._probes is not None and other._probes is not None:
                self._probes.merge(other._probes)

    # Reports.

    def report(self, canary: Canary | None = None, ntotal: int | None = None) -> DriftReport:
        """Test the window, which holds all rows since the last `reset`.

        Blocks of the window are compared with those of the baseline, in families of features: means
        and variances along the codec's eigen-directions, means and variances of the original
        dimensions, energy in bands of directions, norms, and the quantization error. A family
        raises an alarm if the p-value of its largest difference under permutation of blocks (max-T
        [1]_) is at most alpha divided by the number of families (Bonferroni [2]_) and, at the k-th
        look, by k (k + 1). The reciprocals of k (k + 1) sum to 1 over all future looks (alpha
        spending [3]_). Differences are Welch's t [4]_ with moderated variances [5]_, for which
        permutation stays valid if the samples' variances differ [6]_; p-values beyond the number of
        permutations come from a fitted tail [7]_.

        Parameters
        ----------
        canary : Canary, optional
            Current queries and full vectors. The cost of drift is measured with them, which takes
            seconds; without a canary it is estimated from the growth of the error.
        ntotal : int, optional
            Size of the index to extrapolate the measured recall to; by default the number of
            vectors that the canary searches.

        Returns
        -------
        DriftReport
            Alarms, their causes, and what the drift costs in recall.

        Raises
        ------
        ValueError
            If the canary does not match the codec or the baseline's canary.
        TypeError
            If `canary` is not a Canary.

        References
        ----------
        .. [1] P. H. Westfall and S. S. Young, Resampling-Based Multiple Testing, Wiley, 1993.
        .. [2] O. J. Dunn, "Multiple comparisons among means", Journal of the American Statistical
           Association 56, 1961.
        .. [3] K. K. G. Lan and D. L. DeMets, "Discrete sequential boundaries for clinical trials",
           Biometrika 70(3), 1983.
        .. [4] B. L. Welch, "The generalization of 'Student's' problem when several different
           population variances are involved", Biometrika 34, 1947.
        .. [5] G. K. Smyth, "Linear models and empirical Bayes methods for assessing differential
           expression in microarray experiments", Statistical Applications in Genetics and Molecular
           Biology 3(1), 2004.
        .. [6] A. Janssen, "Studentized permutation tests for non-i.i.d. hypotheses and the
           generalized Behrens-Fisher problem", Statistics & Probability Letters 36(1), 1997.
        .. [7] T. A. Knijnenburg, L. F. A. Wessels, M. J. T. Reinders and I. Shmulevich, "Fewer
           permutations, more accurate P-values", Bioinformatics 25(12), 2009.
        """
        with self._lock:
            settings = self._settings
            data_alpha = settings.alpha * _DATA_SHARE
            data = self._data.test(data_alpha, settings.permutations, settings.seed)
            queries = None
            if self._queries.window.n:
                query_alpha = settings.alpha - data_alpha
                queries = self._queries.test(query_alpha, settings.permutations, settings.seed + 1)
            window = self._data.window
            ratio, cells = self._code_statistics()
            model = model_of(self._data.features, self._data.reference, window, self._probes)
            quality = window.counted()
        measured = self._measured(canary)
        cost = self._cost(measured, ratio, ntotal)
        report = DriftReport(data, queries, model, ratio, cells, cost, quality, settings.alpha)
        self._last = LastReport(report, measured, time.time())
        return report

    def _code_statistics(self) -> tuple[float | None, Occupancy | None]:
        """Return the growth of the error and the change of cell usage, if known."""
        data = self._data
        if not data.errors or data.rows_to_learn > 0 or data.window.n == 0:
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

    # Serialisation.

    def to_bytes(self) -> bytes:
        """Return codec, baseline and window as bytes."""
        with self._lock:
            return monitor_state.write(
                self.codec, self._settings, self._data, self._queries, self._probes
            )

    @classmethod
    def from_bytes(cls, data: bytes) -> DriftMonitor:
        """Read what `to_bytes` wrote.

        Parameters
        ----------
        data : bytes
            The serialised monitor.

        Returns
        -------
        DriftMonitor
            An equal monitor.

        Raises
        ------
        waterfill.FormatError
            If `data` is damaged or not a monitor.
        """
        return cls(*monitor_state.read(data))

    def save(self, path: Any) -> None:
        """Write `to_bytes` to a file; the write is atomic.

        Parameters
        ----------
        path : str or path-like
            An existing file is replaced.

        Raises
        ------
        OSError
            If the file cannot be written.
        """
        with atomic_write(path) as file:
            file.write(self.to_bytes())

    @classmethod
    def load(cls, path: Any) -> DriftMonitor:
        """Read what `save` wrote.

        Parameters
        ----------
        path : str or path-like
            The file.

        Returns
        -------
        DriftMonitor
            An equal monitor.

        Raises
        ------
        FormatError
            If the file is damaged or not a monitor.
        OSError
            If it cannot be read.
        """
        return cls.from_bytes(monitor_state.bytes_of(path))

    def __reduce__(self) -> tuple[Callable[[bytes], DriftMonitor], tuple[bytes]]:
        return DriftMonitor.from_bytes, (self.to_bytes(),)

    def __repr__(self) -> str:
        baseline, window = self._data.reference.n, self._data.window.n
        return (
            f"DriftMonitor: baseline of {baseline:,} vectors"
            + (" so far" if self.learning else "")
            + f", {window:,} in the window, alpha {self.alpha:g}"
        )

    def _repr_html_(self) -> str:
        from waterfill.reporting.object_tables import monitor_html

        return monitor_html(self)
