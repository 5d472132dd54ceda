"""Scores as integers of the same order, and the keys of candidates."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_SIGN = np.uint32(0x80000000)


def ordered_scores(scores: NDArray[np.float32]) -> NDArray[np.uint32]:
    """Return scores as integers of the same order: `ordered_score` of the core."""
    bits = (scores + np.float32(0)).view(np.uint32)
    return np.where(bits & _SIGN, ~bits, bits | _SIGN)


def scores_of_ordered(ordered: NDArray[np.uint32]) -> NDArray[np.float32]:
    """Return the scores that such integers stand for."""
    bits: NDArray[Any] = np.where(ordered & _SIGN, ordered ^ _SIGN, ~ordered)
    return bits.view(np.float32)


def scores_of(keys: NDArray[np.uint64]) -> NDArray[np.float32]:
    """Return the scores of candidates, given their keys."""
    return scores_of_ordered((keys >> np.uint64(32)).astype(np.uint32))


def positions_of(keys: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return the positions of candidates, given their keys."""
    return (~keys.astype(np.uint32)).astype(np.int64)
