"""Functions whose calls hold a permit, and what is asked of a limiter for that."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, Protocol

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
