"""Run a script of ann-benchmarks on vectors of one's own.

From a checkout of ann-benchmarks::

    python ann_benchmarks_sets.py photos-128-euclidean=DIR words-384-angular=DIR -- \
        run.py --local --dataset photos-128-euclidean --algorithm waterfill-ivf

``DIR`` holds ``base.npy`` and ``query.npy``. The checkout's own code computes the true neighbours
and writes ``data/NAME.hdf5``, if it is not there. The name ends with the distance.
"""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

_DISTANCES = ("euclidean", "angular")


def add_set(name: str, folder: Path) -> None:
    """Make vectors a set that the checkout in the current folder knows."""
    from ann_benchmarks.datasets import DATASETS, get_dataset_fn, write_output

    distance = name.rpartition("-")[2]
    if distance not in _DISTANCES:
        raise SystemExit(f"{name}: expected a name that ends with {' or '.join(_DISTANCES)}")
    base, queries = (
        np.load(folder / f"{part}.npy").astype(np.float32) for part in ("base", "query")
    )

    def write(path: str) -> None:
        partial = f"{path}.partial"
        write_output(base, queries, partial, distance)
        os.replace(partial, path)

    DATASETS[name] = write
    path = get_dataset_fn(name)
    if not os.path.exists(path):
        write(path)


def main(arguments: Sequence[str]) -> None:
    """Add the sets, and run the script with the arguments behind ``--``."""
    if "--" not in arguments or arguments[-1] == "--":
        raise SystemExit(f"expected NAME=DIR ... -- SCRIPT ARGUMENTS, got {list(arguments)}")
    split = arguments.index("--")
    sys.path.insert(0, os.getcwd())
    for given in arguments[:split]:
        name, _, folder = given.partition("=")
        add_set(name, Path(folder))
    script, *rest = arguments[split + 1 :]
    sys.argv = [script, *rest]
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1:])
