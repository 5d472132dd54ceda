"""Speed of IVF indexes at equal recall, waterfill and FAISS, over all search settings.

Run ``python bench/ivf.py --data minilm --rows 200000``. A quick sweep over all settings finds those
near the target recalls; these are then timed interleaved.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import NamedTuple

# Set before importing NumPy: its BLAS reads the variable when it is loaded.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import corpora
import numpy as np
from ground_truth import recall
from interleaved_timing import interleave
from ivf_methods import Array, Swept, all_methods, tune_faiss
from methods import set_threads
from recall_curves import (
    LOADS,
    Curve,
    Curves,
    Point,
    around,
    families,
    frontier,
    ratio_table,
    speed_table,
)

K = 10
TARGETS = (0.80, 0.90, 0.95, 0.99)
BATCH, SINGLES = 100, 100  # queries per call; queries searched one by one
_GAIN = 0.0005  # recall that a setting must gain for the sweep to continue its line


class Key(NamedTuple):
    """The key of a timing: method, number of the setting, load."""

    name: str
    setting: int
    load: str


def calls(queries: Array, load: str) -> list[Array]:
    """Split the queries into the calls of a load."""
    size = BATCH if load == "batch" else 1
    used = queries if load == "batch" else queries[:SINGLES]
    return [used[first : first + size] for first in range(0, len(used), size)]


def search(one: Swept, batches: Sequence[Array]) -> Array:
    """Search each array of queries in turn; return the labels."""
    return np.vstack([one.search(queries, K) for queries in batches])


def sweep(
    one: Swept, corpus: corpora.Corpus, truth: Array, targets: Sequence[float]
) -> list[Point]:
    """Search once with each setting; return its recall and approximate speed."""
    batches, singles = (calls(corpus.query, load) for load in LOADS)
    points = []
    for line in one.settings():
        before = 0.0
        for setting in line:
            one.use(setting)
            found, batch = _rate(partial(search, one, batches), batches)
            _, single = _rate(partial(search, one, singles), singles)
            share = recall(found, truth)
            points.append(Point(setting, share, {"batch": batch, "single": single}))
            if share > max(targets) or share < before + _GAIN:
                break  # more effort gains no recall
            before = share
    return points


def _rate(work: Callable[[], Array], batches: Sequence[Array]) -> tuple[Array, float]:
    start = time.process_time()
    found = work()
    return found, sum(map(len, batches)) / (time.process_time() - start)


class Finalist(NamedTuple):
    """A filled method, its settings to time by load, and its highest recall."""

    one: Swept
    points: Mapping[str, Sequence[Point]]
    most: float


def choose(
    one: Swept, corpus: corpora.Corpus, targets: Sequence[float], stored: Curve | None
) -> Finalist:
    """Train and fill a method; take its stored settings, or sweep to choose some."""
    print(f"training and filling {one.name}", file=sys.stderr, flush=True)
    one.fill(corpus.base)
    if stored is not None:
        points = {load: [point for point in stored.points if load in point.qps] for load in LOADS}
        return Finalist(one, points, stored.most)
    print(f"sweeping {one.name}", file=sys.stderr, flush=True)
    found = sweep(one, corpus, corpus.truth("ip"), targets)
    points = {load: around(found, load, targets) for load in LOADS}
    return Finalist(one, points, max(point.recall for point in found))


def measure(finalists: Sequence[Finalist], corpus: corpora.Corpus, rounds: int) -> list[Curve]:
    """Time the settings of all finalists interleaved."""
    loads = {load: calls(corpus.query, load) for load in LOADS}
    works = {
        Key(final.one.name, number, load): partial(_timed, final.one, point, loads[load])
        for final in finalists
        for load, points in final.points.items()
        for number, point in enumerate(points)
    }
    seconds = interleave(works, rounds, time.process_time)

    def timed(final: Finalist) -> Iterator[Point]:
        for load, points in final.points.items():
            queries = sum(map(len, loads[load]))
            for number, point in enumerate(points):
                rate = queries / median(seconds[Key(final.one.name, number, load)])
                yield Point(point.setting, point.recall, {load: rate})

    return [
        Curve(
            name=final.one.name,
            family=final.one.family,
            library=final.one.library,
            size=final.one.size,
            refined=final.one.refined,
            most=final.most,
            points=list(timed(final)),
        )
        for final in finalists
    ]


def _timed(one: Swept, point: Point, batches: Sequence[Array]) -> None:
    one.use(point.setting)
    for queries in batches:
        one.search(queries, K)


def settings_lines(curves: Sequence[Curve]) -> list[str]:
    """Return one line of text per point on the frontier of each curve."""
    lines = []
    for curve in curves:
        for load in LOADS:
            for point in frontier(curve.points, load):
                setting = ", ".join(f"{name}={value:g}" for name, value in point.setting.items())
                lines.append(
                    f"{curve.name}, {load}: recall {point.recall:.3f}, "
                    f"{point.qps[load]:,.0f} QPS with {setting}"
                )
    return lines


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="IVF indexes: speed at equal recall.")
    corpora.add_arguments(parser)
    parser.add_argument(
        "--bytes", type=int, nargs="+", default=[49], metavar="B", help="waterfill's budgets"
    )
    parser.add_argument("--lists", type=int, nargs="+", default=[512, 1024, 2048], metavar="N")
    parser.add_argument("--recalls", type=float, nargs="+", default=TARGETS, metavar="R")
    parser.add_argument("--rounds", type=int, default=7, help="timings per median")
    parser.add_argument(
        "--keep", type=Path, metavar="JSON", help="file of results to resume and update"
    )
    parser.add_argument(
        "--store", type=Path, metavar="DIR", help="folder of filled FAISS indexes to reuse"
    )
    libraries = ("waterfill", "faiss")
    parser.add_argument(
        "--again",
        nargs="+",
        choices=libraries,
        default=[],
        help="measure these even if the file has results",
    )
    parser.add_argument(
        "--only", nargs="+", choices=libraries, default=[], help="measure only these"
    )
    parser.add_argument(
        "--retime",
        action="store_true",
        help="time the stored settings of all methods again",
    )
    parser.add_argument(
        "--match", default="", metavar="TEXT", help="only methods whose names contain TEXT"
    )
    parser.add_argument(
        "--settings", action="store_true", help="print the settings behind every rate"
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    args = _parse(arguments)
    corpus = corpora.from_arguments(args)
    set_threads(1)
    n, d = corpus.base.shape
    tune_faiss(d)
    title = f"{corpus.name}: {n:,} x {d}, {len(corpus.query)} queries, ip, 1 thread"
    store = args.store and args.store / f"{corpus.name}-{n}".replace(" ", "-")
    if store:
        store.mkdir(parents=True, exist_ok=True)
    results = Curves(args.keep)
    methods = [
        one for one in all_methods(args.bytes, args.lists, d, store) if args.match in one.name
    ]
    section = results.section(title)
    pending = [
        one
        for one in methods
        if (one.name not in section or one.library in args.again or args.retime)
        and (not args.only or one.library in args.only)
    ]
    finalists = [
        choose(
            one,
            corpus,
            args.recalls,
            section.get(one.name) if one.library not in args.again else None,
        )
        for one in pending
    ]
    if finalists:
        results.keep(title, measure(finalists, corpus, args.rounds))
    names = {one.name for one in methods}
    curves = [one for one in section.values() if one.name in names]
    groups = families(curves)
    print(f"{title}\n")
    for load in LOADS:
        print(*speed_table(groups, load, args.recalls, K), "", sep="\n")
    for load in LOADS:
        print(*ratio_table(groups, load, args.recalls), "", sep="\n")
    if args.settings:
        print(*settings_lines(curves), sep="\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
