"""One set of bench/peers.py: which methods are pending, their sweep and their timing."""

from __future__ import annotations

import argparse
import gc
import sys
import time

import corpora
from methods import Array
from peer_goals import Outcome, goals, outcomes
from peer_methods import Family, all_families
from peer_sets import PeerSet, load
from peer_sweep import Finalist, choose, curve, measure, obstacle, refill
from recall_curves import Curve, Curves
from swept_methods import Scope, tune_faiss


class Bench:
    """The measurement of one set; `args` are the options of bench/peers.py."""

    def __init__(self, name: str, one: PeerSet, args: argparse.Namespace, results: Curves) -> None:
        self.name, self._set, self._args, self._results = name, one, args, results
        self.title = title(name, args)
        self.curves = results.section(self.title)

    def run(self) -> None:
        """Measure the pending methods."""
        pending = self._pending()
        if not pending:
            return
        corpus = load(self._set, self._args.cache, self._args.sift)
        if corpus is None:
            self._skip(f"pass its folder, --{self._set.source} DIR")
            return
        if corpus.base.shape != (self._set.rows, self._set.d):
            self._skip(f"expected {(self._set.rows, self._set.d)}, got {corpus.base.shape}")
            return
        tune_faiss(self._set.d)
        print(f"{self.title}: {len(pending)} methods to measure", file=sys.stderr)
        truth = corpus.truth(self._set.metric)
        finalists = []
        for family in pending:
            final = self._finalist(family, corpus, truth)
            if final is not None:
                finalists.append(final)
            gc.collect()
        if finalists:
            timed = measure(finalists, corpus.query, self._args.rounds, run_id())
            self._results.keep(self.title, timed)

    def outcomes(self) -> list[tuple[str, Outcome]]:
        """Return the outcome of each goal with the name of the set."""
        found = outcomes(self.current(), lambda timed: goals(timed, self._set.d))
        return [(self.name, outcome) for outcome in found]

    def current(self) -> list[Curve]:
        """Return the results of the present methods; the file may have those of earlier ones."""
        stored = (self.curves.get(family.name) for family in self._families())
        return [one for one in stored if one is not None]

    def missing(self) -> list[str]:
        """Return the names of methods without a result, with the reason if they cannot run."""
        return [
            family.name + (f" ({why})" if (why := obstacle(family)) else "")
            for family in self._families()
            if not self._timed(family)
        ]

    def _skip(self, why: str) -> None:
        print(f"skipped {self.name}: {why}", file=sys.stderr)

    def _families(self) -> list[Family]:
        """Return new methods; they hold their indexes, so that no set keeps those of another."""
        one, args = self._set, self._args
        store = args.store and args.store / self.name
        if store:
            store.mkdir(parents=True, exist_ok=True)
        scope = Scope(one.rows, one.d, one.metric, args.quick, args.fill_threads, store)
        return [family for family in all_families(scope, args.lists) if args.match in family.name]

    def _pending(self) -> list[Family]:
        """Return the methods to measure; ours last, as goals depend on recalls of peers."""
        args = self._args
        chosen = [
            one
            for one in self._families()
            if (not args.only or one.library in args.only)
            and one.kind in args.kinds
            and (args.retime or one.library in args.again or not self._timed(one))
        ]
        return sorted(chosen, key=lambda one: one.library == "waterfill")

    def _timed(self, family: Family) -> bool:
        stored = self.curves.get(family.name)
        return stored is not None and bool(stored.run)

    def _finalist(self, family: Family, corpus: corpora.Corpus, truth: Array) -> Finalist | None:
        """Fill a method and take its stored points, or sweep it and store points to time."""
        stored = self.curves.get(family.name)
        if stored is not None and family.library not in self._args.again:
            return refill(family, corpus, stored.points)
        flat = family.kind == "flat" and family.library == "waterfill"
        final = choose(family, corpus, truth, self._flat_recalls() if flat else ())
        if final is not None:
            self._results.keep(self.title, [curve(final)])
        return final

    def _flat_recalls(self) -> list[float]:
        peers = (one for one in self.curves.values() if one.library != "waterfill")
        return [one.most for one in peers if one.kind == "flat"]


def title(name: str, args: argparse.Namespace) -> str:
    """Return the title of a set's results."""
    return f"{name}, {args.isa}" + (", quick" if args.quick else "")


def run_id() -> str:
    """Return an identifier of a run: the time."""
    return time.strftime("%Y-%m-%d %H:%M:%S")
