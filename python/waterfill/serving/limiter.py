"""The limiter: a permit or a refusal, at once."""

from __future__ import annotations

from collections.abc import Mapping

from waterfill import _core
from waterfill.loadtest.report import CapacityReport
from waterfill.serving.adaptation import anchored
from waterfill.serving.limiter_base import Surface, checked


class Limiter(Surface, _core.Limiter):
    """A limit on what is in use at once. A request is admitted or refused; nobody waits.

    ``acquire`` never blocks, so the same call serves threads, asyncio and trio, and no permit can
    be lost in a wait that is cancelled::

        limiter = wf.Limiter(12, name="retrieval", shares={"batch": 0.5})
        with limiter.acquire(priority="batch", cost=3):
            index.search(queries, 10)

        @limiter(deadline=0.2)
        async def answer(question): ...

    The limit holds in one process: all workers together take on workers x limit. A forked child
    begins with nothing in use and all counts at 0; permits of its parent count nothing there.

    Parameters
    ----------
    limit : int
        What may be in use at once, 1 or more. It can be set later: what is above a lower limit is
        not revoked, but nothing is admitted until enough has been released.
    name : str
        For messages and metrics.
    shares : mapping of str to float, optional
        Priorities, and for each the part of the limit, above 0 and at most 1, up to which its
        requests are admitted: with ``{"batch": 0.5}`` only while what is in use, whoever uses it,
        is at most half of the limit, this request included. Parts are rounded down. A request
        without a priority has ``'default'``, whose share is 1 if none is given.
    adaptive : CapacityReport, optional
        Lets the limit move within the report's floor and ceiling, as the recent median of what
        permits were held for is above or below what the report leads to expect. For services
        whose capacity shrinks at times. A limit that is set by hand is clamped to the same bounds,
        and moves on from there; in a forked child it begins where it began first.

    Attributes
    ----------
    limit, in_use : int
    name : str

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind, or out of its range.

    Notes
    -----
    ``acquire(*, priority='default', deadline=None, cost=1)`` returns a permit or raises
    `AtCapacity`; ``try_acquire`` returns None instead. `deadline` is seconds that the request has
    left. It is refused if they are 0 or less, or less than the median of what the last permits were
    held for, which does not count while nothing is in use. `cost` is what the request counts for.
    TypeError or ValueError if an argument is not possible, the name of the priority included.

    A permit has ``release()``, which does something the first time only and returns whether it did,
    ``held`` and ``cost``; ``with`` releases it, in async functions too. One that is dropped without
    that is released by its finaliser and counted as abandoned.
    """

    def __init__(
        self,
        limit: int,
        *,
        name: str = "limiter",
        shares: Mapping[str, float] | None = None,
        adaptive: CapacityReport | None = None,
    ) -> None:
        most, name, priorities, parts = checked(limit, name, shares)
        law = anchored(adaptive, most)
        bounds = None if law is None else (law.floor, law.ceiling, law.target)
        _core.Limiter.__init__(self, most, priorities, parts, bounds)
        self._begin(name, priorities, law)
