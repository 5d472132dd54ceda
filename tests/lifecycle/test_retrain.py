"""Retraining: the same vectors, ids and settings with another codec."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest

import waterfill as wf
from waterfill._util import memory

BYTES = 8
LISTS = 12


def filled(kind: str, sample: np.ndarray, rows: np.ndarray, metric: Any, **options: Any) -> Any:
    recipe = wf.Recipe(64, BYTES, effort="fast")
    if kind == "flat":
        index: Any = wf.IndexFlat(recipe.train(sample, metric), metric, **options)
    elif kind == "cells":
        index = wf.IndexFlat(recipe.train(sample, metric, cells=LISTS), metric, **options)
    else:
        index = wf.IndexIVF(recipe, LISTS, metric=metric, **options)
        index.train(sample)
    index.add(rows)
    return index


def same(one: Any, other: Any, queries: np.ndarray) -> None:
    np.testing.assert_array_equal(one.codes(), other.codes())
    for a, b in zip(one.search(queries, 10), other.search(queries, 10), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("kind", ["flat", "cells", "ivf"])
def test_retraining_from_vectors_equals_a_new_index(kind, metric, drifted, stored, fresh, queries):
    index = filled(kind, drifted, stored, metric)
    before = index.codes()
    new = wf.retrain(index, fresh, vectors=stored)
    assert type(new) is type(index)
    assert new.metric == metric
    built = filled(kind, fresh, stored, metric)
    assert new.codec.fingerprint == built.codec.fingerprint
    same(new, built, queries)
    np.testing.assert_array_equal(index.codes(), before)
    assert new.manifest.parent == index.codec.fingerprint
    assert new.manifest.measured["retrained_from"] == "vectors argument"


@pytest.mark.parametrize(
    ("kind", "refine"),
    [("flat", "float16"), ("flat", "float32"), ("cells", "int8"), ("ivf", "float16")],
)
def test_refinement_rows_are_encoded(kind, refine, metric, drifted, stored, fresh, queries):
    index = filled(kind, drifted, stored, metric, refine=refine)
    new = wf.retrain(index, fresh)
    rows = index._core.refine_rows(0, len(stored))
    built = filled(kind, fresh, rows, metric, refine=refine)
    assert new.refine == refine
    same(new, built, queries)
    # Rounded rows get the norm 1 once more, and are rounded again.
    expected, tolerance = rows, 2e-6
    if metric == "cosine":
        expected, tolerance = rows / np.linalg.norm(rows, axis=1, keepdims=True), 2.5e-4
    kept = new._core.refine_rows(0, len(stored))
    np.testing.assert_allclose(kept, expected, rtol=0, atol=tolerance)
    assert new.manifest.measured["retrained_from"] == f"{refine} refinement rows"
    assert "relative_error_twice" not in new.manifest.measured


@pytest.mark.parametrize("dtype", ["f2", "f4"])
def test_refinement_array_is_encoded_by_id(dtype, drifted, stored, fresh, queries, tmp_path):
    np.save(tmp_path / "rows.npy", stored.astype(dtype))
    rows = np.load(tmp_path / "rows.npy", mmap_mode="r")
    index = wf.IndexFlat(wf.Recipe(64, BYTES, effort="fast").train(drifted, "ip"), refine=rows)
    ids = np.arange(len(stored))[::-1]
    index.add_with_ids(stored[::-1], ids)
    new = wf.retrain(index, fresh)
    assert new.refine is rows
    np.testing.assert_array_equal(new.ids(), ids)
    built = wf.IndexFlat(new.codec, refine=rows)
    built.add_with_ids(rows[::-1], ids)
    same(new, built, queries)
    assert new.manifest.measured["retrained_from"].startswith("array of float")


@pytest.mark.parametrize("kind", ["flat", "cells", "ivf"])
def test_ids_order_and_settings_are_kept(kind, drifted, stored, fresh):
    index = filled(kind, drifted, stored[:0], "l2", refine="float16", k_factor=3.0)
    index.add_with_ids(stored, 7 * np.arange(len(stored)) + 5)
    index.remove_ids([5, 12, 705])
    index.prune_sigma, index.refine_factor, index.coarse_groups = 2.5, 17, 5
    if kind == "ivf":
        index.nprobe = 7
    new = wf.retrain(index, fresh)
    np.testing.assert_array_equal(new.ids(), index.ids())
    np.testing.assert_array_equal(
        new._core.refine_rows(0, new.ntotal), index._core.refine_rows(0, index.ntotal)
    )
    for name in ("prune_sigma", "refine_factor", "coarse_groups", "k_factor", "nprobe", "nlist"):
        assert getattr(new, name, None) == getattr(index, name, None)


def test_idmap2_index_stays_an_idmap2_index(drifted, fresh):
    index = wf.index_factory(64, f"IDMap2,WF{BYTES}")
    index.train(drifted)
    new = wf.retrain(index, fresh)
    assert isinstance(new, faiss.IndexIDMap2)
    assert new.has_ids
    assert new.ntotal == 0


def test_faiss_quantizer_gets_the_new_centroids(drifted, stored, fresh, queries):
    quantizer = faiss.IndexHNSWFlat(64, 8)
    index = wf.IndexIVF(wf.Recipe(64, BYTES, effort="fast"), LISTS, quantizer)
    index.train(drifted)
    index.add(stored)
    before = quantizer.reconstruct_n(0, LISTS)
    new = wf.retrain(index, fresh, vectors=stored)
    np.testing.assert_array_equal(quantizer.reconstruct_n(0, LISTS), before)
    np.testing.assert_allclose(
        new.quantizer.reconstruct_n(0, LISTS), new.codec._core.routing_vectors, atol=1e-6
    )
    new.nprobe = LISTS
    truth = np.argsort(-queries @ stored.T, axis=1)[:, :10]
    assert wf.lifecycle.compare(index, new, queries, truth=truth, timed=0).new.recall.value > 0.5


def test_warning_states_the_loss_of_decoding(old, fresh):
    with pytest.warns(RuntimeWarning, match="1,500 vectors were decoded.*lower recall") as caught:
        new = wf.retrain(old, fresh)
    measured = new.manifest.measured
    assert measured["retrained_from"] == "decoded vectors"
    x = fresh  # under 4,096 rows: all are measured
    spread = np.square(x - x.mean(axis=0)).sum()
    once = new.codec.decode(new.codec.encode(x))
    codes = old.codec._encode_block(x)
    first = old.codec.decode(codes, alpha=old.codec.alpha["ip"])
    twice = new.codec.decode(new.codec._encode_block(first))
    before = old.codec.decode(codes)
    for name, vectors in (("before", before), ("once", once), ("twice", twice)):
        error = np.square(vectors - x).sum() / spread
        assert measured[f"relative_error_{name}"] == pytest.approx(error, rel=1e-4)
    assert measured["relative_error_once"] < measured["relative_error_twice"]
    assert f"{measured['relative_error_twice']:.1%}" in str(caught[0].message)
    assert caught[0].filename == __file__
    expected = new.codec._encode_block(old.reconstruct_n())
    np.testing.assert_array_equal(new.codes(), expected)
    again = wf.Codec.from_bytes(new.codec.to_bytes()).manifest
    assert again.measured == measured
    assert again.parent == old.codec.fingerprint


def test_parents_form_a_chain(old, stored, drifted, fresh):
    first = wf.retrain(old, fresh, vectors=stored)
    second = wf.retrain(first, drifted, vectors=stored, seed=3)
    assert second.manifest.parent == first.codec.fingerprint
    assert second.manifest.training["seed"] == 3
    assert first.manifest.parent == old.codec.fingerprint
    assert wf.reproduce(first.codec, fresh).identical


def test_better_codec_has_higher_recall(old, stored, fresh, queries):
    new = wf.retrain(old, fresh, vectors=stored)
    assert wf.lifecycle.compare(old, new, queries, vectors=stored, timed=0).recall_change.low > 0


def test_classic_plans_stay_classic(drifted, stored, fresh):
    plan = wf.Plan.classic(wf.analyze(drifted), 0.2, 0.5, by="dimensions")
    index = wf.IndexFlat(wf.Codec.train(drifted, plan))
    index.add(stored)
    new = wf.retrain(index, fresh, vectors=stored)
    assert new.codec.plan.maker == "classic"
    assert new.codec.code_size == index.codec.code_size


def test_empty_index_does_not_warn(old_codec, fresh):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert wf.retrain(wf.IndexFlat(old_codec), fresh).ntotal == 0


def test_vectors_are_read_in_blocks(old, stored, fresh):
    class Source:
        shape, dtype = stored.shape, stored.dtype
        most = 0

        def read(self, first: int, n: int) -> np.ndarray:
            Source.most = max(Source.most, n)
            return stored[first : first + n]

        def take(self, rows: np.ndarray) -> np.ndarray:
            return stored[rows]

    new = wf.retrain(old, fresh, vectors=Source())
    np.testing.assert_array_equal(new.codes(), new.codec.encode(stored))
    assert 0 < Source.most <= wf.data.rows.Rows(stored).block_rows


def test_mismatched_arguments_raise(old, stored, fresh, drifted):
    with pytest.raises(ValueError, match=r"vectors: expected .* but only \d+% of 512 rows"):
        wf.retrain(old, fresh, vectors=stored[::-1])
    with pytest.raises(ValueError, match=r"vectors: expected 1500 rows, .* got 1400"):
        wf.retrain(old, fresh, vectors=stored[:1400])
    with pytest.raises(ValueError, match="new_sample has 20 dimensions, expected 64"):
        wf.retrain(old, fresh[:, :20])
    with pytest.raises(TypeError, match=r"index must be a .* or IndexIVF, got ndarray"):
        wf.retrain(fresh, fresh)  # type: ignore[type-var]
    with pytest.raises(wf.NotTrainedError):
        wf.retrain(wf.IndexFlat(wf.Recipe(64, 8)), fresh)
    lists = filled("ivf", drifted, stored, "ip")
    with pytest.raises(ValueError, match="new_sample: expected at least nlist=12 rows, got 11"):
        wf.retrain(lists, fresh[:11], vectors=stored)


def test_training_queries_are_required_again(drifted, stored, fresh, queries):
    plan = wf.Plan.waterfill(wf.analyze(drifted), BYTES)
    index = wf.IndexFlat(wf.Codec.train(drifted, plan, queries=queries))
    index.add(stored)
    with pytest.raises(ValueError, match="queries: the codec was trained with queries"):
        wf.retrain(index, fresh, vectors=stored)
    new = wf.retrain(index, fresh, vectors=stored, queries=queries)
    assert new.manifest.queries_sha256 == index.manifest.queries_sha256


def test_memory_for_a_second_index_is_checked():
    assert memory.available_bytes() is None or memory.available_bytes() > 0
    with pytest.raises(MemoryError, match="a second index takes about"):
        memory.require_memory(1 << 60, "a second index")


def test_codec_without_a_manifest():
    index: Any = wf.read_index(Path(__file__).parents[1] / "golden" / "1.2-ids-float16.wf")
    assert index.manifest is None
    rng = np.random.default_rng(0)
    sample = rng.standard_normal((500, index.d)).astype(np.float32)
    new = wf.retrain(index, sample)
    np.testing.assert_array_equal(new.ids(), index.ids())
    assert new.codec.code_size == index.codec.code_size
    assert new.manifest.parent == index.codec.fingerprint
