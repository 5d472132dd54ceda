"""Vectors, numbers and names at the edge of what can come in."""

from __future__ import annotations

import json
import os
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
from support.container import Container
from support.numpy_reference import Reference
from support.trained import trained

import waterfill as wf
from waterfill import _core
from waterfill.training import RecallWarning
from waterfill.training.sampling import drawn_rows


def test_a_row_at_the_centre_weighs_as_much_as_the_floor_allows(clustered):
    x = clustered[:200].astype(np.float64)
    centre, floor = x[0], 0.3
    moments = _core.Moments(centre, floor)
    moments.update(clustered[:200])
    w = 1 / np.maximum(((x - centre) ** 2).sum(1), floor)
    r = x - x.mean(0)
    expected = (r * w[:, None]).T @ r
    np.testing.assert_allclose(
        moments.direction_covariance(), expected / np.trace(expected), atol=1e-10
    )


@pytest.mark.parametrize("length", [1e-44, 1e-40, 1e-30, 1e30, 1e38])
def test_rows_of_any_length_are_normalised(length):
    row = np.array([[length, 0, -length, 0]], dtype="f4")
    np.testing.assert_allclose(
        _core.normalize_rows(row), [[0.5**0.5, 0, -(0.5**0.5), 0]], atol=1e-6
    )


def test_a_tiny_row_does_not_spoil_a_normalised_analysis(clustered):
    x = clustered.copy()
    x[5] = 1e-40
    a = wf.analyze(x, normalize=True)
    assert a.findings == ()
    assert a.norms.constant


@pytest.mark.parametrize("metric", ["ip", "l2"])
@pytest.mark.parametrize("power", [-60, 60, 126])
def test_long_and_short_queries_find_what_their_direction_finds(small_codec, metric, power):
    """Scaling by a power of two rounds nothing, and changes no order of inner products.

    At 2 ** 126 scores exceed float32: then order is lost, but vectors are still found.
    """
    rng = np.random.default_rng(0)
    x = rng.standard_normal((500, 20)).astype("f4")
    index = wf.IndexFlat(small_codec, metric)
    index.add(x - x.mean(0) + small_codec.plan.mean)
    q = np.clip(x[:5], -1.9, 1.9)
    distances, labels = index.search(np.ldexp(q, power), 10)
    assert not np.isnan(distances).any()
    assert ((labels >= 0) & (labels < 500)).all()
    if metric == "ip" and power < 126:
        np.testing.assert_array_equal(labels, index.search(q, 10)[1])


@pytest.mark.parametrize("power", [-100, 60, 126])
def test_long_and_short_queries_have_a_published_score(clustered, power):
    """Its bits do not grow with the query: far from 1, one of its two parts decides alone."""
    plan = wf.Plan.classic(wf.analyze(clustered), 0.2, 0.75, by="dimensions", pq_multiplier=2.0)
    index = wf.IndexFlat(wf.Codec.train(clustered, plan))
    index.add(clustered[:600])
    q = np.clip(clustered[-5:], -1.9, 1.9)
    distances, labels = index.search(np.ldexp(q, power), 10)
    assert np.isfinite(distances).all()
    assert ((labels >= 0) & (labels < 600)).all()
    if power == 60:
        np.testing.assert_array_equal(labels, index.search(np.ldexp(q, 50), 10)[1])


@pytest.mark.parametrize("metric", ["ip", "l2"])
@pytest.mark.parametrize("power", [-50, 66])
def test_data_of_any_size_is_searched(clustered, metric, power):
    """At 2 ** 66 squared distances exceed float32; which vectors are near does not depend on it."""
    x = np.ldexp(clustered, power).astype("f4")
    q = x[-50:] * np.float32(1.01)
    codec = wf.Codec.train(x, wf.Plan.waterfill(wf.analyze(x), code_bytes=10))
    index = wf.IndexFlat(codec, metric)
    index.add(x)
    distances, labels = index.search(q, 10)
    assert not np.isnan(distances).any()
    exact = q.astype("f8") @ x.astype("f8").T
    if metric == "l2":
        exact = 2 * exact - (x.astype("f8") ** 2).sum(axis=1)
    truth = np.argsort(-exact, axis=1)[:, :10]
    assert np.mean([len(set(a) & set(b)) / 10 for a, b in zip(labels, truth, strict=True)]) > 0.7


def test_l2_holds_for_norms_that_training_did_not_see(base, queries, codec):
    """Norms are all 1 in the sample and 0.7 to 1.4 in the index: the scale byte holds them."""
    assert codec.plan.constant_norm > 0
    x = base * np.random.default_rng(0).uniform(0.7, 1.4, (len(base), 1)).astype("f4")
    index = wf.IndexFlat(codec, "l2")
    index.add(x)
    two_stage = index.search(queries, 10)[1]
    index.refine_factor = len(x)
    full = index.search(queries, 10)[1]
    kept = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(two_stage, full, strict=True)])
    assert kept >= 0.95


def test_vectors_too_near_to_the_mean_are_warned_of(codec, base):
    """As those too far from it are: their distance is clipped just the same."""
    origins = Reference.of(codec).origins(codec.encode(base[:50]))
    x = base[:50].copy()
    x[[4, 7]] = origins[[4, 7]] + (x[[4, 7]] - origins[[4, 7]]) * 1e-3
    with pytest.warns(RuntimeWarning, match="2 of 50"):
        codec.encode(x)


def test_copies_take_no_precision_from_other_vectors():
    """Rows that are their cell's centroid but for rounding do not widen the scale."""
    rng = np.random.default_rng(4)
    x = rng.standard_normal((4000, 16)).astype("f4")
    x[:2000] = np.repeat(30 * rng.standard_normal((4, 16)), 500, axis=0) / 3
    codec = wf.Codec.train(x, wf.Plan.waterfill(wf.analyze(x), code_bytes=4), cells=16)
    assert codec._core.settings["scale"][1] < 0.02
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        codes = codec.encode(x)
    np.testing.assert_allclose(codec.decode(codes[:2000]), x[:2000], atol=1e-4)


@pytest.mark.parametrize("spec", ["WF8", "IVF64,WF8"])
@pytest.mark.parametrize("noise", [0, 1e-7, 1e-4, 0.02, 0.2])
def test_near_copies_that_were_trained_on_are_not_warned_of(base_64, spec, noise):
    """A text's copies may have a cell of their own, to whose centroid they are very near."""
    rng = np.random.default_rng(0)
    rows = np.repeat(base_64[:200], 30, axis=0)
    x = (rows + noise * rng.standard_normal(rows.shape) / 8).astype("f4")
    index = wf.index_factory(64, spec)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", RecallWarning)  # 8 bytes find few of so many copies
        index.train(x)
        index.add(x)
    spread = np.linalg.norm(x - x.mean(axis=0), axis=1).mean()
    errors = np.linalg.norm(index.reconstruct_n() - x, axis=1)
    mean, cells = index.codec.plan.mean, index.codec._core.arrays["centroids"]
    rule = index.codec._core.settings["by_direction"]
    centers = cells if len(cells) else mean[None]
    own = np.linalg.norm(_core.residuals(x, mean, centers, rule), axis=1)
    assert (errors <= 2.1 * own + 0.02 * spread).all()  # none is moved away from its centroid


def test_rows_held_out_of_training_are_not_warned_of(base_64):
    """They calibrate the search, so they are part of the data; without cells, too."""
    plan = wf.Plan.waterfill(wf.analyze(base_64), 8)
    held = drawn_rows(len(base_64), 64, 0)[1]
    x = base_64.copy()
    x[held[:2]] *= [[50], [0.01]]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        wf.Codec.train(x, plan, cells=0).encode(x)


def test_the_warning_names_the_side(base_64):
    x, codec = base_64[:40].copy(), trained(base_64, 8, cells=0)
    mean = codec.plan.mean
    x[[4, 7]] = mean + 5 * (x[[4, 7]] - mean)
    with pytest.warns(RuntimeWarning, match="^x: 2 of 40 vectors are more than twice as far from"):
        codec.encode(x)
    x[[4, 7, 9]] = mean + 1e-3 * (base_64[[4, 7, 9]] - mean)
    with pytest.warns(RuntimeWarning, match="^x: 3 of 40 vectors are less than half as far from"):
        codec.encode(x)
    x[4] = mean + 5 * (base_64[4] - mean)
    with pytest.warns(RuntimeWarning, match="are more than twice as far or less than half as far"):
        codec.encode(x)


@pytest.mark.parametrize(
    "change",
    [
        {"weighting": float("nan")},
        {"weighting": 7},
        {"constant_norm": -1},
        {"constant_norm": float("nan")},
        {"pq_multiplier": -3},
        {"normalize": "false"},
    ],
)
def test_settings_that_no_plan_has_are_refused(small_codec, change):
    data = json.loads(small_codec.plan.to_json())
    with pytest.raises(ValueError, match=next(iter(change))):
        wf.Plan.from_json(json.dumps({**data, **change}))


def test_deeply_nested_json_is_refused():
    with pytest.raises(ValueError, match="not the JSON of a waterfill plan"):
        wf.Plan.from_json("[" * 100_000)


def test_analyses_can_be_compared(clustered):
    a, b = wf.analyze(clustered), wf.analyze(clustered[:100])
    assert a == wf.analyze(clustered)
    assert a != b


def test_a_name_with_a_zero_character_is_refused(small_codec, tmp_path):
    index = wf.IndexFlat(small_codec)
    with pytest.raises(ValueError, match="null"):
        wf.write_index(index, f"{tmp_path}/index\0.wf")
    assert os.listdir(tmp_path) == []
    wf.write_index(index, tmp_path / "index")
    with pytest.raises(ValueError, match="null"):
        wf.read_index(f"{tmp_path}/index\0.wf")


def test_a_name_that_is_not_utf8_goes_to_the_file_system(tmp_path):
    path = tmp_path / os.fsdecode(b"\xff.wf")
    with pytest.raises(FileNotFoundError, match="cannot open") as caught:
        wf.read_index(path)
    assert caught.value.filename == str(path)


def test_numbers_of_the_wrong_kind_are_named(small_codec, clustered):
    index = wf.IndexFlat(small_codec)
    index.add(clustered[:10])
    with pytest.raises(TypeError, match="key"):
        index.reconstruct(1.5)
    with pytest.raises(TypeError, match="n0"):
        index.reconstruct_n(0.5, 2)
    with pytest.raises(ValueError, match="seed"):
        wf.Codec.train(clustered, small_codec.plan, seed=2**64)


def test_moments_can_be_merged_with_themselves(clustered):
    twice, part = (_core.Moments(np.zeros(20), 0.1) for _ in range(2))
    twice.update(np.vstack([clustered, clustered]))
    part.update(clustered)
    part.merge(part)
    assert part.count == twice.count == 2 * len(clustered)
    np.testing.assert_allclose(part.direction_covariance(), twice.direction_covariance())


def extreme_index(name: str, *numbers: tuple[str, int, str, float]) -> _core.Index:
    """Return a golden index with other numbers, (section, offset, format, value), in its file."""
    path = Path(__file__).parent / "golden" / f"{name}.wf"
    file = Container.parse(path.read_bytes())
    for tag, offset, code, value in numbers:
        struct.pack_into(f"<{code}", file[tag].data, offset, value)
    return _core.index_from_bytes(file.to_bytes())[0]


@pytest.mark.parametrize("name", ["1.0-waterfill-l2", "1.1-cells-l2", "1.0-waterfill-ip"])
@pytest.mark.parametrize("low", [-900.0, 60.0, 85.0, 900.0])
def test_scores_beyond_float32_are_the_worst_and_not_the_best(name, low):
    """A scale of a file may reach beyond float32; sums of infinities of both signs are NaN."""
    index = extreme_index(name, ("PARAMS", 40, "d", low))
    queries = np.concatenate([np.eye(12, dtype="f4"), np.full((1, 12), 3e38, dtype="f4")])
    distances, ids, *_ = index.search(queries, 500, 500, 0, np.inf)
    limits, within, *_ = index.range_search(queries, np.inf if name.endswith("l2") else -np.inf)
    assert np.isfinite(distances).all()
    assert np.isfinite(within).all()
    assert len(within) == limits[-1] == ids.size
    if name.endswith("l2") and low >= 85:
        assert (distances > 1e30).all()
