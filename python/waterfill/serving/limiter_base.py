"""`LimiterBase`, everything of a limiter but the counting: arguments, decorators, statistics."""

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

DEFAULT = "default"
"""The priority of a request that names none."""

BUCKETS = 128
"""The number of buckets of the latency histogram."""

_REFUSALS = ("capacity", "share", "deadline")
_OUTCOMES = ("admitted", *_REFUSALS, "released", "abandoned")

# Median and sum of latencies (seconds), counts of their buckets, counts by priority and outcome.
Counts = tuple[float | None, float, list[int], list[tuple[int, ...]]]

P = ParamSpec("P")
R = TypeVar("R")
LimiterT = TypeVar("LimiterT")


class Permit(Protocol):
    """Permission for one request, as `Limiter.acquire` returns it."""

    @property
    def held(self) -> bool:
        """Whether the permit has not been released yet."""

    @property
    def cost(self) -> int:
        """Its part of the limit."""

    def release(self) -> bool:
        """Release the permit; return False if it was released before."""

    def __enter__(self) -> Permit: ...
    def __exit__(self, *error: object) -> None: ...


class LimiterBase:
    """What limiters have in common, whether they count in the core or in Python.

    A subclass counts: it provides ``limit``, ``in_use``, ``acquire``, ``_counts`` and ``_reset``,
    and calls `_register` when it is initialised.
    """

    name: str
    _priorities: tuple[str, ...]
    _adaptation: Adaptation | None

    @property
    def limit(self) -> int:
        """The total cost that may be in use at once."""
        raise NotImplementedError

    @property
    def in_use(self) -> int:
        """The total cost of the permits that are held."""
        raise NotImplementedError

    def acquire(
        self, *, priority: str = DEFAULT, deadline: float | None = None, cost: int = 1
    ) -> Permit:
        """Return a permit, or raise `AtCapacity`, without waiting."""
        raise NotImplementedError

    def _counts(self) -> Counts:
        raise NotImplementedError

    def _reset(self) -> None:
        """Drop all permits and counts, in a forked child."""
        raise NotImplementedError

    def _register(
        self, name: str, priorities: tuple[str, ...], adaptation: Adaptation | None
    ) -> None:
        self.name = name
        self._priorities, self._adaptation = priorities, adaptation
        _limiters.add(self)

    def _refusal(
        self, in_use: int, retry_after: float | None, reason: Reason, priority: str
    ) -> AtCapacity:
        return AtCapacity(self.limit, in_use, retry_after, reason, self.name, priority)

    @classmethod
    def from_report(
        cls: Callable[..., LimiterT],
        report: CapacityReport | str | os.PathLike[str],
        *,
        adaptive: bool = False,
        name: str = "limiter",
        shares: Mapping[str, float] | None = None,
    ) -> LimiterT:
        """Return a limiter with the limit of a capacity report.

        Parameters
        ----------
        report : CapacityReport, str or path-like
            A report, or the path of its file.
        adaptive : bool
            Whether the limit may move between the report's floor and ceiling.
        name : str
            As for `Limiter`.
        shares : mapping of str to float, optional
            As for `Limiter`.

        Returns
        -------
        Limiter
            Its limit is that of the report.

        Raises
        ------
        FormatError
            If the file is not a capacity report.
        OSError
            If the file cannot be read.
        TypeError, ValueError
            If an argument has the wrong type or is out of range, or the report is of a test that
            ended early: its limit is not measured.
        """
        if not isinstance(adaptive, bool):
            raise TypeError(f"adaptive must be a bool, got {adaptive!r}")
        if isinstance(report, CapacityReport):
            loaded, source = report, "report"
        else:
            loaded, source = CapacityReport.load(report), f"report {os.fsdecode(report)}"
        loaded.require_complete(source)
        return cls(loaded.limit, name=name, shares=shares, adaptive=loaded if adaptive else None)

    @overload
    def __call__(self, function: Callable[P, R], /) -> Callable[P, R]: ...
    @overload
    def __call__(
        self, /, *, priority: str = ..., deadline: float | None = ..., cost: int = ...
    ) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
    def __call__(
        self,
        function: Any = None,
        /,
        *,
        priority: str = DEFAULT,
        deadline: float | None = None,
        cost: int = 1,
    ) -> Any:
        """Decorate a ``def`` or ``async def``: each call holds a permit while it runs.

        Parameters
        ----------
        function : callable, optional
            The function. Without it, a decorator is returned.
        priority, deadline, cost
            As for `acquire`, used for each call.

        Returns
        -------
        callable

        Raises
        ------
        TypeError, ValueError
            If `function` is a generator function, a class or not callable, or if another argument
            has the wrong type or is out of range.
        """
        check_request(self._priorities, priority, cost, deadline)  # now, not at the first call
        request = {"priority": priority, "deadline": deadline, "cost": cost}
        if function is not None:
            return _decorate(self, function, request)
        return lambda function: _decorate(self, function, request)

    def stats(self) -> dict[str, Any]:
        """Return the counts of this process, as plain numbers.

        Returns
        -------
        dict
            ``name``, ``limit``, ``in_use``.
            ``adaptive``, and ``floor`` and ``ceiling`` (None unless adaptive).
            ``admitted``, ``released``, ``abandoned``: counts by priority. Each admitted permit is
            later released, or abandoned if its finaliser released it.
            ``refused``: counts by priority and reason.
            ``median_latency``: seconds that the last 64 to 128 released permits were held, or
            None before the first.
            ``latency``: of all released permits, ``sum`` in seconds, ``counts`` of 128 buckets,
            and the 127 ``bounds`` between them in seconds (the lower bound of the next bucket).
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
            "adaptive": self._adaptation is not None,
            "floor": None if self._adaptation is None else self._adaptation.floor,
            "ceiling": None if self._adaptation is None else self._adaptation.ceiling,
            **by_priority,
            "refused": {
                priority: {reason: counts[reason] for reason in _REFUSALS}
                for priority, counts in outcomes.items()
            },
            "median_latency": median,
            "latency": {
                "sum": total,
                "counts": list(buckets),
                "bounds": [lower_bound(bucket) for bucket in range(1, BUCKETS)],
            },
        }

    def __repr__(self) -> str:
        return f"Limiter({self.limit}, name={self.name!r}): {self.in_use} in use"

    def __reduce__(self) -> Any:
        raise TypeError("a Limiter cannot be copied or pickled: each process has its own")


def lower_bound(bucket: int) -> float:
    """Return the lower bound of a latency bucket in seconds: four per octave, from 256 ns."""
    return ((4 + bucket % 4) << (bucket // 4 + 6)) * 1e-9


def check_arguments(
    limit: Any, name: Any, shares: Any
) -> tuple[int, str, tuple[str, ...], tuple[float, ...]]:
    """Return a limiter's limit, name, priorities and their shares, 'default' first."""
    if not isinstance(name, str):
        raise TypeError(f"name must be a str, got {name!r}")
    if shares is not None and not isinstance(shares, Mapping):
        raise TypeError(f"shares must be a mapping of priorities to numbers, got {shares!r}")
    checked = {DEFAULT: 1.0}
    for priority, value in (shares or {}).items():
        if not isinstance(priority, str):
            raise TypeError(f"shares must have str as keys, got {priority!r}")
        share = as_number(f"shares[{priority!r}]", value, 0)
        if not 0 < share <= 1:
            raise ValueError(f"shares[{priority!r}]={value} must be above 0 and at most 1")
        checked[priority] = share
    return as_positive_int("limit", limit), name, tuple(checked), tuple(checked.values())


def check_request(
    priorities: tuple[str, ...], priority: Any, cost: Any, deadline: Any
) -> tuple[int, int, float]:
    """Return the index of a request's priority, its cost, and the seconds it has left."""
    if not isinstance(priority, str):
        raise TypeError(f"priority must be a str, got {priority!r}")
    if priority not in priorities:
        raise ValueError(f"priority={priority!r} must be one of {priorities!r}")
    count = cost if type(cost) is int else _read_cost(cost)
    if count < 1:
        raise ValueError(f"cost={cost} must be at least 1")
    seconds = math.inf if deadline is None else _read_deadline(deadline)
    return priorities.index(priority), count, seconds


def _read_cost(cost: Any) -> int:
    if isinstance(cost, bool) or not hasattr(cost, "__index__"):
        raise TypeError(f"cost must be an int, got {cost!r}")
    return operator.index(cost)


def _read_deadline(deadline: Any) -> float:
    expected = "must be a number of seconds or None"
    if isinstance(deadline, bool) or not (
        hasattr(deadline, "__float__") or hasattr(deadline, "__index__")
    ):
        raise TypeError(f"deadline {expected}, got {deadline!r}")
    if math.isnan(deadline):
        raise ValueError(f"deadline=nan {expected}")
    return float(deadline)


def _decorate(
    limiter: LimiterBase, function: Any, request: Mapping[str, Any]
) -> Callable[..., Any]:
    """Return the function wrapped such that each call holds a permit."""
    if not callable(function) or inspect.isclass(function):
        raise TypeError(f"a Limiter decorates functions, got {function!r}")
    kinds = (function, type(function).__call__)  # an object may have an async __call__
    if any(inspect.isgeneratorfunction(f) or inspect.isasyncgenfunction(f) for f in kinds):
        raise TypeError(
            f"a Limiter cannot decorate a generator function, got {function!r}: "
            "use `with limiter.acquire():` inside the function"
        )
    if any(inspect.iscoroutinefunction(f) for f in kinds):

        @functools.wraps(function)
        async def async_wrapper(*args: Any, **kwargs: Any) -> Any:
            with limiter.acquire(**request):
                return await function(*args, **kwargs)

        return async_wrapper

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        with limiter.acquire(**request):
            return function(*args, **kwargs)

    return wrapper


_limiters: WeakSet[LimiterBase] = WeakSet()


def _reset_after_fork() -> None:
    for limiter in list(_limiters):
        limiter._reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_after_fork)
