"""Time things in turns, so that whatever else slows the machine slows all of them."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

Name = TypeVar("Name")


def interleave(works: Mapping[Name, Callable[[], object]], rounds: int) -> dict[Name, list[float]]:
    """Time each once a round.

    Parameters
    ----------
    works
        What to time, by name. Each is called twice in a row and the second call counts: the first
        brings its data back into the caches.
    rounds
        How many times it is that one's turn.

    Returns
    -------
    dict
        Seconds by name, a number a round.
    """
    seconds: dict[Name, list[float]] = {name: [] for name in works}
    for number in range(1, rounds + 1):
        print(f"round {number} of {rounds}", file=sys.stderr)
        for name, work in works.items():
            work()
            start = time.perf_counter()
            work()
            seconds[name].append(time.perf_counter() - start)
    return seconds
