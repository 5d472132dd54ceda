"""Speed at equal recall of indices in lists: waterfill beside FAISS, over all their settings.

Run ``python bench/ivf.py --data minilm --rows 200000``. A quick pass over all settings finds those
that lie about the recalls asked for; these are then timed in turns.
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

# Before NumPy is imported: its BLAS reads the variable when it is loaded.
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
BATCH, SINGLES = 100, 100  # queries in a call; queries searched one by one
_GAIN = 0.0005  # recall that the next setting of a line must bring for the quick pass to go on


class Key(NamedTuple):
    """What is timed: a method, the number of a setting, a load."""

    name: str
    setting: int
    load: str


def calls(queries: Array, load: str) -> list[Array]:
    """Return the arrays that are searched one after another."""
    size = BATCH if load == "batch" else 1
    some = queries if load == "batch" else queries[:SINGLES]
    return [some[first : first + size] for first in range(0, len(some), size)]


def search(one: Swept, some: Sequence[Array]) -> Array:
    """Search with each array in turn."""
    return np.vstack([one.search(queries, K) for queries in some])


def sweep(
    one: Swept, corpus: corpora.Corpus, truth: Array, targets: Sequence[float]
) -> list[Point]:
    """Search once with the settings, for their recall and a first idea of their speed."""
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
                break  # more effort brings nothing more
            before = share
    return points


def _rate(work: Callable[[], Array], some: Sequence[Array]) -> tuple[Array, float]:
    start = time.process_time()
    found = work()
    return found, sum(map(len, some)) / (time.process_time() - start)


class Finalist(NamedTuple):
    """A filled method, the settings that decide its speed by load, its highest recall."""

    one: Swept
    points: Mapping[str, Sequence[Point]]
    most: float


def choose(
    one: Swept, corpus: corpora.Corpus, targets: Sequence[float], kept: Curve | None
) -> Finalist:
    """Train and fill a method; choose settings in a quick pass where none are kept."""
    print(f"training and filling {one.name}", file=sys.stderr, flush=True)
    one.fill(corpus.base)
    if kept is not None:
        points = {load: [point for point in kept.points if load in point.qps] for load in LOADS}
        return Finalist(one, points, kept.most)
    print(f"sweeping {one.name}", file=sys.stderr, flush=True)
    found = sweep(one, corpus, corpus.truth("ip"), targets)
    points = {load: around(found, load, targets) for load in LOADS}
    return Finalist(one, points, max(point.recall for point in found))


def measure(finalists: Sequence[Finalist], corpus: corpora.Corpus, rounds: int) -> list[Curve]:
    """Time the settings of all in turns."""
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


def _timed(one: Swept, point: Point, some: Sequence[Array]) -> None:
    one.use(point.setting)
    for queries in some:
        one.search(queries, K)


def settings_lines(curves: Sequence[Curve]) -> list[str]:
    """Return lines that tell the settings behind each curve."""
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
    parser = argparse.ArgumentParser(description="Indices in lists: speed at equal recall.")
    corpora.add_arguments(parser)
    parser.add_argument(
        "--bytes", type=int, nargs="+", default=[49], metavar="B", help="waterfill's budgets"
    )
    parser.add_argument("--lists", type=int, nargs="+", default=[512, 1024, 2048], metavar="N")
    parser.add_argument("--recalls", type=float, nargs="+", default=TARGETS, metavar="R")
    parser.add_argument("--rounds", type=int, default=7, help="searches the median is taken of")
    parser.add_argument("--keep", type=Path, metavar="JSON", help="results: read, and added to")
    parser.add_argument(
        "--store", type=Path, metavar="DIR", help="keep FAISS's filled indices here, for next time"
    )
    libraries = ("waterfill", "faiss")
    parser.add_argument(
        "--again", nargs="+", choices=libraries, default=[], help="measure these though kept"
    )
    parser.add_argument("--only", nargs="+", choices=libraries, default=[], help="measure no other")
    parser.add_argument(
        "--retime",
        action="store_true",
        help="time the settings of all that is kept once more, beside what is measured",
    )
    parser.add_argument(
        "--match", default="", metavar="TEXT", help="only methods whose names have this in them"
    )
    parser.add_argument("--settings", action="store_true", help="print the settings measured too")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    given = _parse(arguments)
    corpus = corpora.from_arguments(given)
    set_threads(1)
    n, d = corpus.base.shape
    tune_faiss(d)
    title = f"{corpus.name}: {n:,} x {d}, {len(corpus.query)} queries, ip, 1 thread"
    store = given.store and given.store / f"{corpus.name}-{n}".replace(" ", "-")
    if store:
        store.mkdir(parents=True, exist_ok=True)
    kept = Curves(given.keep)
    everybody = [
        one for one in all_methods(given.bytes, given.lists, d, store) if given.match in one.name
    ]
    section = kept.section(title)
    wanted = [
        one
        for one in everybody
        if (one.name not in section or one.library in given.again or given.retime)
        and (not given.only or one.library in given.only)
    ]
    finalists = [
        choose(
            one,
            corpus,
            given.recalls,
            section.get(one.name) if one.library not in given.again else None,
        )
        for one in wanted
    ]
    if finalists:
        kept.keep(title, measure(finalists, corpus, given.rounds))
    names = {one.name for one in everybody}
    curves = [one for one in section.values() if one.name in names]
    groups = families(curves)
    print(f"{title}\n")
    for load in LOADS:
        print(*speed_table(groups, load, given.recalls, K), "", sep="\n")
    for load in LOADS:
        print(*ratio_table(groups, load, given.recalls), "", sep="\n")
    if given.settings:
        print(*settings_lines(curves), sep="\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
