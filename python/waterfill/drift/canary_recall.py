"""The recall that a canary measured, and its difference from the baseline."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from waterfill._util.validation import Metric, as_positive_int
from waterfill.drift.retrain_policy import Cost
from waterfill.evaluation.recall_extrapolation import extrapolate

Shares = NDArray[np.float64]

_DRAWS = 400
_CERTAIN = 4.0  # squared deviations that are taken off a correction; these: docs/decisions/0020
_MODEL = 0.1  # one deviation, as a share of the gap: what few vectors show of many
_OTHER = 0.008  # one deviation: the draw of vectors, training
_WIDTH = 1.96  # deviations of a 95 % interval
_FULL = "measured with a canary, against the one of the baseline"
_BARE = (
    "measured with a canary, without one of the baseline: a codec that few vectors trained stands "
    "for the new one, so that the gap is at least this"
)


@dataclass(frozen=True, eq=False)
class CanaryRecall:
    """Recall of each query of a canary, with the current codec and with retrained ones.

    A few kilobytes, which take the canary's place in a baseline: neither queries nor vectors are
    kept. Made by `Canary.measure`.

    Attributes
    ----------
    sizes : tuple of int
        Ascending; the last one is half of the canary's vectors.
    frozen, retrained : float32 (sizes, m)
        Recall among so many vectors with the codec in use, and with codecs that the other half
        trained: means over ways to halve them, and over parts of each size.
    vectors : int
        Of the canary.
    k : int
    metric : {'ip', 'l2', 'cosine'}
    """

    sizes: tuple[int, ...]
    frozen: NDArray[np.float32]
    retrained: NDArray[np.float32]
    vectors: int
    k: int
    metric: Metric

    def cost(self, baseline: CanaryRecall | None = None, size: int | None = None) -> Cost:
        """Compare it with the measurement before any drift.

        Parameters
        ----------
        baseline : CanaryRecall, optional
            Measured of the same codec with a canary of the time that it was trained for. Without
            one the gap is that of a codec trained on few vectors: at least what retraining wins.
        size : int, optional
            Size of the collection that the gap is extrapolated to. Recall falls with the size,
            and that of a codec in the wrong place falls faster: measured at several sizes, followed
            in log-odds, and counted as far as it is certain. By default half of the canary's.

        Returns
        -------
        Cost

        Raises
        ------
        ValueError
            If the baseline is of another k, metric or number of vectors, or `size` is below 1.
        TypeError
            If `size` is no int.
        """
        if baseline is not None:
            baseline.require_settings(self.k, self.metric, self.vectors)
        n = self.sizes[-1] if size is None else max(as_positive_int("size", size), self.sizes[-1])
        plain, led = self._gaps(n, 0)
        if baseline is not None:
            before, before_led = baseline._gaps(n, 1)
            plain, led = plain - before, led - before_led
        beyond = led - plain
        error = float(beyond[1:].std())
        certain = max(0.0, 1 - _CERTAIN * error**2 / max(float(beyond[0]) ** 2, 1e-12))
        gap = float(plain[0] + certain * beyond[0])
        deviations = float(plain[1:].std()), certain * error, _MODEL * gap, _OTHER
        width = _WIDTH * float(np.linalg.norm(deviations))
        now = float(extrapolate(self.sizes, self.frozen.mean(axis=1, dtype=np.float64), n))
        return Cost(
            now, min(max(now + gap, 0.0), 1.0), gap, gap - width, gap + width, n, True,
            _BARE if baseline is None else _FULL,
        )  # fmt: skip

    def require_settings(self, k: int, metric: Metric, vectors: int) -> None:
        """Raise ValueError unless it was measured with these settings."""
        for name, wanted in (("k", k), ("metric", metric), ("vectors", vectors)):
            own = getattr(self, name)
            if own != wanted:
                raise ValueError(f"baseline has {name}={own!r}, and this canary {wanted!r}")

    def _gaps(self, n: int, seed: int) -> tuple[Shares, Shares]:
        """Return retrained minus current recall, extrapolated to n vectors: (1 + draws,).

        The first is over all queries, the others over bootstrap samples of them.
        """
        m = self.frozen.shape[1]
        drawn = np.random.default_rng(seed).integers(0, m, (_DRAWS, m))
        means = [
            np.column_stack([shares.mean(axis=1), shares[:, drawn].mean(axis=2)])
            for shares in (self.frozen.astype(np.float64), self.retrained.astype(np.float64))
        ]
        frozen, retrained = (extrapolate(self.sizes, each, n) for each in means)
        return means[1][-1] - means[0][-1], retrained - frozen

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes for JSON, arrays as lists."""
        shares = {name: getattr(self, name).tolist() for name in ("frozen", "retrained")}
        return {**asdict(self), **shares, "sizes": list(self.sizes)}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> CanaryRecall:
        """Read what `to_dict` returned.

        Raises
        ------
        ValueError
            If `data` is something else.
        """
        try:
            frozen, retrained = (
                np.array(data[name], dtype=np.float32) for name in ("frozen", "retrained")
            )
            sizes = tuple(map(int, data["sizes"]))
            read = cls(sizes, frozen, retrained, data["vectors"], data["k"], data["metric"])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"data is no record of a canary: {error!r}") from None
        if frozen.ndim != 2 or frozen.shape != retrained.shape or len(frozen) != len(sizes):
            raise ValueError(
                f"data is no record of a canary: shapes {frozen.shape} and {retrained.shape} for "
                f"{len(sizes)} sizes"
            )
        return read
