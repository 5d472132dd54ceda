"""Interleaved timing: functions run in turns, so that other load on the machine affects all."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

Name = TypeVar("Name")


def interleave(
    works: Mapping[Name, Callable[[], object]],
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[Name, list[float]]:
    """Time each once a round.

    Parameters
    ----------
    works
        What to time, by name. Each is called twice in a row and the second call counts: the first
        brings its data back into the caches.
    rounds
        How many times it is that one's turn.
    clock
        What tells the seconds; ``time.process_time`` leaves out those that others had of the core,
        which is fair where all works have one thread.

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
            start = clock()
            work()
            seconds[name].append(clock() - start)
    return seconds
