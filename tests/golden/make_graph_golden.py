"""Write the golden files of graphs. Existing ones are never overwritten; see make_golden.py."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import waterfill as wf

HERE = Path(__file__).parent / "graph"


def main() -> int:
    """Write what is missing; return the exit status."""
    rng = np.random.default_rng(1)
    for metric, d in (("ip", 12), ("l2", 120)):
        x = (rng.standard_normal((400, d)) * np.geomspace(2, 0.2, d) + 0.5).astype("f4")
        index = wf.IndexHNSW(d, 6, metric)
        index.train(x)
        if metric == "ip":
            index.add_with_ids(x[:200], np.arange(200)[::-1] * 10_000_000_000 - 77)
        else:
            index.add(x[:100])
        path = HERE / f"1.6-graph-{metric}.wf"
        if path.exists():
            print(f"{path.name} exists and stays as it is", file=sys.stderr)
            continue
        HERE.mkdir(exist_ok=True)
        wf.write_index(index, path)
        distances, labels = index.search(x[-20:], 5)
        np.savez(
            path.with_suffix(".npz"),
            queries=x[-20:],
            distances=distances,
            labels=labels,
            decoded=index.reconstruct_n(0, 40),
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
