"""`PythonLimiter`: the reference that the core's limiter is tested against.

It does the same under one lock, about twenty times slower.
"""

from __future__ import annotations

import math
import operator
import threading
import time
from collections import deque
from collections.abc import Mapping
from typing import Any, NamedTuple

from waterfill._util.validation import as_positive_int
from waterfill.errors import Reason
from waterfill.loadtest.report import CapacityReport
from waterfill.serving.adaptation import Adaptation, read_adaptation
from waterfill.serving.limiter_base import (
    BUCKETS,
    DEFAULT,
    Counts,
    LimiterBase,
    check_arguments,
    check_request,
    lower_bound,
)

_WINDOW = 64  # records between two marks
_INTERVAL = 8  # records between two medians
_UNKNOWN = 1.0  # seconds that a request is assumed to take before any has ended


class Latencies:
    """A histogram of latencies, and the median of the latest 64 to 128."""

    def __init__(self) -> None:
        self.counts = [0] * BUCKETS
        self.total = 0.0
        self.median: float | None = None
        self._recorded = self._marked = 0
        self._older = self._newer = list(self.counts)

    def record(self, ns: int) -> bool:
        """Count one duration; return whether the median was updated."""
        value = max(ns, 256)
        bits = value.bit_length()
        self.counts[min(BUCKETS - 1, 4 * (bits - 9) + ((value >> (bits - 3)) & 3))] += 1
        self.total += ns * 1e-9
        self._recorded += 1
        if self._recorded > _WINDOW and self._recorded % _INTERVAL != 0:
            return False
        self._find_median()
        return True

    def _find_median(self) -> None:
        if self._recorded >= self._marked + _WINDOW:
            self._older, self._newer = self._newer, list(self.counts)
            self._marked = self._recorded
        recent = list(map(operator.sub, self.counts, self._older))
        half, before = sum(recent) / 2, 0
        for bucket, own in enumerate(recent):
            if own and before + own >= half:
                low, high = lower_bound(bucket), lower_bound(bucket + 1)
                self.median = low + (high - low) * (half - before) / own
                return
            before += own


class _Ticket(NamedTuple):
    level: int
    cost: int
    start: int
    epoch: int


class Permit:
    """The permit of one admitted request."""

    __slots__ = ("_core", "_ticket", "cost")

    def __init__(self, core: Core, ticket: _Ticket) -> None:
        self._core = core
        self._ticket: _Ticket | None = ticket
        self.cost = ticket.cost

    @property
    def held(self) -> bool:
        """Whether it has not been released yet."""
        return self._ticket is not None

    def release(self) -> bool:
        """Release the permit; return False if it was released before."""
        return self._core.release(self)

    def __enter__(self) -> Permit:
        if self._ticket is None:
            raise RuntimeError("the permit has been released: acquire another one")
        return self

    def __exit__(self, *error: object) -> None:
        self._core.release(self)

    def __del__(self) -> None:
        # It may run anywhere, with the lock held by the code that it interrupts.
        if self._ticket is not None:
            self._core.dropped.append(self._ticket)

    def __reduce__(self) -> Any:
        raise TypeError("a Permit cannot be copied or pickled")


class Core:
    """All state, under one lock. Permits refer to it, not to the limiter."""

    def __init__(
        self, limit: int, shares: tuple[float, ...], adaptation: Adaptation | None
    ) -> None:
        self._shares, self._adaptation = shares, adaptation
        self._epoch = 0
        self.resize(limit)
        self.reset()

    def resize(self, value: float) -> None:
        """Set the limit."""
        self._exact = value if self._adaptation is None else self._adaptation.clamp(value)
        limit = math.floor(self._exact)
        self.allowed = [math.floor(share * limit + 1e-6) for share in self._shares]
        self.limit = limit

    def reset(self) -> None:
        """Drop all permits and counts."""
        self.lock = threading.Lock()  # a forked child may have inherited one that is held
        if self._adaptation is not None:
            self.resize(self._adaptation.start)
        self._epoch += 1
        self._in_use = 0
        self.dropped: deque[_Ticket] = deque()
        self.latencies = Latencies()
        # By level: admitted; refused for capacity, share, deadline; released; abandoned.
        self.counts = [[0] * 6 for _ in self._shares]

    def _collect_dropped(self) -> None:
        while self.dropped:
            ticket = self.dropped.popleft()
            if ticket.epoch == self._epoch:
                self.counts[ticket.level][5] += 1
                self._in_use -= ticket.cost

    def in_use(self) -> int:
        """Return the total cost of the permits that are held."""
        with self.lock:
            if self.dropped:
                self._collect_dropped()
            return self._in_use

    def admit(self, level: int, cost: int, deadline: float) -> Permit | tuple[Reason, int]:
        """Return a permit, or the reason of the refusal and what was in use."""
        with self.lock:
            if self.dropped:
                self._collect_dropped()
            reason = self._refusal(level, cost, deadline)
            if reason is None:
                self.counts[level][0] += 1
                self._in_use += cost
                return Permit(self, _Ticket(level, cost, time.monotonic_ns(), self._epoch))
            self.counts[level][("capacity", "share", "deadline").index(reason) + 1] += 1
            return reason, self._in_use

    def _refusal(self, level: int, cost: int, deadline: float) -> Reason | None:
        if deadline != math.inf:
            median = self.latencies.median
            if deadline <= 0 or (self._in_use > 0 and median is not None and deadline < median):
                return "deadline"
        if cost > self.allowed[level] - self._in_use:
            return "capacity" if cost > self.limit - self._in_use else "share"
        return None

    def release(self, permit: Permit) -> bool:
        """Release a permit, the first time."""
        with self.lock:
            if self.dropped:
                self._collect_dropped()
            ticket, permit._ticket = permit._ticket, None
            if ticket is None or ticket.epoch != self._epoch:
                return False
            if self.latencies.record(time.monotonic_ns() - ticket.start):
                self._adapt()
            self.counts[ticket.level][4] += 1
            self._in_use -= ticket.cost
            return True

    def _adapt(self) -> None:
        median = self.latencies.median
        if self._adaptation is not None and median is not None:
            self.resize(self._adaptation.next_limit(self._exact, median, self._in_use))

    def retry_after(self, level: int, cost: int, reason: Reason, in_use: int) -> float | None:
        """Return seconds until enough is likely to be released."""
        allowed = self.allowed[level]
        if reason == "deadline" or cost > allowed:
            return None
        median = _UNKNOWN if self.latencies.median is None else self.latencies.median
        return median * max(0, in_use + cost - allowed) / max(1, in_use)


class PythonLimiter(LimiterBase):
    """`waterfill.Limiter` in pure Python."""

    def __init__(
        self,
        limit: int,
        *,
        name: str = "limiter",
        shares: Mapping[str, float] | None = None,
        adaptive: CapacityReport | None = None,
    ) -> None:
        limit, name, priorities, parts = check_arguments(limit, name, shares)
        adaptation = read_adaptation(adaptive, limit)
        self._core = Core(limit, parts, adaptation)
        self._register(name, priorities, adaptation)

    @property
    def limit(self) -> int:
        """The total cost that may be in use at once."""
        return self._core.limit

    @limit.setter
    def limit(self, value: int) -> None:
        with self._core.lock:
            self._core.resize(as_positive_int("limit", value))

    @property
    def in_use(self) -> int:
        """The total cost of the permits that are held."""
        return self._core.in_use()

    def acquire(
        self, *, priority: str = DEFAULT, deadline: float | None = None, cost: int = 1
    ) -> Permit:
        """Return a permit, or raise `AtCapacity`, without waiting."""
        level, cost, seconds = check_request(self._priorities, priority, cost, deadline)
        answer = self._core.admit(level, cost, seconds)
        if isinstance(answer, Permit):
            return answer
        reason, in_use = answer
        wait = self._core.retry_after(level, cost, reason, in_use)
        raise self._refusal(in_use, wait, reason, priority)

    def try_acquire(
        self, *, priority: str = DEFAULT, deadline: float | None = None, cost: int = 1
    ) -> Permit | None:
        """Return a permit, or None where `acquire` would raise `AtCapacity`."""
        answer = self._core.admit(*check_request(self._priorities, priority, cost, deadline))
        return answer if isinstance(answer, Permit) else None

    def _counts(self) -> Counts:
        core = self._core
        core.in_use()  # collects dropped permits
        latencies = core.latencies
        levels = [tuple(level) for level in core.counts]
        return latencies.median, latencies.total, list(latencies.counts), levels

    def _reset(self) -> None:
        self._core.reset()
