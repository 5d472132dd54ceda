"""Errors and warnings that waterfill raises.

Some have several base classes: the one that Python code expects, and the one that FAISS raises in
the same case, so that code written for FAISS catches them.
"""

from __future__ import annotations

from typing import Literal

Reason = Literal["capacity", "share", "deadline"]

_BUSY = "at capacity, please try again in a moment"
_TOO_LARGE = "at capacity for a request of this size, please ask for less at once"
_TOO_LATE = "at capacity, there is not enough time left for an answer"


class NotTrainedError(RuntimeError):
    """The index is not trained: call `train` first."""


class ArgumentError(ValueError, AssertionError):
    """An argument has an invalid value, in a case where FAISS fails an assertion."""


class MissingIdError(IndexError, ValueError, RuntimeError):
    """No vector has this id, or this position."""


class AtCapacity(RuntimeError):  # noqa: N818 - public name
    """A limiter refused a request. The message may be shown to end users.

    Attributes
    ----------
    limit : int
        Total cost that may be in use at once.
    in_use : int
        Total cost in use when the request was refused.
    retry_after : float or None
        Estimated seconds until enough capacity is free. Requests that are refused together get the
        same estimate, so add jitter. None if an identical retry cannot succeed: the request costs
        more than the share of its priority, or its deadline is too near.
    reason : {'capacity', 'share', 'deadline'}
        The limit that refused the request: the total, the share of its priority, or its deadline.
    name : str
        Name of the limiter.
    priority : str
        Priority of the request.
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


class RecallWarning(UserWarning):
    """A default, or what was given, costs recall; the message has the way out."""
