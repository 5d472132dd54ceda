"""Queries per second against recall: waterfill and its peers on one thread.

Run ``python bench/peers.py --sets minilm-50k --keep peers.json``, or ``make bench-peers``. A quick
sweep over all search settings finds those near some recalls; these are then timed interleaved.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

# Set before importing NumPy: its BLAS reads the variable when it is loaded.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import corpora
import peer_page
from methods import Array, set_threads
from packages import DatasetError
from peer_goals import ROW_TARGETS, Outcome, goal_table, outcomes
from peer_methods import LIBRARIES, LISTS, Family, all_families
from peer_sets import SETS, PeerSet, load
from peer_sweep import Finalist, choose, curve, measure, obstacle, refill
from recall_curves import LOADS, Curves, speed_table
from swept_methods import Scope, tune_faiss

# By instruction set: variables that libraries read when they are loaded. FAISS before 1.15 reads
# FAISS_OPT_LEVEL, later versions FAISS_SIMD_LEVEL; OpenBLAS multiplies for FAISS's quantizers.
ISAS = {
    "best": {},
    "avx512": {
        "WATERFILL_ISA": "avx512",
        "FAISS_OPT_LEVEL": "avx512",
        "FAISS_SIMD_LEVEL": "AVX512",
        "OPENBLAS_CORETYPE": "SkylakeX",
    },
    "avx2": {
        "WATERFILL_ISA": "avx2",
        "FAISS_OPT_LEVEL": "avx2",
        "FAISS_SIMD_LEVEL": "AVX2",
        "OPENBLAS_CORETYPE": "Haswell",
    },
}
NO_ISA = "turbovec, hnswlib, usearch and ScaNN choose their own instruction set"


class Bench:
    """The measurement of one set: which methods are pending, their sweep and their timing."""

    def __init__(self, name: str, one: PeerSet, args: argparse.Namespace, results: Curves) -> None:
        self.name, self._set, self._args, self._results = name, one, args, results
        self.title = title(name, args)
        self.curves = results.section(self.title)
        store = args.store and args.store / name
        if store:
            store.mkdir(parents=True, exist_ok=True)
        scope = Scope(one.rows, one.d, one.metric, args.quick, args.fill_threads, store)
        families = all_families(scope, args.lists)
        self.families = [family for family in families if args.match in family.name]

    def run(self) -> None:
        """Measure the pending methods."""
        pending = self._pending()
        if not pending:
            return
        corpus = load(self._set, self._args.cache, self._args.sift)
        if corpus is None:
            print(
                f"skipped {self.name}: pass its folder, --{self._set.source} DIR", file=sys.stderr
            )
            return
        if corpus.base.shape != (self._set.rows, self._set.d):
            expected = f"{self._set.rows:,} x {self._set.d}"
            print(
                f"skipped {self.name}: expected {expected}, got {corpus.base.shape}",
                file=sys.stderr,
            )
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
            run = time.strftime("%Y-%m-%d %H:%M:%S")
            self._results.keep(self.title, measure(finalists, corpus, self._args.rounds, run))

    def outcomes(self) -> list[tuple[str, Outcome]]:
        """Return the outcome of each goal with the name of the set."""
        found = outcomes(list(self.curves.values()), self._set.d)
        return [(self.name, outcome) for outcome in found]

    def missing(self) -> list[str]:
        """Return the names of methods without a result, with the reason if they cannot run."""
        return [
            family.name + (f" ({why})" if (why := obstacle(family)) else "")
            for family in self.families
            if not self._timed(family)
        ]

    def _pending(self) -> list[Family]:
        """Return the methods to measure; ours last, as goals depend on recalls of peers."""
        args = self._args
        chosen = [
            one
            for one in self.families
            if (not args.only or one.library in args.only)
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


def report(benches: Sequence[Bench]) -> Iterator[str]:
    """Yield the tables of all sets: goals, rates by method, and what was not measured."""
    yield from goal_table(row for bench in benches for row in bench.outcomes())
    for bench in benches:
        curves = [one for one in bench.curves.values() if one.run]
        for one in LOADS:
            yield from ("", f"{bench.title}:", "", *speed_table(curves, one, ROW_TARGETS))
        if bench.missing():
            yield from ("", f"Not measured on {bench.name}: {'; '.join(bench.missing())}.")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Queries per second against recall, compared with peers.",
        epilog=f"Instruction sets: {NO_ISA}.",
    )
    parser.add_argument(
        "--sets", nargs="+", choices=list(SETS), default=list(SETS), help="default: all"
    )
    parser.add_argument("--cache", metavar="DIR", help="cache folder of bench/datasets.py")
    parser.add_argument(
        "--sift", metavar="DIR", help="base.npy and query.npy of SIFT descriptors, 128 dimensions"
    )
    parser.add_argument(
        "--isa",
        choices=list(ISAS),
        default="best",
        help="instruction set of waterfill, FAISS and BLAS; default: the best of this machine",
    )
    parser.add_argument("--lists", type=int, nargs="+", default=LISTS, metavar="N")
    parser.add_argument("--rounds", type=int, default=7, help="timings per median")
    parser.add_argument(
        "--quick", action="store_true", help="every second value of a setting, fewer budgets"
    )
    parser.add_argument(
        "--fill-threads", type=int, default=1, metavar="N", help="threads that fill indexes"
    )
    parser.add_argument(
        "--keep", type=Path, metavar="JSON", help="file of results to resume and update"
    )
    parser.add_argument(
        "--store", type=Path, metavar="DIR", help="folder of filled indexes of peers to reuse"
    )
    parser.add_argument(
        "--again",
        nargs="+",
        choices=LIBRARIES,
        default=[],
        help="sweep and time these even if the file has results",
    )
    parser.add_argument(
        "--only", nargs="+", choices=LIBRARIES, default=[], help="measure only these"
    )
    parser.add_argument(
        "--retime", action="store_true", help="time the stored settings of all methods again"
    )
    parser.add_argument(
        "--match", default="", metavar="TEXT", help="only methods whose names contain TEXT"
    )
    parser.add_argument("--report", action="store_true", help="measure nothing; print and draw")
    parser.add_argument("--picture", type=Path, metavar="PNG", help="plot speed against recall")
    parser.add_argument(
        "--write", type=Path, metavar="MD", help="page whose generated part gets table and picture"
    )
    return parser.parse_args(arguments)


def _select_isa(isa: str) -> None:
    """Start the program again with the variables of an instruction set, if they are not set."""
    if any(os.environ.get(name) != value for name, value in ISAS[isa].items()):
        os.environ.update(ISAS[isa])
        os.execv(sys.executable, [sys.executable, *sys.argv])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    args = _parse(arguments)
    if arguments is None:
        _select_isa(args.isa)
    set_threads(1)
    results = Curves(args.keep)
    benches = [Bench(name, SETS[name], args, results) for name in args.sets]
    for bench in benches:
        try:
            if not args.report:
                bench.run()
        except (DatasetError, OSError) as error:
            print(f"error: {bench.name}: {error}", file=sys.stderr)
            return 1
    lines = list(report(benches))
    print(*lines, sep="\n")
    if args.picture or args.write:
        import peer_plot  # imported here: only the plot needs matplotlib

        picture = args.picture or args.write.with_suffix(".png")
        peer_plot.draw({bench.name: list(bench.curves.values()) for bench in benches}, picture)
        if args.write:
            peer_page.write(args.write, lines, picture)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
