"""The cost of id filters: searches restricted to 1 % of the ids compared with unfiltered ones.

Run ``python bench/filters.py --data minilm --rows 200000``.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

# Set before importing NumPy: its BLAS reads the variable when it is loaded.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import corpora
import faiss
import numpy as np
from ground_truth import exact_neighbours, recall
from interleaved_timing import interleave
from ivf_methods import FaissLists, FaissShelf, WaterfillLists, WaterfillShelf
from methods import set_threads
from peer_sweep import K, calls
from recall_curves import LOADS
from swept_methods import Array, Scope, tune_faiss

_SEED = 3
_ALL = "all ids"

Lists = FaissLists | WaterfillLists


@dataclass(frozen=True)
class Filter:
    """The selected ids and their selector; None selects all ids."""

    ids: Array
    selector: Any = None

    def truth(self, base: Array, query: Array) -> Array:
        """Return the ids of the exact neighbours among the selected ids."""
        return self.ids[exact_neighbours(base[self.ids], query, "ip")]

    def parameters(self, probes: int) -> Any:
        """Return the search parameters with this filter."""
        if self.selector is None:
            return faiss.SearchParametersIVF(nprobe=probes)
        return faiss.SearchParametersIVF(sel=self.selector, nprobe=probes)


def filters(rows: int, share: float) -> dict[str, Filter]:
    """Return no filter, a batch and a bitmap of random ids, and a range of ids."""
    all_ids = np.arange(rows, dtype=np.int64)
    count = max(round(rows * share), K)
    random_ids = np.sort(np.random.default_rng(_SEED).choice(all_ids, count, replace=False))
    bits = np.zeros(rows, dtype=bool)
    bits[random_ids] = True
    packed = np.packbits(bits, bitorder="little")
    first = rows // 2
    return {
        _ALL: Filter(all_ids),
        "IDSelectorBatch": Filter(random_ids, faiss.IDSelectorBatch(random_ids)),
        "IDSelectorBitmap": Filter(random_ids, faiss.IDSelectorBitmap(packed)),
        "IDSelectorRange": Filter(
            all_ids[first : first + count], faiss.IDSelectorRange(first, first + count)
        ),
    }


def all_methods(budget: int, nlist: int, scope: Scope) -> Iterator[Lists]:
    """Yield waterfill and its FAISS peers."""
    yield WaterfillLists(scope, WaterfillShelf(scope), budget, nlist)
    d, shelf = scope.d, FaissShelf(scope)
    for pattern in (f"IVF{{}},PQ{d // 4}x4fs", f"IVF{{}},PQ{d // 2}x4fs", "IVF{},RaBitQfs2"):
        yield FaissLists(scope, shelf, pattern, nlist, refine=False)


def search(index: Any, queries: Sequence[Array], parameters: Any) -> Array:
    """Search each array of queries in turn; return the labels."""
    return np.vstack([index.search(batch, K, params=parameters)[1] for batch in queries])


def measure(
    methods: Sequence[Lists], corpus: corpora.Corpus, share: float, probes: int, rounds: int
) -> Iterator[str]:
    """Measure recall and time; yield the lines of a Markdown table."""
    filters_by_name = filters(len(corpus.base), share)
    truths = {name: one.truth(corpus.base, corpus.query) for name, one in filters_by_name.items()}
    recalls: dict[tuple[str, str], float] = {}
    works: dict[tuple[str, str, str], Callable[[], object]] = {}
    for one in methods:
        print(f"training and filling {one.name}", file=sys.stderr, flush=True)
        one.fill(corpus.base)
        for name, id_filter in filters_by_name.items():
            parameters = id_filter.parameters(probes)
            found = search(one.index, calls(corpus.query, "batch"), parameters)
            recalls[one.name, name] = recall(found, truths[name])
            for load in LOADS:
                queries = calls(corpus.query, load)
                works[one.name, name, load] = partial(search, one.index, queries, parameters)
    seconds = {
        key: median(times) for key, times in interleave(works, rounds, time.process_time).items()
    }
    yield f"| index, nprobe {probes} | filter | recall@{K} | time, batch | time, single |"
    yield "|---|---|--:|--:|--:|"
    for one in methods:
        for name in filters_by_name:
            times = " | ".join(_times(seconds, one.name, name, load) for load in LOADS)
            yield f"| {one.name} | {name} | {recalls[one.name, name]:.3f} | {times} |"


def _times(seconds: Mapping[tuple[str, str, str], float], one: str, name: str, load: str) -> str:
    return f"{seconds[one, name, load] / seconds[one, _ALL, load]:.2f}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(
        description="Search time with id filters, relative to no filter."
    )
    corpora.add_arguments(parser)
    parser.add_argument("--bytes", type=int, default=49, metavar="B", help="waterfill's budget")
    parser.add_argument("--lists", type=int, default=1024, metavar="N", help="number of lists")
    parser.add_argument("--probes", type=int, default=32, metavar="N", help="lists per query")
    parser.add_argument("--share", type=float, default=0.01, help="share of the ids to select")
    parser.add_argument("--rounds", type=int, default=7, help="timings per median")
    args = parser.parse_args(arguments)
    corpus = corpora.from_arguments(args)
    set_threads(1)
    n, d = corpus.base.shape
    tune_faiss(d)
    methods = list(all_methods(args.bytes, args.lists, Scope(n, d, "ip")))
    table = list(measure(methods, corpus, args.share, args.probes, args.rounds))
    print(f"{corpus.name}: {n:,} x {d}, {len(corpus.query)} queries, ip, 1 thread\n")
    print(*table, sep="\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
