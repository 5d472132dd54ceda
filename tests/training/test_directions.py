"""Cells by direction: the rule of assignment, training, the ranking of lists, files, quantizers."""

from __future__ import annotations

import faiss
import numpy as np
import pytest
from support.container import Container

import waterfill as wf
from waterfill import _core
from waterfill.index.coarse_quantizer import CoarseQuantizer

CELLS = 40
TOLERANCE = 0.02  # of products with a direction, in norms of |x - mean|: of seven bits


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def sphere() -> np.ndarray:
    """Directions with a mean and an uneven spectrum."""
    rng = np.random.default_rng(5)
    x = rng.standard_normal((4000, 24)) * np.geomspace(3, 0.2, 24) + rng.normal(size=24)
    return unit(x).astype("f4")


def train(x: np.ndarray, **kwargs) -> wf.Codec:
    plan = wf.Plan.waterfill(wf.analyze(x, normalize=kwargs.pop("normalize", False)), code_bytes=8)
    return wf.Codec.train(x, plan, **{"cells": CELLS} | kwargs)


@pytest.fixture(scope="module")
def codec(sphere) -> wf.Codec:
    return train(sphere)


def cells_of(codec: wf.Codec, x: np.ndarray) -> np.ndarray:
    codes = np.empty((len(x), codec.code_size), dtype=np.uint8)
    codec._core.encode(np.ascontiguousarray(x, dtype=np.float32), codes)  # warns of no row
    return codes[:, -1].astype(int)


def by_direction(codec: wf.Codec) -> bool:
    found: bool = codec._core.settings["by_direction"]
    return found


def index_of(codec: wf.Codec, x: np.ndarray, metric: str, nprobe: int, **kwargs) -> wf.IndexIVF:
    index = wf.IndexIVF(codec, CELLS, metric=metric, **kwargs)
    index.add(x)
    index.nprobe, index.refine_factor, index.prune_sigma = nprobe, 10**6, float("inf")
    return index


def test_vectors_of_one_norm_are_divided_by_direction(sphere):
    lengths = np.random.default_rng(1).uniform(1, 3, (len(sphere), 1)).astype("f4")
    assert by_direction(train(sphere))
    assert by_direction(train(sphere * 1e-6))
    assert not by_direction(train(sphere * lengths))
    assert by_direction(train(sphere * lengths, normalize=True))
    assert not by_direction(train(sphere, cells=0))
    assert not by_direction(train(sphere, cells=sphere[:CELLS]))  # these may have another rule


@pytest.mark.parametrize("scale", [1e-18, 1, 1e15])
def test_a_vector_belongs_to_the_cell_of_the_best_direction(sphere, scale):
    codec = train(sphere * np.float32(scale))
    directions = unit(codec._core.arrays["centroids"].astype("f8"))
    x = np.concatenate([sphere, sphere[:500] * 3, -sphere[:500]]).astype("f8")
    products = x @ directions.T
    cells = cells_of(codec, (x * scale).astype("f4"))
    own = products[np.arange(len(x)), cells]
    distances = np.linalg.norm(x - codec.plan.mean.astype("f8") / scale, axis=1)
    assert (products.max(axis=1) - own <= TOLERANCE * distances).all()
    assert np.mean(products.argmax(axis=1) == cells) > 0.95


def test_a_long_mean_takes_no_precision(sphere):
    x = unit(sphere + 10 * np.eye(24)[3]).astype("f4")
    codec = train(x)
    assert by_direction(codec)
    products = x.astype("f8") @ unit(codec._core.arrays["centroids"].astype("f8")).T
    assert np.mean(products.argmax(axis=1) == cells_of(codec, x)) > 0.95


def test_centroids_are_the_means_of_their_cells(sphere):
    mean = sphere.mean(axis=0)
    centroids = _core.train_partition(sphere, mean, CELLS, True, 3)
    cells = (sphere @ unit(centroids).T).argmax(axis=1)
    means = np.array([sphere[cells == c].mean(axis=0) for c in range(CELLS)])
    # Lloyd's iterations end before the last rows have found their cells.
    assert np.linalg.norm(means - centroids, axis=1).mean() < 0.05
    assert (np.linalg.norm(centroids, axis=1) < 0.999).all()  # and not their directions


def test_residuals_are_those_of_the_cell_by_direction(sphere):
    mean, x = sphere.mean(axis=0), sphere[:1000]
    rng = np.random.default_rng(2)
    centroids = unit(rng.standard_normal((9, 24))) * np.geomspace(0.01, 1, 9)[:, None]
    centroids = centroids.astype("f4")
    residuals = _core.residuals(x, mean, centroids, True)
    best = (x @ unit(centroids).T).argmax(axis=1)
    assert np.mean(np.abs(residuals - (x - centroids[best])).max(axis=1) < 1e-6) > 0.95
    nearest = _core.residuals(x, mean, centroids, False)
    assert np.mean(np.abs(nearest - residuals).max(axis=1) > 1e-3) > 0.2


def test_centroids_of_zeros_have_no_direction(sphere):
    x, mean = sphere[:50], sphere.mean(axis=0)
    none = np.zeros((3, 24), dtype="f4")
    np.testing.assert_array_equal(_core.residuals(x, mean, none, True), x)
    some = np.concatenate([none, sphere[50:51]])
    away = (x @ sphere[50] < -0.1)[:, None]
    found = _core.residuals(x, mean, some, True)
    np.testing.assert_array_equal(found[away[:, 0]], x[away[:, 0]])
    near = x @ sphere[50] > 0.3
    assert away.any()
    assert (found[near] != x[near]).any()


@pytest.mark.parametrize("k", [1, 100])
@pytest.mark.parametrize("metric", ["ip", "l2", "cosine"])
def test_a_search_probes_the_lists_of_the_best_directions(codec, sphere, metric, k):
    x, q = sphere[:3000], sphere[3000:3080] * (1 if metric == "l2" else 7)
    index = index_of(codec, x, metric, 5)
    members = cells_of(codec, x)
    directions = unit(codec._core.arrays["centroids"])
    products = unit(q) @ directions.T
    fifth = np.sort(products, axis=1)[:, -5]
    _, found = index.search(q, k)
    lists = members[found]
    slack = np.take_along_axis(products, lists, axis=1) - fifth[:, None]
    assert (slack[found >= 0] > -TOLERANCE).all()
    exact = np.mean(
        [np.isin(row, np.argsort(-p)[:5]).mean() for row, p in zip(lists, products, strict=True)]
    )
    assert exact > 0.98
    # All vectors of these lists are candidates: the best of them are found.
    every = index_of(codec, x, metric, CELLS)
    order = every.search(q, len(x))[1]
    for row, ranked, own in zip(found, order, products, strict=True):
        if np.diff(np.sort(own)[-6:-4])[0] < TOLERANCE:
            continue  # the fifth list and the sixth may change places
        inside = ranked[np.isin(members[ranked], np.argsort(-own)[:5])][:k]
        np.testing.assert_array_equal(row[: len(inside)], inside)


@pytest.mark.parametrize("metric", ["ip", "l2"])
def test_scores_have_exact_list_terms(codec, sphere, metric):
    x, q = sphere[:2000], sphere[3000:3040]
    distances, found = index_of(codec, x, metric, CELLS).search(q, 10)
    alpha = codec._core.settings["alpha_l2" if metric == "l2" else "alpha_ip"]
    decoded = codec._core.decode(codec.encode(x), alpha)[found].astype("f8")
    wide = q[:, None].astype("f8")
    exact = (wide * decoded).sum(axis=2) if metric == "ip" else ((wide - decoded) ** 2).sum(axis=2)
    np.testing.assert_allclose(distances, exact, rtol=1e-4, atol=1e-4)


def test_more_neighbors_are_in_as_many_lists_as_by_nearest_centroids(base, queries):
    """The reason for the rule."""
    truth = np.argsort(-queries @ base.T, axis=1)[:, :10]
    mean, found, scanned = base.mean(axis=0), {}, {}
    for rule in (True, False):
        centroids = _core.train_partition(base, mean, 64, rule, 0)
        directions = unit(centroids)
        if rule:
            cells, scores = (base @ directions.T).argmax(axis=1), queries @ directions.T
        else:
            squares = (centroids**2).sum(axis=1) / 2
            cells, scores = (base @ centroids.T - squares).argmax(axis=1), queries @ centroids.T
        probed = np.argsort(-scores, axis=1)[:, :4]
        hits = (cells[truth][:, :, None] == probed[:, None]).any(axis=2)
        found[rule], scanned[rule] = hits.mean(), np.bincount(cells, minlength=64)[probed].mean()
    assert found[True] > found[False]
    assert scanned[True] < 1.1 * scanned[False]


def test_files_keep_the_rule(codec, sphere, tmp_path):
    index = index_of(codec, sphere[:1000], "ip", 4)
    wf.write_index(index, tmp_path / "index")
    again = wf.read_index(tmp_path / "index")
    assert by_direction(again.codec)
    again.refine_factor, again.prune_sigma = index.refine_factor, index.prune_sigma
    for ours, expected in zip(
        again.search(sphere[:50], 5), index.search(sphere[:50], 5), strict=True
    ):
        np.testing.assert_array_equal(ours, expected)
    np.testing.assert_array_equal(again.codec.encode(sphere), codec.encode(sphere))
    wf.write_index(again, tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "index").read_bytes()


def test_only_files_with_cells_by_direction_have_a_rule(codec, sphere):
    def has_rule(codec: wf.Codec) -> bool:
        sections = Container.parse(codec.to_bytes()).sections
        return any(section.tag.startswith(b"CELLRULE") for section in sections)

    assert has_rule(codec)
    assert not has_rule(train(sphere, cells=0))
    assert not has_rule(train(sphere, cells=sphere[:CELLS]))


@pytest.mark.parametrize("value", [0, 2, 2**32 - 1])
def test_an_unknown_rule_is_refused(codec, value):
    file = Container.parse(codec.to_bytes())
    file["CELLRULE"].data = bytearray(value.to_bytes(4, "little"))
    with pytest.raises(wf.FormatError, match="section CELLRULE has an unknown rule"):
        wf.Codec.from_bytes(file.to_bytes())


def test_the_quantizer_of_an_index_ranks_as_its_searches_do(codec, sphere):
    directions = unit(codec._core.arrays["centroids"])
    for metric in ("ip", "l2", "cosine"):
        own = wf.IndexIVF(codec, CELLS, metric=metric).quantizer
        assert isinstance(own, CoarseQuantizer)
        np.testing.assert_allclose(own.reconstruct_n(), directions, atol=1e-6)
        order = np.argsort(-sphere[:100] @ directions.T, axis=1)[:, :6]
        assert np.mean(own.search(sphere[:100], 6)[1] == order) > 0.99


@pytest.mark.parametrize("kind", [faiss.IndexFlatIP, faiss.IndexFlatL2])
def test_an_empty_quantizer_gets_the_directions(codec, sphere, kind):
    quantizer = kind(24)
    index = index_of(codec, sphere[:2000], "ip", 4, quantizer=quantizer)
    np.testing.assert_allclose(
        quantizer.reconstruct_n(0, CELLS), unit(codec._core.arrays["centroids"]), atol=1e-6
    )
    own = index_of(codec, sphere[:2000], "ip", 4)
    assert np.mean(index.list_sizes() != own.list_sizes()) < 0.5  # rounding of the own rule
    same = index.search(sphere[:100], 5)[1] == own.search(sphere[:100], 5)[1]
    assert np.mean(same) > 0.9
    means = kind(24)
    means.add(codec._core.arrays["centroids"])
    assert wf.IndexIVF(codec, CELLS, means).quantizer is means
    means.reset()
    means.add(codec._core.arrays["centroids"] + 1)
    with pytest.raises(ValueError, match="quantizer has other centroids"):
        wf.IndexIVF(codec, CELLS, means)
