"""What stands for a `_core.Index` whose searches are done by actors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from waterfill import _core
from waterfill.scale.cluster import require_ray
from waterfill.scale.replicas import Replicas
from waterfill.scale.shard import Found, Generation

_INLINE_BYTES = 1 << 16  # of queries that are sent with each call
_NONE = np.finfo(np.float32).min  # what the core takes for no threshold


@dataclass
class Call:
    """One search: when it must end, and the shares that have answered all that was asked."""

    replicas: Replicas
    deadline: float | None
    answered: set[int] = field(default_factory=set)


_call: ContextVar[Call] = ContextVar("_call")


@contextmanager
def scattered(replicas: Replicas, deadline: float | None) -> Iterator[Call]:
    """Let searches of a `ScatteredCore` ask these actors."""
    call = Call(replicas, deadline)
    token = _call.set(call)
    try:
        yield call
    finally:
        _call.reset(token)


class ScatteredCore:
    """An index of the core that asks actors for candidates, and ranks those of all as one search.

    The coarse stage of a search takes the best candidates of all vectors, and how many of them get
    a better score depends on the others. So actors return candidates with all their scores, and
    the core does with them what it would have done with its own. With several lists, the nearest
    are searched first: the last of their candidates decides which other lists may matter.

    Parameters
    ----------
    core : _core.Index
        The same index, opened here. Its vectors are not read.
    generation : Generation
    shares : list of (int, int)
        Ranges of its parts.
    """

    def __init__(
        self, core: _core.Index, generation: Generation, shares: list[tuple[int, int]]
    ) -> None:
        self._core, self._generation, self._shares = core, generation, shares

    def __getattr__(self, name: str) -> Any:
        return getattr(self._core, name)

    def search(
        self,
        x: NDArray[np.float32],
        k: int,
        candidates: int,
        coarse_groups: int,
        prune_sigma: float,
        probes: Any,
        selector: Any,
        refine_candidates: int,
        contents: str,
    ) -> tuple[NDArray[np.float32], NDArray[np.int64], None]:
        """Search all shares; `contents` must be ''."""
        assert not contents
        arguments: Any = (
            x, k, candidates, coarse_groups, prune_sigma, probes, selector, refine_candidates,
        )  # fmt: skip
        if x.nbytes > _INLINE_BYTES:
            arguments = require_ray().put(arguments)  # once for all shares and rounds
        call = _call.get()

        def ask(thresholds: NDArray[np.float32] | None) -> list[Found]:
            found = call.replicas.search(
                self._generation, self._shares, thresholds, arguments, call.deadline
            )
            call.answered &= found.keys()
            return list(found.values())

        call.answered = set(range(len(self._shares)))
        found, thresholds = [], None
        if self._core.codec.cells > 1:
            found = ask(None)
            kept = min(max(candidates, k, refine_candidates), self._core.size)
            thresholds = _thresholds(_joined(found, len(x)), kept)
        joined = _joined(found + ask(thresholds), len(x))
        distances, ids = self._core.merge_shares(
            x, k, candidates, coarse_groups, probes, refine_candidates, joined
        )
        return distances, ids, None


def _joined(found: Sequence[Found], n: int) -> Found:
    """Join candidates, query by query."""
    counts = [np.diff(one[0]).astype(np.int64) for one in found]
    queries = [np.repeat(np.arange(n), count) for count in counts]
    order = np.argsort(np.concatenate([np.empty(0, np.int64), *queries]), kind="stable")
    limits = np.zeros(n + 1, np.uint64)
    limits[1:] = np.cumsum(sum(counts, np.zeros(n, np.int64)))
    kinds = (np.float32, np.uint32, np.uint32, np.float32, np.float32)
    joined: list[NDArray[Any]] = [limits]
    for i, kind in enumerate(kinds, 1):
        values = np.concatenate([np.empty(0, kind), *(one[i] for one in found)])
        joined.append(values[order] if len(values) else values)
    return tuple(joined)


def _thresholds(joined: Found, kept: int) -> NDArray[np.float32]:
    """Return the coarse score of the last of the candidates that are kept, by query."""
    limits, coarse = joined[0].astype(np.int64), joined[1]
    counts = np.diff(limits)
    order = np.lexsort((-coarse, np.repeat(np.arange(len(counts)), counts)))
    thresholds = np.full(len(counts), _NONE, np.float32)
    full = counts >= kept
    thresholds[full] = coarse[order][limits[:-1][full] + kept - 1]
    return thresholds
