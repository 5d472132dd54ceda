"""The published three-class scheme, against a straightforward statement of it."""

from __future__ import annotations

import numpy as np
import pytest
from support.numpy_reference import Reference

import waterfill as wf
from waterfill.training.itq import itq_rotation


@pytest.fixture(scope="module")
def analysis(clustered: np.ndarray) -> wf.analysis.Analysis:
    return wf.analyze(clustered)


@pytest.fixture(scope="module")
def plan(analysis: wf.analysis.Analysis) -> wf.Plan:
    return wf.Plan.classic(analysis, 4 / 20, 15 / 20, by="dimensions")


@pytest.fixture(scope="module")
def classic(clustered: np.ndarray, plan: wf.Plan) -> wf.Codec:
    return wf.Codec.train(clustered, plan)


def medium_coordinates(x: np.ndarray, plan: wf.Plan) -> np.ndarray:
    r = x - plan.mean
    return (r / np.linalg.norm(r, axis=1, keepdims=True)) @ plan.basis[4:].T


def sign_error(y: np.ndarray) -> float:
    """What ITQ minimises."""
    return float(((np.where(y > 0, 1, -1) - y) ** 2).sum())


def test_thresholds_on_eigenvalues(analysis):
    eigenvalues = analysis.eigenvalues * analysis.variance
    th_high, th_mid = eigenvalues[[2, 9]]
    plan = wf.Plan.classic(analysis, th_high, th_mid)
    high, kept = int((eigenvalues > th_high).sum()), int((eigenvalues > th_mid).sum())
    assert plan.classes == {"high": high, "medium": kept - high, "low": 20 - kept}
    assert (high, kept) == (2, 9)


def test_thresholds_on_shares(analysis):
    held = np.cumsum(analysis.eigenvalues)
    plan = wf.Plan.classic(analysis, 0.5, 0.9, by="variance")
    high, kept = np.searchsorted(held, 0.5) + 1, np.searchsorted(held, 0.9) + 1
    assert plan.classes == {"high": high, "medium": kept - high, "low": 20 - kept}
    plan = wf.Plan.classic(analysis, 0.25, 0.5, by="dimensions")
    assert plan.classes == {"high": 5, "medium": 5, "low": 10}


def test_high_dimensions_have_a_byte_and_medium_ones_a_bit(plan):
    assert [g.dims for g in plan.groups[:4]] == [(0,), (1,), (2,), (3,)]
    assert {g.kind for g in plan.groups[:4]} == {"vector"}
    assert [g.dims for g in plan.groups[4:]] == [tuple(range(4, 12)), (12, 13, 14)]
    assert {g.kind for g in plan.groups[4:]} == {"binary"}
    assert plan.code_size == 4 + 2 + 1
    assert (plan.weights == 1).all()


def test_the_medium_class_is_rotated_by_itq(classic, plan, clustered):
    basis = classic._core.arrays["basis"].astype(np.float64)
    own = plan.basis.astype(np.float64)
    np.testing.assert_allclose(basis[:4], own[:4], atol=1e-6)
    rotation = basis[4:] @ own[4:].T
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(11), atol=1e-5)

    v = medium_coordinates(clustered, plan)
    assert sign_error(v @ rotation.T) < 0.98 * sign_error(v)


def test_every_itq_step_lowers_the_error(clustered, plan):
    v = medium_coordinates(clustered, plan)
    errors = [sign_error(v @ itq_rotation(v, steps)) for steps in (0, 1, 2, 5, 50)]
    assert errors[0] == sign_error(v)
    assert (np.diff(errors) < 0).all()


def test_codes_are_nearest_scalars_and_signs(classic, clustered):
    x = clustered[:500]
    ref = Reference.of(classic)
    y, _ = ref.directions(x, ref.mean)
    codes = classic.encode(x)
    for g in range(4):
        error = np.abs(y[:, g, None] - ref.books[g][None])
        chosen = error[np.arange(500), codes[:, g]]
        # To what 16 bits resolve.
        assert (chosen**2).sum() <= (error.min(axis=1) ** 2).sum() * 1.001
        assert (chosen <= error.min(axis=1) + 1e-4).all()
    bits = np.unpackbits(codes[:, 4:6], axis=1)
    assert not bits[:, 11:].any()
    low, high = ref.books[4:, 0], ref.books[4:, [255] * 11].diagonal()
    border = (low + high) / 2
    clear = np.abs(y[:, 4:] - border) > 1e-4
    np.testing.assert_array_equal(bits[:, :11][clear], (y[:, 4:] > border)[clear])
    # Centroids are the means of the two sides; the border is near zero, where signs change.
    assert (low < 0).all()
    assert (high > 0).all()
    assert np.abs(border).max() < 0.2 * y[:, 4:].std()


def test_the_default_score_uses_both_centroids(classic, clustered):
    index = wf.IndexFlat(classic)
    index.add(clustered[:400])
    index.refine_factor = 1000
    q = clustered[-20:]
    distances, labels = index.search(q, 10)
    scores = Reference.of(classic).scores(q, classic.encode(clustered[:400]), "ip")
    expected = -np.sort(-scores, axis=1)[:, :10]
    np.testing.assert_allclose(distances, expected, atol=1e-4 * np.abs(scores).max())
    at_labels = np.take_along_axis(scores, labels, axis=1)
    np.testing.assert_allclose(distances, at_labels, atol=1e-4 * np.abs(scores).max())


def test_the_published_score(analysis, clustered):
    multiplier = 2.5
    plan = wf.Plan.classic(analysis, 4 / 20, 15 / 20, by="dimensions", pq_multiplier=multiplier)
    codec = wf.Codec.train(clustered, plan)
    assert codec.alpha == {"ip": 0, "l2": 0}
    x, q = clustered[:400], clustered[-20:]
    codes = codec.encode(x)
    ref = Reference.of(codec)
    projected = q.astype(np.float64) @ ref.basis.T
    pq = projected[:, :4] @ ref.decoded(codes)[:, :4].T
    signs = np.unpackbits(codes[:, 4:6], axis=1)[:, :11] * 2.0 - 1
    agreement = np.where(projected[:, 4:] > 0, 1.0, -1.0) @ signs.T  # d - 2 Hamming
    scores = ref.rho(codes) * (multiplier * pq + agreement)

    index = wf.IndexFlat(codec)
    index.add(x)
    index.refine_factor = 1000
    distances, labels = index.search(q, 10)
    at_labels = np.take_along_axis(scores, labels, axis=1)
    np.testing.assert_allclose(distances, at_labels, rtol=1e-3)
    np.testing.assert_allclose(distances, -np.sort(-scores, axis=1)[:, :10], rtol=1e-3)
    with pytest.raises(ValueError, match=r"metric l2 cannot be used .* pq_multiplier"):
        wf.IndexFlat(codec, "l2")


@pytest.mark.parametrize(
    ("vectors", "asked"),
    [
        pytest.param("base_64", "queries_64", id="64"),
        pytest.param("base", "queries", id="384", marks=pytest.mark.slow),
    ],
)
def test_centroid_scores_rank_better_than_the_published_ones(vectors, asked, request):
    base, queries = map(request.getfixturevalue, (vectors, asked))
    analysis = wf.analyze(base)
    truth = np.argsort(-(queries @ base.T), axis=1)[:, :10]

    def recall(multiplier: float | None) -> float:
        plan = wf.Plan.classic(analysis, 0.05, 0.75, by="dimensions", pq_multiplier=multiplier)
        index = wf.IndexFlat(wf.Codec.train(base, plan))
        index.add(base)
        labels = index.search(queries, 10)[1]
        return float(
            np.mean([len(set(a) & set(b)) / 10 for a, b in zip(labels, truth, strict=True)])
        )

    assert recall(None) > max(recall(m) for m in (5.0, 40.0)) + 0.03
