"""Universal codecs: made without data, the same everywhere, and good for any vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import waterfill as wf

RNG = np.random.default_rng(0)


def isotropic(n: int, d: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)


@given(st.integers(1, 70), st.sampled_from([1, 2, 4, 8]), st.integers(0, 2**64 - 1))
def test_codes_have_the_bytes_of_their_bits(d: int, bits: int, seed: int) -> None:
    codec = wf.Codec.universal(d, bits, seed=seed)
    assert codec.code_size == -(-d * bits // 8) + 1
    basis = codec.plan.basis.astype(np.float64)
    np.testing.assert_allclose(basis @ basis.T, np.eye(d), atol=1e-5)
    x = isotropic(5, d, 1)
    codes = codec.encode(x)
    np.testing.assert_array_equal(codes, codec.encode(3 * x))  # norms do not matter for cosine
    assert codec.fingerprint == wf.Codec.universal(d, bits, seed=seed).fingerprint


@pytest.mark.parametrize(("bits", "most"), [(1, 0.37), (2, 0.13), (4, 0.015)])
def test_the_error_is_that_of_a_good_quantizer_of_normal_vectors(bits: int, most: float) -> None:
    # Lloyd-Max quantizers of single dimensions leave 0.363, 0.117 and 0.0095.
    codec = wf.Codec.universal(64, bits)
    x = isotropic(2000, 64, 2) + 3  # with a mean, which the rotation spreads
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    error = np.square(codec.decode(codec.encode(x)) - x).sum(axis=1).mean()
    assert error < most


def test_recall_grows_with_the_bits(base: Any, queries: Any) -> None:
    truth = np.argsort(-(queries @ base.T), axis=1)[:, :10]
    found = []
    for bits in (1, 2, 4, 8):
        index = wf.IndexFlat(wf.Codec.universal(384, bits), "cosine")
        index.add(base)
        hits = index.search(queries, 10)[1]
        found.append(np.mean([len(set(a) & set(b)) / 10 for a, b in zip(hits, truth, strict=True)]))
    assert found[0] > 0.7
    assert found[1] > 0.84
    assert found[2] > 0.95
    assert found[3] > 0.98


@pytest.mark.parametrize("metric", ["ip", "l2"])
def test_norms_within_the_range_are_kept(metric: Any) -> None:
    codec = wf.Codec.universal(32, 8, metric=metric, norms=(0.5, 8))
    x = isotropic(500, 32, 3)
    x *= np.geomspace(0.5, 8, 500, dtype=np.float32)[:, None] / np.linalg.norm(
        x, axis=1, keepdims=True
    )
    norms = np.linalg.norm(codec.decode(codec.encode(x), alpha=1.0), axis=1)
    np.testing.assert_allclose(norms, np.linalg.norm(x, axis=1), rtol=0.03)
    with pytest.warns(RuntimeWarning, match="distance is clipped"):
        codec.encode(100 * x)


@pytest.mark.parametrize("metric", ["ip", "l2"])
def test_a_center_lowers_the_error(metric: Any) -> None:
    center = np.linspace(1, 9, 32).astype(np.float32)
    around = isotropic(2000, 32, 5)
    x = center + around
    far, near = (
        wf.Codec.universal(32, 2, metric=metric, norms=norms, center=one)
        for one, norms in ((None, (25, 45)), (center, (2, 10)))
    )
    errors = [np.square(one.decode(one.encode(x)) - x).sum(axis=1).mean() for one in (far, near)]
    assert errors[1] < 0.13 * np.square(around).sum(axis=1).mean() < errors[0] / 5
    index = wf.IndexFlat(near, metric)
    index.add(x)
    scores = x @ x[:50].T if metric == "ip" else -np.square(x[:, None] - x[None, :50]).sum(axis=2)
    truth = np.argsort(-scores, axis=0)[:10].T
    hits = index.search(x[:50], 10)[1]
    shares = [len(set(a) & set(b)) / 10 for a, b in zip(hits.tolist(), truth.tolist(), strict=True)]
    assert np.mean(shares) > 0.5


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ((0,), ValueError, "d"),
        ((8, 3), ValueError, "bits=3 must be one of 1, 2, 4, 8"),
        ((8, True), ValueError, "bits"),
        ((8, 4, {"metric": "hamming"}), ValueError, "metric"),
        ((8, 4, {"metric": "ip", "norms": 1}), TypeError, "smallest, largest"),
        ((8, 4, {"metric": "ip", "norms": (2, 1)}), ValueError, "smallest <= largest"),
        ((8, 4, {"metric": "ip", "norms": (0, 1)}), ValueError, "smallest <= largest"),
        ((8, 4, {"seed": -1}), ValueError, "seed"),
        ((8, 4, {"center": np.zeros(8)}), ValueError, "center.*cosine"),
        ((8, 4, {"metric": "ip", "center": np.zeros(7)}), ValueError, "center: expected shape"),
        ((8, 4, {"metric": "ip", "center": np.full(8, np.nan)}), ValueError, "center"),
    ],
)
def test_bad_arguments(arguments: Any, error: type[Exception], words: str) -> None:
    *given_arguments, last = arguments
    options = last if isinstance(last, dict) else {}
    if not options:
        given_arguments.append(last)
    with pytest.raises(error, match=words):
        wf.Codec.universal(*given_arguments, **options)
