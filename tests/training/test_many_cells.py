"""k-means of more cells than rows are compared with one by one."""

from __future__ import annotations

import numpy as np
import pytest

import waterfill as wf
from waterfill import _core

FEW = 4096  # cells up to which every row is compared with all centroids
BOTH_RULES = pytest.mark.parametrize("by_direction", [False, True])


@pytest.fixture(scope="module")
def x() -> np.ndarray:
    """Rows in 200 clusters of unequal size and width."""
    rng = np.random.default_rng(8)
    centers = 2 * rng.standard_normal((200, 8))
    cluster = rng.choice(200, 70_000, p=rng.dirichlet(np.full(200, 2.0)))
    widths = rng.uniform(0.1, 1, 200)[cluster, None]
    return (centers[cluster] + widths * rng.standard_normal((len(cluster), 8))).astype("f4")


def train(x: np.ndarray, cells: int, by_direction: bool = False, seed: int = 3) -> np.ndarray:
    return _core.train_partition(x, x.mean(axis=0), cells, by_direction, seed)


def error(x: np.ndarray, sample: np.ndarray, centroids: np.ndarray, by_direction: bool) -> float:
    residuals = _core.residuals(x, sample.mean(axis=0), centroids, by_direction)
    return float(np.square(residuals, dtype="f8").sum(axis=1).mean())


@BOTH_RULES
def test_one_cell_more_than_few_changes_hardly_anything(x, by_direction):
    """The last number of cells that is trained by all comparisons, and the first that is not."""
    sample, held_out = x[:50_000], x[50_000:]
    if by_direction:
        sample, held_out = _core.normalize_rows(sample), _core.normalize_rows(held_out)
    by_all, by_groups = (train(sample, cells, by_direction) for cells in (FEW, FEW + 1))
    assert by_groups.shape == (FEW + 1, 8)
    for rows in (sample, held_out):
        full, pruned = (error(rows, sample, c, by_direction) for c in (by_all, by_groups))
        assert pruned < 1.02 * full


@BOTH_RULES
def test_centroids_depend_on_rows_and_seed_only(x, by_direction):
    sample = x[:20_000]
    threads, found = wf.get_num_threads(), []
    try:
        for n in (1, 3):
            wf.set_num_threads(n)
            found.append(train(sample, 8192, by_direction))
    finally:
        wf.set_num_threads(threads)
    np.testing.assert_array_equal(found[0], found[1])
    assert (train(sample, 8192, by_direction, seed=4) != found[0]).any()


def test_most_cells_have_rows(x):
    centroids = train(x, 8192)
    codes = np.unique(_core.residuals(x, x.mean(axis=0), centroids, False) - x, axis=0)
    assert len(codes) > 0.95 * 8192  # the centroids that rows were compared with best
    assert len(np.unique(centroids, axis=0)) > 0.99 * 8192


def test_as_many_cells_as_rows(x):
    sample = x[:5000]
    assert train(sample, 5000).shape == (5000, 8)
    assert train(sample, 6000).shape == (5000, 8)
    assert error(sample, sample, train(sample, 6000), False) < 0.2 * sample.var(axis=0).sum()


@pytest.mark.parametrize("distinct", [1, 3, 700])
def test_rows_of_few_values(x, distinct):
    sample = np.repeat(x[:distinct], -(-10_000 // distinct), axis=0)[:10_000]
    centroids = train(sample, 6000)
    assert np.isfinite(centroids).all()
    assert error(sample, sample, centroids, False) < 1e-3 * sample.var(axis=0).sum() + 1e-6


def test_a_codec_of_many_cells_finds_what_it_stores(x):
    recipe = wf.Recipe(8, 8)
    index = wf.IndexIVF(recipe, 6000, metric="l2", refine="float32")
    index.train(x)
    index.add(x)
    assert index.nlist == 6000
    index.nprobe = 64
    found = index.search(x[:500], 10)[1]
    assert np.mean((found == np.arange(500)[:, None]).any(axis=1)) > 0.99
