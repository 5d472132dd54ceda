"""Training from a Ray dataset: what one process computes from the same rows."""

from __future__ import annotations

import numpy as np
import pytest
from support.bits import same_analysis

import waterfill as wf


@pytest.fixture(scope="module")
def many():
    """Rows of several chunks and more than a sample, some of them twice, one zero."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((600_000, 32), np.float32) * np.geomspace(3, 0.1, 32).astype(np.float32)
    x[500_000:501_000] = x[:1000]
    x[77] = 0
    return x


def test_moments_and_codec_do_not_depend_on_blocks(ray, many):
    """There are two chunks of sums, which no block ends at, and 100 blocks."""
    dataset = ray.data.from_numpy(np.array_split(many, 50))
    expected = wf.analyze(many)
    same_analysis(wf.scale.analyze(dataset), expected)
    plan = wf.Plan.waterfill(expected, 2)
    trained = wf.scale.train(dataset, plan, cells=0, seed=5)
    assert trained.fingerprint == wf.Codec.train(many, plan, 5, cells=0).fingerprint


def test_the_same_codec_from_a_lake(ray, lake, vectors, queries_64):
    recipe = wf.Recipe(64, 12, effort="fast")
    dataset = ray.data.read_parquet(str(lake))
    trained = wf.scale.train(dataset, recipe, metric="cosine", queries=queries_64)
    expected = recipe.train(vectors, "cosine", queries=queries_64)
    assert trained.fingerprint == expected.fingerprint
    np.testing.assert_array_equal(trained.encode(vectors), expected.encode(vectors))


def test_a_plan_cells_and_a_seed(dataset, vectors):
    plan = wf.Plan.waterfill(wf.scale.analyze(dataset), 12)
    trained = wf.scale.train(dataset, plan, cells=64, metric="l2", seed=9)
    expected = wf.Codec.train(vectors, plan, 9, cells=64, metric="l2")
    assert trained.fingerprint == expected.fingerprint
    other = wf.scale.train(dataset, plan, cells=64, metric="l2", seed=10)
    assert other.fingerprint != trained.fingerprint


def test_rows_that_are_not_finite_are_findings(ray, vectors):
    bad = vectors.copy()
    bad[[5, 1700]] = np.nan
    analysis = wf.scale.analyze(ray.data.from_numpy(np.array_split(bad, 4)))
    same_analysis(analysis, wf.analyze(bad))
    assert analysis.findings[0].where == (5, 1700)


def test_errors(ray, lake_dataset, vectors):
    with pytest.raises(TypeError, match=r"dataset must be a ray\.data\.Dataset, got ndarray"):
        wf.scale.train(vectors)
    dataset = ray.data.from_numpy(vectors)
    with pytest.raises(TypeError, match="source must be a Recipe or a Plan, got int"):
        wf.scale.train(dataset, 3)
    with pytest.raises(ValueError, match="seed=-1"):
        wf.scale.train(dataset, seed=-1)
    with pytest.raises(ValueError, match="expected at least 1 row, got 0"):
        wf.scale.analyze(dataset.limit(0))
    with pytest.raises(ValueError, match=r"no column 'x'; available: .*vector"):
        wf.scale.analyze(lake_dataset, column="x")
    with pytest.raises(ValueError, match="expected one column of vectors, got 0"):
        wf.scale.analyze(ray.data.range(5))
