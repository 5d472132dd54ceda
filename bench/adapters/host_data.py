"""Write vectors as the files that VectorDBBench and bitbudget read.

``vectordbbench`` writes the Parquet files of its case for a data set of one's own, from a folder
with ``base.npy`` and ``query.npy``. ``bitbudget`` writes the embeddings of a labelled set of
``bench/answer_sets.py`` into bitbudget's cache, where its step ``embed`` would leave them.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from waterfill.evaluation.ground_truth import true_neighbours

BENCH = Path(__file__).resolve().parents[1]
_TRUE_NEIGHBOURS = 100  # of each query, as many as VectorDBBench asks for by default


def write_parquet(folder: Path, metric: Any, target: Path) -> None:
    """Write base, queries and true neighbours of a folder."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    base, queries = (
        np.load(folder / f"{part}.npy").astype(np.float32) for part in ("base", "query")
    )
    truth = true_neighbours(base, queries, metric, _TRUE_NEIGHBOURS)
    target.mkdir(parents=True, exist_ok=True)
    for name, column, rows in (
        ("train", "emb", base),
        ("test", "emb", queries),
        ("neighbors", "neighbors_id", truth),
    ):
        ids = pa.array(np.arange(len(rows)), pa.int64())
        pq.write_table(pa.table({"id": ids, column: list(rows)}), target / f"{name}.parquet")


def write_embeddings(name: str, most: int, cache: Path, target: Path) -> Path:
    """Write a labelled set with at most so many queries, and return the file."""
    sys.path.insert(0, str(BENCH))
    import answer_sets

    known = {one.name: one for one in answer_sets.SETS}
    if name not in known:
        raise SystemExit(f"{name}: expected one of {', '.join(known)}")
    data = answer_sets.vectors(known[name], cache)
    judged = data.judgements.queries[:most]
    qrels = {
        str(query): {str(document): int(gain) for document, gain in gains.items()}
        for query, gains in zip(judged.tolist(), data.judgements.gains, strict=False)
    }
    # bitbudget scores by inner products.
    base, queries = (
        x / np.linalg.norm(x, axis=1, keepdims=True) for x in (data.base, data.queries[judged])
    )
    corpus, _, model = name.rpartition("-")
    path = target / f"emb_{model}_{corpus}.npz"
    target.mkdir(parents=True, exist_ok=True)
    cids, qids = np.arange(len(base)).astype(str), judged.astype(str)
    np.savez(path, demb=base, qemb=queries, cids=cids, qids=qids, qrels=json.dumps(qrels))
    return path


def main() -> None:
    """Write the files of one host."""
    parser = argparse.ArgumentParser(description=__doc__)
    hosts = parser.add_subparsers(dest="host", required=True)
    bench = hosts.add_parser("vectordbbench")
    bench.add_argument("folder", type=Path, help="with base.npy and query.npy")
    bench.add_argument("target", type=Path)
    bench.add_argument("--metric", choices=["cosine", "ip", "l2"], default="cosine")
    budget = hosts.add_parser("bitbudget")
    budget.add_argument("name", help="a set of bench/answer_sets.py")
    budget.add_argument("target", type=Path, help="bitbudget's --cache")
    budget.add_argument("--queries", type=int, default=500)
    budget.add_argument("--cache", type=Path, required=True, help="of bench/datasets.py")
    given = parser.parse_args()
    if given.host == "vectordbbench":
        write_parquet(given.folder, given.metric, given.target)
    else:
        print(write_embeddings(given.name, given.queries, given.cache, given.target))


if __name__ == "__main__":
    main()
