"""The interface of limiters: limits, priorities, statistics and decorators."""

from __future__ import annotations

import functools
import inspect
import math
import operator
import os
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, Protocol, TypeVar, overload
from weakref import WeakSet

from waterfill._util.validation import as_number, as_positive_int
from waterfill.errors import AtCapacity, Reason
from waterfill.loadtest.report import CapacityReport
from waterfill.serving.adaptation import Adaptation

# Median and sum of latencies (seconds), counts of their buckets, counts by level and outcome.
Counts = tuple[float | None, float, list[int], list[tuple[int, ...]]]


class Permitted(Protocol):
    """A permit, of the core or of Python."""

    def release(self) -> bool:
        """Give back what is held; return whether anything was."""

    def __enter__(self) -> Permitted: ...
    def __exit__(self, *error: object) -> None: ...


class Limits(Protocol):
    """A limiter, of the core or of Python."""

    name: str
    _priorities: tuple[str, ...]
    _law: Adaptation | None

    @property
    def limit(self) -> int:
        """What may be in use at once."""

    @property
    def in_use(self) -> int:
        """The cost of all permits that are held."""

    def acquire(
        self, *, priority: str = ..., deadline: float | None = ..., cost: int = ...
    ) -> Permitted:
        """Return a permit, or raise `AtCapacity`, at once."""

    def _counts(self) -> Counts: ...
    def _reset(self) -> None: ...


def decorated(limiter: Limits, function: Any, request: Mapping[str, Any]) -> Callable[..., Any]:
    """Return the function such that each call holds a permit while it runs."""
    if not callable(function) or inspect.isclass(function):
        raise TypeError(f"a Limiter decorates functions, got {function!r}")
    kinds = (function, type(function).__call__)  # an object may have an async __call__
    if any(inspect.isgeneratorfunction(f) or inspect.isasyncgenfunction(f) for f in kinds):
        raise TypeError(
            f"a Limiter cannot decorate a generator function, got {function!r}: "
            "write `with limiter.acquire():` within it"
        )
    if any(inspect.iscoroutinefunction(f) for f in kinds):

        @functools.wraps(function)
        async def awaited(*args: Any, **kwargs: Any) -> Any:
            with limiter.acquire(**request):
                return await function(*args, **kwargs)

        return awaited

    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        with limiter.acquire(**request):
            return function(*args, **kwargs)

    return called


P = ParamSpec("P")
R = TypeVar("R")
Made = TypeVar("Made")

DEFAULT = "default"
BUCKETS = 128
_REFUSALS = ("capacity", "share", "deadline")
_OUTCOMES = ("admitted", *_REFUSALS, "released", "abandoned")


def least(bucket: int) -> float:
    """Return the least duration of a bucket, in seconds: four buckets an octave, from 256 ns."""
    return ((4 + bucket % 4) << (bucket // 4 + 6)) * 1e-9


def checked(
    limit: Any, name: Any, shares: Any
) -> tuple[int, str, tuple[str, ...], tuple[float, ...]]:
    """Return limit, name, priorities and their shares, 'default' first."""
    if not isinstance(name, str):
        raise TypeError(f"name must be a str, got {name!r}")
    if shares is not None and not isinstance(shares, Mapping):
        raise TypeError(f"shares must be a mapping of priorities to numbers, got {shares!r}")
    parts = {DEFAULT: 1.0}
    for priority, value in (shares or {}).items():
        if not isinstance(priority, str):
            raise TypeError(f"shares must have str as keys, got {priority!r}")
        share = as_number(f"shares[{priority!r}]", value, 0)
        if not 0 < share <= 1:
            raise ValueError(f"shares[{priority!r}]={value} must be above 0 and at most 1")
        parts[priority] = share
    return as_positive_int("limit", limit), name, tuple(parts), tuple(parts.values())


def asked(
    priorities: tuple[str, ...], priority: Any, cost: Any, deadline: Any
) -> tuple[int, int, float]:
    """Return what a request asks for: number of the priority, cost, seconds that it has left."""
    if not isinstance(priority, str):
        raise TypeError(f"priority must be a str, got {priority!r}")
    if priority not in priorities:
        raise ValueError(f"priority={priority!r} must be one of {priorities!r}")
    count = cost if type(cost) is int else _index(cost)
    if count < 1:
        raise ValueError(f"cost={cost} must be at least 1")
    seconds = math.inf if deadline is None else _seconds(deadline)
    return priorities.index(priority), count, seconds


def _index(cost: Any) -> int:
    if isinstance(cost, bool) or not hasattr(cost, "__index__"):
        raise TypeError(f"cost must be an int, got {cost!r}")
    return operator.index(cost)


def _seconds(deadline: Any) -> float:
    wanted = "must be a number of seconds or None"
    if isinstance(deadline, bool) or not (
        hasattr(deadline, "__float__") or hasattr(deadline, "__index__")
    ):
        raise TypeError(f"deadline {wanted}, got {deadline!r}")
    if math.isnan(deadline):
        raise ValueError(f"deadline=nan {wanted}")
    return float(deadline)


class Surface:
    """Decorating, counting, refusing, and forgetting all in a forked child."""

    @classmethod
    def from_report(
        cls: Callable[..., Made],
        report: CapacityReport | str | os.PathLike[str],
        *,
        adaptive: bool = False,
        name: str = "limiter",
        shares: Mapping[str, float] | None = None,
    ) -> Made:
        """Return a limiter whose limit is that of a capacity report.

        Parameters
        ----------
        report : CapacityReport, str or path-like
            A report, or its file.
        adaptive : bool
            Whether the limit may move, within the report's floor and ceiling.
        name, shares
            As of the class.

        Returns
        -------
        Limiter

        Raises
        ------
        FormatError
            If the file is no report.
        OSError
            If it cannot be read.
        TypeError, ValueError
            If an argument is of another kind, or out of its range.
        """
        found = report if isinstance(report, CapacityReport) else CapacityReport.load(report)
        if not isinstance(adaptive, bool):
            raise TypeError(f"adaptive must be a bool, got {adaptive!r}")
        return cls(found.limit, name=name, shares=shares, adaptive=found if adaptive else None)

    def _begin(
        self: Limits, name: str, priorities: tuple[str, ...], law: Adaptation | None
    ) -> None:
        self.name = name
        self._priorities, self._law = priorities, law
        _limiters.add(self)

    def _refusal(
        self: Limits, in_use: int, retry_after: float | None, reason: Reason, priority: str
    ) -> AtCapacity:
        return AtCapacity(self.limit, in_use, retry_after, reason, self.name, priority)

    def __repr__(self: Limits) -> str:
        return f"Limiter({self.limit}, name={self.name!r}): {self.in_use} in use"

    def __reduce__(self) -> Any:
        raise TypeError("a Limiter cannot be copied or pickled: each process has its own")

    @overload
    def __call__(self: Limits, function: Callable[P, R], /) -> Callable[P, R]: ...
    @overload
    def __call__(
        self: Limits, /, *, priority: str = ..., deadline: float | None = ..., cost: int = ...
    ) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
    def __call__(
        self: Limits,
        function: Any = None,
        /,
        *,
        priority: str = DEFAULT,
        deadline: float | None = None,
        cost: int = 1,
    ) -> Any:
        """Decorate a function, ``def`` or ``async def``: each call holds a permit.

        Parameters
        ----------
        function : callable, optional
            What to decorate; without it, a decorator is returned.
        priority, deadline, cost
            Of each call, as of `acquire`.

        Returns
        -------
        callable

        Raises
        ------
        TypeError, ValueError
            If what is decorated is a generator function, a class, or nothing that can be called;
            if an argument is not possible.
        """
        asked(self._priorities, priority, cost, deadline)  # a mistake shows now, not in a call
        request = {"priority": priority, "deadline": deadline, "cost": cost}
        if function is not None:
            return decorated(self, function, request)
        return lambda function: decorated(self, function, request)

    def stats(self: Limits) -> dict[str, Any]:
        """Return what has been counted in this process, as plain numbers.

        Returns
        -------
        dict
            ``name``, ``limit``, ``in_use``; ``adaptive``, and the ``floor`` and ``ceiling`` of an
            adaptive limit (else None); ``admitted``, ``released`` and ``abandoned`` by
            priority; ``refused`` by priority and reason; ``median_latency``: seconds, of the last
            64 to 128 permits released (None before the first); ``latency``: of all released,
            ``sum`` in seconds, ``counts`` of 128 buckets, and their ``bounds`` in seconds: the
            least that the next bucket holds (127).

        Notes
        -----
        A permit is admitted, and then released or abandoned: the finaliser gave it back.
        """
        median, total, buckets, levels = self._counts()
        outcomes = {
            priority: dict(zip(_OUTCOMES, level, strict=True))
            for priority, level in zip(self._priorities, levels, strict=True)
        }
        by_priority = {
            outcome: {priority: counts[outcome] for priority, counts in outcomes.items()}
            for outcome in ("admitted", "released", "abandoned")
        }
        return {
            "name": self.name,
            "limit": self.limit,
            "in_use": self.in_use,
            "adaptive": self._law is not None,
            "floor": None if self._law is None else self._law.floor,
            "ceiling": None if self._law is None else self._law.ceiling,
            **by_priority,
            "refused": {
                priority: {reason: counts[reason] for reason in _REFUSALS}
                for priority, counts in outcomes.items()
            },
            "median_latency": median,
            "latency": {
                "sum": total,
                "counts": list(buckets),
                "bounds": [least(bucket) for bucket in range(1, BUCKETS)],
            },
        }


_limiters: WeakSet[Any] = WeakSet()


def _forget() -> None:
    for limiter in list(_limiters):
        limiter._reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
