"""Interleaved timing, so that other load on the machine affects all functions alike."""

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
    """Time each function once per round.

    Parameters
    ----------
    works
        The functions to time, by name. Each is called twice in a row; the first call warms the
        caches and the second is timed.
    rounds
        Number of rounds.
    clock
        The clock, in seconds. ``time.process_time`` excludes time spent by other processes; use it
        only if all functions are single-threaded.

    Returns
    -------
    dict
        Seconds by name, one number per round.
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
