"""Latency of a query that waits for all shards, simulated from that of one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from waterfill._util.validation import as_number, as_positive_int
from waterfill.errors import ArgumentError

_DRAWS = 20_000  # queries
_BATCH = 4_000_000  # latencies at once


@dataclass(frozen=True)
class FanOut:
    """Latency of a query to all shards, in seconds.

    Attributes
    ----------
    p50, p99 : float
        Without hedged requests [1]_.
    hedged_p50, hedged_p99 : float
        If a shard that has not answered after `hedge_delay` is asked again, on a replica.
    hedge_delay : float
        Seconds until a shard is asked again.
    hedge_share : float
        Share of the requests that are sent twice.

    References
    ----------
    .. [1] J. Dean and L. A. Barroso, "The tail at scale", Communications of the ACM 56(2), 2013.
    """

    p50: float
    p99: float
    hedged_p50: float
    hedged_p99: float
    hedge_delay: float
    hedge_share: float


def fan_out(latencies: Any, shards: int, *, hedge_quantile: float = 0.95, seed: int = 0) -> FanOut:
    """Simulate queries that wait for the slowest of several shards.

    Each shard's latency is drawn from those of one, independently of the others. Hedging [1]_ sends
    a second request after the delay that most requests do not reach, and the first answer counts.

    Parameters
    ----------
    latencies : array_like, shape (n,)
        Seconds that one shard took for queries one after the other.
    shards : int
        Number of shards that a query goes to.
    hedge_quantile : float
        Quantile of `latencies` after which a second request is sent.
    seed : int
        Seed of the simulation.

    Returns
    -------
    FanOut
        Quantiles of the latency, with and without hedging.

    Raises
    ------
    ValueError, TypeError
        If latencies are empty, negative or not finite, or an argument is out of range or of the
        wrong type.

    References
    ----------
    .. [1] J. Dean and L. A. Barroso, "The tail at scale", Communications of the ACM 56(2), 2013.
    """
    measured = np.asarray(latencies, np.float64)
    if measured.ndim != 1 or len(measured) == 0:
        raise ArgumentError(f"latencies: expected a list of seconds, got shape {measured.shape}")
    if not np.isfinite(measured).all() or (measured < 0).any():
        raise ArgumentError("latencies: expected seconds, got a negative value or NaN")
    shards = as_positive_int("shards", shards)
    if as_number("hedge_quantile", hedge_quantile, 0) > 1:
        raise ArgumentError(f"hedge_quantile={hedge_quantile}: expected a share, 0 to 1")
    delay = float(np.quantile(measured, hedge_quantile))
    plain, hedged = _slowest(measured, shards, delay, np.random.default_rng(seed))
    return FanOut(
        p50=float(np.quantile(plain, 0.5)),
        p99=float(np.quantile(plain, 0.99)),
        hedged_p50=float(np.quantile(hedged, 0.5)),
        hedged_p99=float(np.quantile(hedged, 0.99)),
        hedge_delay=delay,
        hedge_share=float((measured > delay).mean()),
    )


def _slowest(
    measured: NDArray[np.float64], shards: int, delay: float, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the latency of each query, without and with hedged requests."""
    plain, hedged = np.empty(_DRAWS), np.empty(_DRAWS)
    step = max(1, _BATCH // shards)
    for first in range(0, _DRAWS, step):
        n = min(step, _DRAWS - first)
        once, again = rng.choice(measured, (2, n, shards))
        plain[first : first + n] = once.max(axis=1)
        first_answer = np.where(once > delay, np.minimum(once, delay + again), once)
        hedged[first : first + n] = first_answer.max(axis=1)
    return plain, hedged
