"""The part of bench/peers.py on a million vectors: time to train lists, and growth of queries."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from functools import partial

import corpora
import faiss
import numpy as np
from flat_methods import WaterfillFlat
from ground_truth import exact_neighbours
from ivf_methods import WaterfillLists, WaterfillShelf
from peer_bench import run_id, title
from peer_goals import Goal, Outcome, Select, by_load, outcomes
from peer_methods import Family
from peer_sweep import Finalist, choose, measure
from recall_curves import Curve, Curves, Point
from swept_methods import Array, Scope

import waterfill as wf

SCALE = "scale-1m"
TRAINING = "training"
_SOURCE, _SOURCE_ROWS = "wordllama-unit", 500_000
_SMALL, _LARGE = 200_000, 1_000_000
_LISTS = {_SMALL: (1024, 2048), _LARGE: (2048, 4096)}
_TRAINED_LISTS, _TRAINED_DIMENSIONS = 4096, 128
_FLAT_RECALL, _LIST_RECALL = 0.80, 0.90
_TRAIN = f"train IVF{_TRAINED_LISTS} on {_LARGE:,} x {_TRAINED_DIMENSIONS}"


class Scale:
    """Training and growth; `args` are the options of bench/peers.py."""

    name = SCALE

    def __init__(self, args: argparse.Namespace, results: Curves) -> None:
        self._args, self._results = args, results
        self.title = title(SCALE, args)
        self.curves = results.section(self.title)

    def run(self) -> None:
        """Measure what has no result, or everything with ``--again waterfill`` or ``--retime``."""
        again = self._args.retime or "waterfill" in self._args.again
        libraries = self._args.only or ["waterfill", "faiss"]
        train = again or not any(one.kind == TRAINING for one in self.curves.values())
        grow = again or not any(one.kind != TRAINING for one in self.curves.values())
        if not (train or grow) or "waterfill" not in libraries:
            return
        corpus = corpora.exactly(_SOURCE, self._args.cache, _SOURCE_ROWS).tiled(_LARGE)
        if train:
            self._results.keep(self.title, _train(_shortened(corpus.base)))
        if grow:
            self._results.keep(self.title, self._grow(corpus))

    def outcomes(self) -> list[tuple[str, Outcome]]:
        """Return the outcome of each goal with the name of the set."""
        found = outcomes(self.current(), lambda _: _goals())
        return [(self.name, outcome) for outcome in found]

    def current(self) -> list[Curve]:
        """Return the results."""
        return list(self.curves.values())

    def missing(self) -> list[str]:
        """Return what has no result."""
        kinds = {one.kind for one in self.curves.values()}
        return [kind for kind in (TRAINING, _growth("flat"), _growth("rows")) if kind not in kinds]

    def _grow(self, corpus: corpora.Corpus) -> list[Curve]:
        finalists: list[Finalist] = []
        for n in (_SMALL, _LARGE):
            part = corpus.cut(n)
            truth = exact_neighbours(part.base, part.query, "ip")
            scope = Scope(n, part.base.shape[1], "ip", self._args.quick, self._args.fill_threads)
            chosen = (choose(family, part, truth, ()) for family in _families(scope))
            finalists += [final for final in chosen if final is not None]
        return measure(finalists, corpus.query, self._args.rounds, run_id())


def _families(scope: Scope) -> Iterator[Family]:
    """Yield a flat index and lists with rows, of a quarter and an eighth of a byte a dimension."""
    flat = partial(WaterfillFlat, scope, scope.d // 4, "auto")
    yield Family(f"waterfill {scope.d // 4}, {scope.n:,}", "waterfill", _growth("flat"), [flat])
    shelf, budget = WaterfillShelf(scope), scope.d // 8
    makers = [partial(WaterfillLists, scope, shelf, budget, n, "float16") for n in _LISTS[scope.n]]
    name = f"waterfill IVF, {budget}, float16 rows, {scope.n:,}"
    yield Family(name, "waterfill", _growth("rows"), makers)


def _growth(kind: str) -> str:
    return f"growth, {kind}"


def _shortened(x: Array) -> Array:
    """Keep the first dimensions, as the model is trained to allow, and norm 1."""
    part = x[:, :_TRAINED_DIMENSIONS]
    return np.ascontiguousarray(part / np.linalg.norm(part, axis=1, keepdims=True))


def _train(x: Array) -> list[Curve]:
    """Train IVF indexes of both libraries; the rate of a point is rows a second."""
    factory = f"IVF{_TRAINED_LISTS},PQ{_TRAINED_DIMENSIONS // 4}x4fs"
    peer = faiss.index_factory(x.shape[1], factory, faiss.METRIC_INNER_PRODUCT)
    budget = _TRAINED_DIMENSIONS // 4

    def ours() -> None:
        plan = wf.Plan.waterfill(wf.analyze(x), code_bytes=budget - 1)
        wf.IndexIVF(plan, _TRAINED_LISTS, metric="ip").train(x)

    run, curves = run_id(), []
    works = (("waterfill", f"waterfill IVF{_TRAINED_LISTS}, {budget} bytes", ours),)
    for library, name, work in (*works, ("faiss", f"FAISS {factory}", partial(peer.train, x))):
        print(f"training {name}", file=sys.stderr, flush=True)
        start = time.process_time()
        work()
        rate = len(x) / (time.process_time() - start)
        point = Point(name, {}, budget, 0.0, {"train": rate})
        curves.append(Curve(f"{name}, training", library, TRAINING, run, [point]))
    return curves


def _goals() -> Iterator[Goal]:
    kinds: Sequence[Select] = [_trained("waterfill"), _trained("faiss")]
    yield Goal(f"{_TRAIN}, rows a second", 0.0, "train", *kinds, 3)
    for kind, recall, least in (
        ("flat", _FLAT_RECALL, _SMALL / _LARGE),
        ("rows", _LIST_RECALL, (_SMALL / _LARGE) ** 0.5),
    ):
        what = f"{_growth(kind)}: {_LARGE:,} against {_SMALL:,}"
        yield from by_load(what, recall, _sized(kind, _LARGE), _sized(kind, _SMALL), least)


def _trained(library: str) -> Select:
    return lambda one: one.kind == TRAINING and one.library == library


def _sized(kind: str, n: int) -> Select:
    return lambda one: one.kind == _growth(kind) and one.name.endswith(f", {n:,}")
