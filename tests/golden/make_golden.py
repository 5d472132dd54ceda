"""Write the golden files of this format version. Existing ones are never overwritten.

Each is an index as some release wrote it, with what a search in it found then. Whatever changes in
training or search, such files must be read, written back byte for byte, and searched as well.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import waterfill as wf

HERE = Path(__file__).parent


def codecs(x: np.ndarray) -> dict[str, wf.Codec]:
    """What each version of the format brought, by the name of its files."""
    analysis = wf.analyze(x)
    waterfill = wf.Plan.waterfill(analysis, code_bytes=3)
    classic = wf.Plan.classic(analysis, 2 / 12, 10 / 12, by="dimensions")
    fine = wf.Plan.waterfill(analysis, code_bytes=11)
    return {
        "1.0-waterfill": wf.Codec.train(x, waterfill, cells=0),
        "1.0-classic": wf.Codec.train(x, classic),
        "1.1-cells": wf.Codec.train(x, waterfill, cells=16),
        "1.1-best": wf.Codec.train(x, waterfill, cells=300, effort="best", queries=x[:50] + 1),
        "1.1-second-bytes": wf.Codec.train(x, fine, cells=0),
    }


def main() -> int:
    """Write what is missing; return the exit status."""
    rng = np.random.default_rng(1)
    x = (rng.standard_normal((900, 12)) * np.geomspace(2, 0.2, 12) + 0.5).astype("f4")
    for name, codec in codecs(x).items():
        for metric in ("ip", "l2"):
            path = HERE / f"{name}-{metric}.wf"
            if path.exists():
                print(f"{path.name} exists and stays as it is", file=sys.stderr)
                continue
            index = wf.IndexFlat(codec, metric)
            index.add(x[:500])
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
