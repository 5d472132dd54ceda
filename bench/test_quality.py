"""Speed of row validation compared with NumPy; FAISS does not validate rows.

Training, adding and searching call `_core.require_finite` by default. `_core.inspect` is the
equivalent with results per row, for `wf.check` and the row policies.
"""

from __future__ import annotations

import numpy as np
import pytest
from conftest import Describe
from corpora import Array, Corpus
from pytest_benchmark.fixture import BenchmarkFixture
from test_speed import ISAS, sides

import waterfill as wf
from waterfill import _core

NUMPY = "NumPy"
# A block that fits in a cache, like those of `Rows`, and one that comes from memory.
places = pytest.mark.parametrize("mib", [8, 64], ids=["cache", "memory"])
widths = pytest.mark.parametrize("d", [128, 384], ids=lambda d: f"d{d}")


def rows(corpus: Corpus, mib: int, d: int) -> Array:
    """Return `mib` MiB of rows, cut to d dimensions."""
    x = np.ascontiguousarray(corpus.base[:, :d])
    return np.resize(x, ((mib << 20) // (4 * x.shape[1]), x.shape[1]))


@sides(*ISAS, NUMPY)
@widths
@places
def test_finite(
    benchmark: BenchmarkFixture, describe: Describe, corpus: Corpus, side: str, mib: int, d: int
) -> None:
    """Reject NaN and infinity, as every call does."""
    x = rows(corpus, mib, d)
    name = "np.isfinite" if side == NUMPY else "waterfill"
    describe(f"finite, {mib} MiB of {x.shape[1]}-d", name, len(x), len(x))

    def check_waterfill(x: Array) -> None:
        _core.require_finite(x, "x", 0)

    def check_numpy(x: Array) -> None:
        assert np.isfinite(x).all(axis=1).all()

    benchmark(check_waterfill if side in ISAS else check_numpy, x)


@sides(*ISAS, NUMPY)
@widths
@pytest.mark.parametrize("duplicates", [False, True], ids=["", "duplicates"])
def test_check(
    benchmark: BenchmarkFixture,
    describe: Describe,
    corpus: Corpus,
    side: str,
    d: int,
    duplicates: bool,
) -> None:
    """Run all checks of `wf.check`, and their equivalents in NumPy."""
    x = rows(corpus, 64, d)
    step = "check and duplicates" if duplicates else "check"
    describe(f"{step}, {x.shape[1]}-d", side if side == NUMPY else "wf.check", len(x), len(x))

    def check_waterfill(x: Array) -> None:
        wf.check(x, duplicates=duplicates)

    def check_numpy(x: Array) -> None:
        finite = np.isfinite(x).all(axis=1)
        norms = np.linalg.norm(x, axis=1)
        assert finite.all()
        assert norms.min() <= norms.max()
        assert (x.min(axis=0) <= x.max(axis=0)).all()
        if duplicates:
            np.unique(x.view(np.dtype((np.void, x.strides[0]))))

    benchmark(check_waterfill if side in ISAS else check_numpy, x)
