"""Which driver a target needs."""

from __future__ import annotations

import inspect
from typing import Any

from waterfill.capacity.steps import Driver


def driver_of(target: Any) -> Driver:
    """Return what sends requests to a target: threads, or an event loop."""
    from waterfill.capacity.url import Url

    if isinstance(target, Url):
        from waterfill.capacity.tasks import Tasks

        return Tasks(target.client())
    if not callable(target) or inspect.isclass(target):
        raise TypeError(f"target must be a function or a Url, got {target!r}")
    kinds = (target, getattr(target, "func", None), type(target).__call__)
    if any(inspect.isgeneratorfunction(f) or inspect.isasyncgenfunction(f) for f in kinds):
        raise TypeError(f"target must not be a generator function, got {target!r}")
    if any(inspect.iscoroutinefunction(f) for f in kinds):
        from waterfill.capacity.tasks import Tasks

        return Tasks(target)
    from waterfill.capacity.threads import Threads

    return Threads(target)
