"""What changes in bytes, recall, speed and lines from FAISS to waterfill, for ten pipelines.

``python bench/migration.py --data DIR`` runs the programs of ``docs/migration.md`` and writes its
table; ``--only 4 5`` measures some of them, and leaves the other lines.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import waterfill as wf
from waterfill.evaluation.ground_truth import true_neighbours

# The tests run the same programs. This folder's datasets.py would hide the package of this name.
TESTS = Path(__file__).resolve().parents[1] / "tests"
sys.path[0] = str(TESTS)
from support.migration_pairs import STORES, Pair, found, index_of, inputs, pairs, run  # noqa: E402

PAGE = Path(__file__).resolve().parents[1] / "docs" / "migration.md"
Rows = NDArray[np.float32]
BEGIN, END = "<!-- migration.py: begin -->", "<!-- migration.py: end -->"
_OF_STORES = 12_000
_REPEATS = 3
_OPQ = "opq.faiss"


def stored_bytes(index: Any) -> float:
    """Return what a vector adds to an index: bytes per vector, ids included."""
    import faiss

    if hasattr(index, "segments"):
        return (sum(each["bytes"] for each in index.segments) + index.log_bytes) / index.ntotal
    if hasattr(index, "has_ids"):
        if os.path.exists("disk.wf"):
            codec = len(index.codec.to_bytes())
            return (os.path.getsize("disk.wf") - codec) / index.ntotal
        return index.nbytes / index.ntotal
    if isinstance(index, faiss.IndexShards):
        parts = [faiss.downcast_index(index.at(i)) for i in range(index.count())]
        return sum(stored_bytes(part) * part.ntotal for part in parts) / index.ntotal
    if os.path.exists("lists.data"):  # the file grows by doubling, and is not all in use
        return index.code_size + 8
    empty = faiss.clone_index(index)
    empty.reset()
    whole, rest = (len(faiss.serialize_index(each)) for each in (index, empty))
    return (whole - rest) / index.ntotal


def rate(index: Any, queries: Any) -> float:
    """Return queries per second of the fastest of some batches."""
    best = float("inf")
    for _ in range(_REPEATS):
        start = time.perf_counter()
        index.search(queries, 10)
        best = min(best, time.perf_counter() - start)
    return len(queries) / best


def measure(pair: Pair, base: Rows, queries: Rows, number: int) -> str:
    """Run both programs of a pair; return its line of the table."""
    import faiss

    base = base[:_OF_STORES] if pair.title in STORES else base
    truth = true_neighbours(base, queries, "ip", 10)
    figures = []
    for text in (pair.old, pair.new):
        names = run(pair, text, inputs(pair.title, base, queries))
        rows, index = found(pair, names), index_of(names)
        recall = np.mean([len({*a} & {*b}) / 10 for a, b in zip(rows, truth, strict=True)])
        figures.append((stored_bytes(index), recall, rate(index, queries)))
        if text is pair.old and "OPQMatrix" in text:
            faiss.write_index(index, _OPQ)
        for closed in (names.get("store"), index):
            getattr(closed, "close", lambda: None)()
    (old_bytes, old_recall, old_rate), (new_bytes, new_recall, new_rate) = figures
    return (
        f"| {number}. {pair.title} | {pair.changed_lines} | {old_bytes:,.0f} to {new_bytes:,.0f} | "
        f"{old_recall:.3f} to {new_recall:.3f} | {new_rate / old_rate:.1f} |"
    )


def main() -> None:
    """Measure the pairs, and write their lines of the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--data", type=Path, default=TESTS / "samples", help="folder with base.npy and query.npy"
    )
    parser.add_argument("--rows", type=int, default=20_000, help="first rows of base.npy to use")
    parser.add_argument("--only", type=int, nargs="*", help="numbers of pairs; default: all")
    parser.add_argument("--page", type=Path, default=PAGE)
    args = parser.parse_args()
    import faiss

    faiss.omp_set_num_threads(1)
    wf.set_num_threads(1)
    base, queries = (
        np.load(args.data / name).astype(np.float32) for name in ("base.npy", "query.npy")
    )
    before, _, rest = args.page.read_text(encoding="utf-8").partition(BEGIN)
    known, _, after = rest.partition(END)
    lines = ["| pipeline | lines | bytes per vector | recall@10 | speed |", "|---|---|---|---|---|"]
    for number, pair in enumerate(pairs(args.page), 1):
        kept = re.search(rf"^\| {number}\. .+$", known, re.MULTILINE)
        if kept is not None and args.only and number not in args.only:
            lines.append(kept[0])
            continue
        with tempfile.TemporaryDirectory() as folder:
            here = Path.cwd()
            os.chdir(folder)
            try:
                lines.append(measure(pair, base[: args.rows], queries, number))
            finally:
                os.chdir(here)
        print(lines[-1], flush=True)
    body = "\n".join([BEGIN, "", *lines, "", END])
    args.page.write_text(before + body + after, encoding="utf-8")


if __name__ == "__main__":
    main()
