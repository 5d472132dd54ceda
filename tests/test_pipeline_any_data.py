"""Data of every shape goes all the way: analysis, plan, codec, index, search, file."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import waterfill as wf

CELLS = ["auto", 0, 37]
METRICS = ["ip", "l2"]
QUERIES = 20


def spectrum(n: int, d: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((n, d)) * np.geomspace(1, 0.05, d)


def clusters(n: int, d: int, far: float, spread: float) -> np.ndarray:
    rng = np.random.default_rng(1)
    centres = far * rng.standard_normal((20, d))
    return centres[rng.integers(0, 20, n)] + spread * rng.standard_normal((n, d))


def counts(n: int, d: int) -> np.ndarray:
    """Like SIFT: whole numbers from 0 to 255, many of them small."""
    rng = np.random.default_rng(3)
    centres = rng.gamma(0.7, 30, (30, d))[rng.integers(0, 30, n)]
    return np.clip(20 * rng.gamma(0.7, 1, (n, d)) + centres, 0, 255).astype(np.uint8)


def some_constant(n: int, d: int) -> np.ndarray:
    x = spectrum(n, d)
    x[:, ::3] = 7.5
    return x


def scaled(x: np.ndarray, sigma: float) -> np.ndarray:
    return x * np.random.default_rng(2).lognormal(0, sigma, (len(x), 1))


# Vectors, code bytes, and the least share of the exact ten nearest for each metric.
DATA = {
    "d=1": (lambda: spectrum(1000, 1), 1, 0.6, 0.5),
    "d=2": (lambda: spectrum(1000, 2), 2, 0.9, 0.45),
    "d=3": (lambda: spectrum(1000, 3), 3, 0.9, 0.6),
    "d=7": (lambda: spectrum(1000, 7), 7, 0.85, 0.75),
    "d=33": (lambda: spectrum(1000, 33), 16, 0.85, 0.8),
    "d=127": (lambda: spectrum(1000, 127), 16, 0.6, 0.6),
    "d=300": (lambda: spectrum(700, 300), 16, 0.4, 0.4),
    "copies": (lambda: np.repeat(spectrum(30, 24), 50, axis=0), 8, 0.9, 0.9),
    "clusters": (lambda: clusters(1200, 32, 10, 0.5), 12, 0.5, 0.15),
    "constant dimensions": (lambda: some_constant(1000, 24), 8, 0.8, 0.8),
    "whole numbers": (lambda: counts(1200, 64), 16, 0.6, 0.65),
    "heavy tails": (lambda: scaled(spectrum(1200, 32), 2), 16, 0.85, 0.45),
    "norms spread": (lambda: scaled(spectrum(1200, 32) + 0.5, 0.7), 16, 0.85, 0.8),
    "far from the origin": (lambda: 1000 + spectrum(1200, 32), 16, 0.7, 0.8),
    "a line": (lambda: np.outer(spectrum(1000, 1), np.arange(1, 9)), 4, 0.85, 0.6),
    "1 byte": (lambda: spectrum(1000, 32), 1, 0.25, 0.13),
    "a byte a dimension": (lambda: spectrum(1000, 32), 32, 0.9, 0.85),
}


def exact_scores(x: np.ndarray, q: np.ndarray, metric: str) -> np.ndarray:
    x, q = x.astype("f4").astype("f8"), q.astype("f4").astype("f8")
    return q @ x.T if metric == "ip" else -np.array([((x - row) ** 2).sum(axis=1) for row in q])


def recall(x: np.ndarray, q: np.ndarray, metric: str, labels: np.ndarray) -> float:
    """Share of labels that are as near as the last of the exact nearest."""
    scores = exact_scores(x, q, metric)
    last = np.sort(scores, axis=1)[:, -labels.shape[1], None]
    slack = 1e-6 * np.abs(last) + 1e-12 * np.abs(scores).max()
    return float(np.mean(np.take_along_axis(scores, labels, axis=1) >= last - slack))


def check_search(index: wf.IndexFlat, q: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    distances, labels = index.search(q, k)
    assert np.isfinite(distances).all()
    assert ((labels >= 0) & (labels < index.ntotal)).all()
    assert all(len(set(row)) == k for row in labels)
    steps = np.diff(distances, axis=1)
    assert (steps >= 0).all() if index.metric == "l2" else (steps <= 0).all()
    return distances, labels


def go_all_the_way(x, q, metric, codec, tmp_path):
    """Add, search, read back; what is returned is the labels' recall."""
    index = wf.IndexFlat(codec, metric)
    index.add(x)
    k = min(10, len(x))
    distances, labels = check_search(index, q, k)
    decoded = index.reconstruct_n(0, len(x))
    assert np.isfinite(decoded).all()
    if metric == "ip":
        own = (decoded[labels].astype("f8") * q[:, None].astype("f4")).sum(axis=2)
        size = np.linalg.norm(decoded[labels], axis=2) * np.linalg.norm(q, axis=1)[:, None]
        np.testing.assert_array_less(np.abs(distances - own), 1e-5 * size + 1e-20)
    wf.write_index(index, tmp_path / "index.wf")
    again = wf.read_index(tmp_path / "index.wf").search(q, k)
    np.testing.assert_array_equal(again[0], distances)
    np.testing.assert_array_equal(again[1], labels)
    index.refine_factor, index.prune_sigma = 10**6, float("inf")
    all_of_them = check_search(index, q, k)[1]
    found = recall(x, q, metric, labels)
    assert found >= recall(x, q, metric, all_of_them) - 0.05
    return found


@pytest.mark.parametrize("cells", CELLS)
@pytest.mark.parametrize("name", DATA)
def test_neighbours_are_found(name, cells, tmp_path):
    make, code_bytes, *floors = DATA[name]
    x = make()
    base, q = x[:-QUERIES], x[-QUERIES:]
    codec = wf.Codec.train(base, wf.Plan.waterfill(wf.analyze(base), code_bytes), cells=cells)
    found = [go_all_the_way(base, q, metric, codec, tmp_path) for metric in METRICS]
    assert (np.array(found) >= floors).all(), found


@pytest.mark.parametrize("code_bytes", [1, 2, 3, 4])
@pytest.mark.parametrize("cells", CELLS)
def test_rates_above_eight_bits(code_bytes, cells, tmp_path):
    x = np.random.default_rng(0).standard_normal((1000, 4)) * [100, 1, 0.1, 0.01]
    base, q = x[:-QUERIES], x[-QUERIES:]
    codec = wf.Codec.train(base, wf.Plan.waterfill(wf.analyze(base), code_bytes), cells=cells)
    assert go_all_the_way(base, q, "ip", codec, tmp_path) >= 0.85
    assert go_all_the_way(base, q, "l2", codec, tmp_path) >= 0.4


@pytest.mark.parametrize("cells", [*CELLS, 1, 4096])
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("n", "d"), [(1, 12), (2, 12), (5, 12), (40, 300)])
def test_few_rows(n, d, metric, cells, tmp_path):
    x = spectrum(n, d)
    codec = wf.Codec.train(x, wf.Plan.waterfill(wf.analyze(x), min(d, 16)), cells=cells)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)  # all rows are the training sample
        assert go_all_the_way(x, x[:QUERIES], metric, codec, tmp_path) >= 0.7


@pytest.mark.parametrize("cells", [*CELLS, 4096])
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("value", [0, 3.7])
def test_rows_that_are_all_equal(value, metric, cells, tmp_path):
    x = np.full((300, 16), value)
    codec = wf.Codec.train(x, wf.Plan.waterfill(wf.analyze(x), 4), cells=cells)
    go_all_the_way(x, x[:3], metric, codec, tmp_path)
    np.testing.assert_allclose(codec.decode(codec.encode(x)), x, rtol=1e-6)


def test_thousands_of_dimensions(tmp_path):
    """The eigenvectors are given: to find them takes LAPACK longer than all the rest."""
    x = spectrum(120, 4096) * np.geomspace(1, 1e-9, 4096)
    shares = (x**2).mean(axis=0)
    order = np.argsort(-shares)
    small = wf.analyze(x[:, :2])
    analysis = replace(
        small,
        n=10**6,
        d=4096,
        mean=x.mean(axis=0),
        variance=float(shares.sum()),
        eigenvalues=shares[order] / shares.sum(),
        eigenvectors=np.eye(4096)[:, order],
    )
    codec = wf.Codec.train(x, wf.Plan.waterfill(analysis, 24), cells=0)
    for metric in METRICS:
        assert go_all_the_way(x, x[:QUERIES], metric, codec, tmp_path) >= 0.4


@example(n=1, d=1, seed=13, cells=0, size=1e8, share=0, offset=0)  # rows far out, and at the mean
@example(n=34, d=3, seed=0, cells=32, size=1, share=1, offset=0)  # rows alike, their scales not
@given(
    n=st.integers(1, 60),
    d=st.integers(1, 20),
    seed=st.integers(0, 99),
    cells=st.integers(0, 80),
    size=st.sampled_from([1e-8, 1, 1e8]),
    share=st.floats(0, 1),
    offset=st.sampled_from([0, 1, 100]),
)
def test_any_small_data(n, d, seed, cells, size, share, offset):
    rng = np.random.default_rng(seed)
    x = size * (np.round(2 * rng.standard_normal((n, d))) + offset)
    plan = wf.Plan.waterfill(wf.analyze(x), 1 + int(share * (d - 1)))
    codec = wf.Codec.train(x, plan, cells=cells)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)  # all rows are the training sample
        for metric in METRICS:
            index = wf.IndexFlat(codec, metric)
            index.add(x)
            check_search(index, x[:5], min(10, n))
            wide = np.abs(x - x.mean(axis=0)).max() + 1e-6 * np.abs(x).max()
            assert (np.abs(index.reconstruct_n(0, n) - x) <= 4 * np.sqrt(d) * wide).all()
