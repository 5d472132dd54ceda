"""Make the small real sample beside this file: 4,800 MiniLM vectors and 200 held-out queries.

Run ``python tests/samples/make_sample.py [--cache DIR]``; it needs what ``bench/datasets.py`` needs
(``bench/requirements-datasets.txt``).
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
ROWS, QUERIES = 4_800, 200
LIMIT = 4_000_000  # bytes; the sample is part of the repository


def main() -> int:
    """Write ``base.npy`` and ``query.npy`` and check what the tests rely on."""
    parser = argparse.ArgumentParser(description="Make the small real sample for the tests.")
    parser.add_argument("--cache", metavar="DIR", help="cache folder of bench/datasets.py")
    given = parser.parse_args()
    # bench is a folder of scripts, not an installed package.
    sys.path.insert(0, str(HERE.parents[1] / "bench"))
    datasets = importlib.import_module("datasets")
    try:
        data = datasets.load("minilm-wordnet-384", ROWS, given.cache, progress=True)
    except datasets.DatasetError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    base, query = data.base, data.query[:QUERIES]
    rows = np.concatenate([query, base])
    if len({row.tobytes() for row in rows}) != ROWS + QUERIES:
        raise AssertionError("a row occurs twice")
    if not np.allclose(np.linalg.norm(rows.astype(np.float32), axis=1), 1, atol=1e-3):
        raise AssertionError("a row has not unit norm")
    np.save(HERE / "base.npy", base)
    np.save(HERE / "query.npy", query)
    size = sum((HERE / name).stat().st_size for name in ("base.npy", "query.npy"))
    if size >= LIMIT:
        raise AssertionError(f"{size} bytes is too much for the repository")
    print(f"base {base.shape}, query {query.shape}, {base.dtype}, {size:,} bytes")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
