"""Recall measured with a canary, and the cost of drift relative to the baseline's canary."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from waterfill._util.stored_values import as_count, reading
from waterfill._util.validation import Metric, as_positive_int, metric_name
from waterfill.drift.retrain_policy import Cost
from waterfill.evaluation.recall_extrapolation import extrapolate

Recalls = NDArray[np.float64]

# Standard deviations and shrinkage of the interval: docs/decisions/0020.
_BOOTSTRAP_SAMPLES = 400
_SHRINKAGE = 4.0  # squared standard errors by which an extrapolated change is shrunk towards 0
_MODEL_DEVIATION = 0.1  # as a share of the gap: extrapolation from few vectors to many
_SAMPLE_DEVIATION = 0.008  # random draw of the vectors, and training
_Z_95 = 1.96  # standard deviations on either side of a 95 % normal interval
_WITH_BASELINE = "measured with a canary, relative to the baseline's canary"
_WITHOUT_BASELINE = (
    "measured with a canary, without a canary of the baseline: a codec trained on few vectors "
    "stands in for the retrained one, so the gap is at least this large"
)


@dataclass(frozen=True, eq=False)
class CanaryRecall:
    """Recall of each query of a canary, with the current codec and with retrained ones.

    Returned by `Canary.measure`. It takes a few kilobytes and replaces the canary in a baseline:
    neither queries nor vectors are kept.

    Attributes
    ----------
    sizes : tuple of int
        Sizes of the searched collections, ascending; the last is half of the canary's vectors.
    frozen, retrained : float32 (sizes, m)
        Mean recall of each query among `sizes` vectors, with the current codec and with codecs
        trained on the other half; averaged over random splits and over subsets of each size.
    vectors : int
        Number of vectors of the canary.
    k : int
        Neighbours per query.
    metric : {'ip', 'l2', 'cosine'}
        The metric of the searches.
    """

    sizes: tuple[int, ...]
    frozen: NDArray[np.float32]
    retrained: NDArray[np.float32]
    vectors: int
    k: int
    metric: Metric

    def cost(self, baseline: CanaryRecall | None = None, size: int | None = None) -> Cost:
        """Compare the recall with that of the baseline.

        Parameters
        ----------
        baseline : CanaryRecall, optional
            The same codec's recall with a canary of the period it was trained for. Without it, the
            gap is that of a codec trained on few vectors, a lower bound of what retraining wins
            back.
        size : int, optional
            Size of the collection to extrapolate the gap to; by default half of the canary's
            vectors. Recall falls with the size, faster for a codec that no longer fits. It is
            extrapolated in log-odds over several sizes, and the extrapolated change of the gap is
            shrunk towards 0 by its standard error.

        Returns
        -------
        Cost
            What the drift costs in recall, and what retraining would win back.

        Raises
        ------
        ValueError
            If the baseline has another k, metric or number of vectors, or `size` is below 1.
        TypeError
            If `size` is not an int.
        """
        if baseline is not None:
            baseline.require_settings(self.k, self.metric, self.vectors)
        n = self.sizes[-1] if size is None else max(as_positive_int("size", size), self.sizes[-1])
        measured, extrapolated = self._gaps(n, 0)
        if baseline is not None:
            baseline_measured, baseline_extrapolated = baseline._gaps(n, 1)
            measured = measured - baseline_measured
            extrapolated = extrapolated - baseline_extrapolated
        change = extrapolated - measured
        error = float(change[1:].std())
        weight = max(0.0, 1 - _SHRINKAGE * error**2 / max(float(change[0]) ** 2, 1e-12))
        gap = float(measured[0] + weight * change[0])
        deviations = (
            float(measured[1:].std()),
            weight * error,
            _MODEL_DEVIATION * gap,
            _SAMPLE_DEVIATION,
        )
        half_width = _Z_95 * float(np.linalg.norm(deviations))
        now = float(extrapolate(self.sizes, self.frozen.mean(axis=1, dtype=np.float64), n))
        return Cost(
            recall_now=now,
            recall_if_retrained=min(max(now + gap, 0.0), 1.0),
            gap=gap,
            gap_low=gap - half_width,
            gap_high=gap + half_width,
            size=n,
            measured=True,
            words=_WITHOUT_BASELINE if baseline is None else _WITH_BASELINE,
        )

    def require_settings(self, k: int, metric: Metric, vectors: int) -> None:
        """Raise an error unless this baseline was measured with the settings of a canary.

        Parameters
        ----------
        k : int
            Neighbours per query.
        metric : {'ip', 'l2', 'cosine'}
            The metric of the searches.
        vectors : int
            Number of vectors of the canary.

        Raises
        ------
        ValueError
            If a setting differs.
        """
        for name, expected in (("k", k), ("metric", metric), ("vectors", vectors)):
            own = getattr(self, name)
            if own != expected:
                raise ValueError(
                    f"baseline: expected {name}={expected!r} as in this canary, got {own!r}; "
                    f"measure both canaries with the same {name}"
                )

    def _gaps(self, n: int, seed: int) -> tuple[Recalls, Recalls]:
        """Return retrained minus current recall at the largest size and extrapolated to n vectors.

        Both are float64 (1 + samples,): the first value is over all queries, the others over
        bootstrap samples of the queries.
        """
        m = self.frozen.shape[1]
        drawn = np.random.default_rng(seed).integers(0, m, (_BOOTSTRAP_SAMPLES, m))
        means = [
            np.column_stack([recalls.mean(axis=1), recalls[:, drawn].mean(axis=2)])
            for recalls in (self.frozen.astype(np.float64), self.retrained.astype(np.float64))
        ]
        frozen, retrained = (extrapolate(self.sizes, each, n) for each in means)
        return means[1][-1] - means[0][-1], retrained - frozen

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes for JSON, arrays as lists."""
        recalls = {name: getattr(self, name).tolist() for name in ("frozen", "retrained")}
        return {**asdict(self), **recalls, "sizes": list(self.sizes)}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> CanaryRecall:
        """Read what `to_dict` returned.

        Parameters
        ----------
        data : dict
            What `to_dict` returned.

        Returns
        -------
        CanaryRecall
            An equal one.

        Raises
        ------
        ValueError
            If `data` has missing or invalid values.
        """
        expected = reading("data: expected what to_dict() returned", ValueError)
        with expected, np.errstate(over="ignore"):  # infinity is refused below
            frozen, retrained = (
                np.array(data[name], dtype=np.float32) for name in ("frozen", "retrained")
            )
            sizes = tuple(as_count("sizes", size, 1) for size in data["sizes"])
            if any(b <= a for a, b in pairwise(sizes)):
                raise ValueError(f"sizes={sizes} must ascend")
            read = cls(
                sizes,
                frozen,
                retrained,
                as_count("vectors", data["vectors"], 1),
                as_count("k", data["k"], 1),
                metric_name(data["metric"]),
            )
        same = frozen.shape == retrained.shape
        if not same or frozen.ndim != 2 or len(frozen) != len(sizes) or not frozen.size:
            raise ValueError(
                f"data: expected {len(sizes)} rows of recall, one per size, in frozen and "
                f"retrained, got shapes {frozen.shape} and {retrained.shape}"
            )
        if not all(((recalls >= 0) & (recalls <= 1)).all() for recalls in (frozen, retrained)):
            raise ValueError("data: expected recalls from 0 to 1 in frozen and retrained")
        return read
