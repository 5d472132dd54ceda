"""`Limiter`: admits a request or refuses it, without waiting."""

from __future__ import annotations

from collections.abc import Mapping

from waterfill import _core
from waterfill.loadtest.report import CapacityReport
from waterfill.serving.adaptation import read_adaptation
from waterfill.serving.limiter_base import LimiterBase, check_arguments


# The core's class comes first: it counts, and has the methods that the base only declares.
class Limiter(_core.Limiter, LimiterBase):
    """An admission limit: a request gets a permit or is refused; nothing waits.

    ``acquire`` never blocks, so the same call serves threads, asyncio and trio, and no permit is
    lost when a waiting task is cancelled::

        limiter = wf.Limiter(12, name="retrieval", shares={"batch": 0.5})
        with limiter.acquire(priority="batch", cost=3):
            index.search(queries, 10)

        @limiter(deadline=0.2)
        async def answer(question): ...

    The limit holds within one process: n workers together admit n x limit. A forked child starts
    with nothing in use and all counts at 0; its parent's permits do not count there.

    Parameters
    ----------
    limit : int
        The total cost that may be in use at once, 1 or more. It can be set later. Lowering it
        revokes nothing; nothing is admitted until enough has been released.
    name : str
        Used in messages and metrics.
    shares : mapping of str to float, optional
        The priorities, and for each the share of the limit, in (0, 1], up to which its requests
        are admitted. With ``{"batch": 0.5}``, a batch request is admitted only if the total in
        use, this request and all priorities included, is then at most half of the limit (rounded
        down). A request without a priority has ``'default'``, whose share is 1 unless given.
    adaptive : CapacityReport, optional
        Lets the limit move between the report's floor and ceiling: down while the median time that
        recent permits were held is above what the report predicts, up while it is below. Meant for
        services whose capacity drops at times. The control law is that of the gradient limit [1]_,
        with a fixed target in place of the latency that it measures. A limit that is set later is
        clamped to these bounds and moves on from there; a forked child starts with the initial
        limit.

    Attributes
    ----------
    limit, in_use : int
        Total cost that may be in use at once, and that is in use now.
    name : str
        Name of the limiter.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Notes
    -----
    ``acquire(*, priority='default', deadline=None, cost=1)`` returns a permit or raises
    `AtCapacity`; ``try_acquire`` returns None instead. `deadline` is the seconds that the request
    has left: it is refused if that is 0 or less, or, while other permits are held, less than the
    median time that recent permits were held. `cost` is the request's part of the limit. Both
    raise TypeError or ValueError for an invalid argument, such as an unknown priority.

    A permit has ``release()``, ``held`` and ``cost``. ``with`` releases it, also in async
    functions; releasing it again has no effect. A permit that is dropped without being released is
    released by its finaliser and counted as abandoned.

    References
    ----------
    .. [1] Netflix, concurrency-limits, https://github.com/Netflix/concurrency-limits, 2018.
    """

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
        bounds = None
        if adaptation is not None:
            bounds = (adaptation.floor, adaptation.ceiling, adaptation.target)
        _core.Limiter.__init__(self, limit, priorities, parts, bounds)
        self._register(name, priorities, adaptation)
