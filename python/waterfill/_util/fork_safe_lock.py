"""Locks of Python objects that a forked child finds free.

A child has only the thread that forked. A lock that another thread held at the fork would stay
locked in the child for ever.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from typing import TypeVar

AnyLock = TypeVar("AnyLock", bound="threading.Lock | threading.RLock")

_locks: weakref.WeakKeyDictionary[object, dict[str, Callable[[], object]]] = (
    weakref.WeakKeyDictionary()
)


def fork_safe_lock(owner: object, name: str, make: Callable[[], AnyLock]) -> AnyLock:
    """Return a lock for an attribute of an object; in a forked child it gets another one.

    Parameters
    ----------
    owner : object
        Hashable by identity, and kept alive by others.
    name : str
        The attribute that the caller sets.
    make : callable
        ``threading.Lock`` or ``threading.RLock``.
    """
    _locks.setdefault(owner, {})[name] = make
    return make()


def _after_fork_in_child() -> None:
    for owner, locks in list(_locks.items()):
        for name, make in locks.items():
            object.__setattr__(owner, name, make())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
