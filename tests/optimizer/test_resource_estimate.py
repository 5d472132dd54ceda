"""Estimated sizes against those of real indexes and files."""

from __future__ import annotations

import numpy as np
import pytest
from support import trained

import waterfill as wf
from waterfill.evaluation.recall_extrapolation import Expected
from waterfill.evaluation.sample_split import split_sample
from waterfill.optimizer.resource_estimate import measure_rates
from waterfill.optimizer.trial import TrialSettings


@pytest.mark.parametrize(
    ("metric", "cells", "refine"),
    [  # every pair of two of them
        ("ip", 0, None),
        ("l2", 0, "int8"),
        ("ip", 0, "float16"),
        ("l2", 16, None),
        ("ip", 16, "int8"),
        ("l2", 16, "float16"),
        ("ip", 300, None),
        ("l2", 300, "int8"),
        ("ip", 300, "float16"),
    ],
)
def test_bytes_of_a_vector_are_what_an_index_takes(clustered, metric, cells, refine):
    codec = trained.trained(clustered, 7, cells=cells)
    index = wf.IndexFlat(codec, metric, refine=refine)
    index.add(np.tile(clustered, (200, 1)))
    taken = index.nbytes / index.ntotal
    kept_in_files = 0 if not cells else 1 if cells <= 256 else 2  # the number of the list
    assert index.bytes_per_vector - kept_in_files == pytest.approx(taken, rel=0.05)


@pytest.mark.parametrize("cells", [0, 100])
def test_blocks_that_are_not_full_are_counted(base_64, tmp_path, cells):
    """With forty vectors a cell they are a large part of an index."""
    settings = TrialSettings(16, cells=cells)
    split = split_sample(base_64, None, "ip", 10, 0)
    codec = trained.trained(split.base, 16, cells=cells)
    index = wf.IndexFlat(codec)
    index.add(split.base)
    wf.write_index(index, tmp_path / "index.wf")
    per_vector = index.bytes_per_vector
    rates = measure_rates(codec, settings, split)
    assert rates.bytes_per_vector == per_vector
    estimate = rates.estimate(len(split.base), Expected(0.9, 0.8, 1.0), None)
    memory = index.nbytes + len(codec.to_bytes())
    assert estimate.memory_bytes == pytest.approx(memory, rel=0.02)
    assert estimate.file_bytes == pytest.approx((tmp_path / "index.wf").stat().st_size, rel=0.02)
    if cells:
        assert index.nbytes > 1.1 * len(split.base) * per_vector


def test_an_estimate_is_near_the_truth(found, sample, tmp_path):
    n = 120_000
    index = wf.IndexFlat(found.codec, "l2", refine=found.best.settings.refine)
    index.add(np.tile(sample, (75, 1)))
    wf.write_index(index, tmp_path / "index.wf")
    said = found.estimate(n, price_per_gb=2.5)
    assert said.memory_bytes == pytest.approx(index.nbytes + len(found.codec.to_bytes()), rel=0.1)
    assert said.file_bytes == pytest.approx((tmp_path / "index.wf").stat().st_size, rel=0.1)
    assert said.cost_per_month == pytest.approx(2.5 * said.memory_bytes / 1e9)
    assert said.recall == found.expected_recall(n)
    assert 0 < said.load_seconds < 10
    assert 0 < said.query_seconds < 1
    assert found.estimate().n == 50_000
    assert found.estimate().cost_per_month is None


@pytest.mark.parametrize(("n", "error"), [(0, ValueError), (-5, ValueError), (1.5, TypeError)])
def test_wrong_numbers_of_vectors_are_named(found, n, error):
    for call in (found.estimate, found.expected_recall):
        with pytest.raises(error, match="n"):
            call(n)
    with pytest.raises(ValueError, match="price_per_gb"):
        found.estimate(5, price_per_gb=-1)
