"""Single searches of a managed index beside its maintenance, and without it.

``python bench/managed_latency.py FOLDER:METRIC`` fills an index with ``base.npy`` and searches
``query.npy`` one by one: with maintenance stopped, and while a thread with half of a core trains
for another target and encodes all vectors anew. Both take turns. Printed are the median and the
99th percentile of wall time, and their ratios.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import waterfill as wf

Times = NDArray[np.float64]


def searched(index: Any, queries: NDArray[np.float32], until: Any) -> Times:
    """Return the seconds of single searches, which go on until a function says so."""
    times = []
    while not until():
        for i in range(50):
            query = queries[(len(times) + i) % len(queries)][None]
            start = time.perf_counter()
            index.search(query, 10)
            times.append(time.perf_counter() - start)
    return np.array(times)


def line(what: str, times: Times, idle: Times | None = None) -> str:
    """Return a row of the table."""
    median, late = (1e6 * np.quantile(times, share) for share in (0.5, 0.99))
    row = f"| {what} | {len(times):,} | {median:.0f} | {late:.0f} |"
    if idle is None:
        return row + " | |"
    before, before_late = (1e6 * np.quantile(idle, share) for share in (0.5, 0.99))
    return f"{row} {median / before:.2f} | {late / before_late:.2f} |"


def finished(index: Any, events: int) -> bool:
    """Return whether maintenance has measured what it has made since some events."""
    return any(event.what == "measured" for event in index.history[events:])


def passed(end: float) -> bool:
    """Return whether a time is over."""
    return time.perf_counter() > end


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description="Latency beside maintenance.")
    parser.add_argument("set", metavar="FOLDER:METRIC", help="folder with base.npy and query.npy")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--share", type=float, default=0.5)
    args = parser.parse_args()
    wf.set_num_threads(1)
    folder, _, metric = args.set.rpartition(":")
    x = np.load(Path(folder) / "base.npy", mmap_mode="r")[: args.rows].astype(np.float32)
    queries = np.load(Path(folder) / "query.npy").astype(np.float32)
    idle, busy = [], []
    with tempfile.TemporaryDirectory() as parent:
        path = Path(parent) / "a.wfx"
        with wf.open_index(
            path, "a", d=x.shape[1], metric=metric, target_recall=0.85, background="off"
        ) as index:
            index.upsert(np.arange(len(x)), x)
            index.maintain()
        for i in range(args.rounds):
            with wf.open_index(path, "a", background="off") as index:
                end = time.perf_counter() + 10
                idle.append(searched(index, queries, partial(passed, end)))
                events = len(index.history)
            target = (0.9, 0.85)[i % 2]
            with wf.open_index(path, "a", target_recall=target, background=args.share) as index:
                busy.append(searched(index, queries, partial(finished, index, events)))
    print("| maintenance | searches | median us | p99 us | ratio of medians | of p99 |")
    print("|---|--:|--:|--:|--:|--:|")
    print(line("none", np.concatenate(idle)))
    print(
        line(
            f"training and encoding, {args.share:g} of a core",
            np.concatenate(busy),
            np.concatenate(idle),
        )
    )


if __name__ == "__main__":
    main()
