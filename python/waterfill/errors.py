"""Errors and warnings that waterfill raises.

Some have two base classes: the exception that Python code expects, and the one that FAISS raises in
the same place, so that pipelines written for FAISS catch them.
"""

from __future__ import annotations

from typing import Literal

Reason = Literal["capacity", "share", "deadline"]

_BUSY = "at capacity, please try again in a moment"
_TOO_LARGE = "at capacity for a request of this size, please ask for less at once"
_TOO_LATE = "at capacity, there is not enough time left for an answer"


class NotTrainedError(RuntimeError):
    """The index has no codec yet: call `train` first."""


class ArgumentError(ValueError, AssertionError):
    """An argument has a value that is not possible, where FAISS has an assertion."""


class MissingIdError(IndexError, ValueError, RuntimeError):
    """There is no vector with this id, or at this position."""


class FaissCopyWarning(UserWarning):
    """FAISS works on a copy of an index that loses something of it, or did not follow it."""


class AtCapacity(RuntimeError):  # noqa: N818 - it names a state, as TimeoutError's kin do
    """A request was not admitted. Its message may be shown to users.

    Attributes
    ----------
    limit : int
        What may be in use at once.
    in_use : int
        What was in use when the request was refused.
    retry_after : float or None
        Seconds until enough is likely to be released. The same for all that are refused at the
        same time, so add some chance to it. None where the same request will not do later either:
        it costs more than its priority's share, or its deadline is too near.
    reason : {'capacity', 'share', 'deadline'}
        What it was refused for: the limit, the share of its priority, or its deadline.
    name : str
        Of the limiter.
    priority : str
        Of the request.
    """

    def __init__(
        self,
        limit: int,
        in_use: int,
        retry_after: float | None,
        reason: Reason,
        name: str = "limiter",
        priority: str = "default",
    ) -> None:
        super().__init__(limit, in_use, retry_after, reason, name, priority)
        self.limit = limit
        self.in_use = in_use
        self.retry_after = retry_after
        self.reason: Reason = reason
        self.name = name
        self.priority = priority

    def __str__(self) -> str:
        if self.reason == "deadline":
            return _TOO_LATE
        return _TOO_LARGE if self.retry_after is None else _BUSY
