"""The record that a codec carries, and making it again."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pickle
from pathlib import Path

import numpy as np
import pytest

import waterfill as wf

GOLDEN = Path(__file__).parents[1] / "golden"

PLANS = {
    "a byte a dimension": lambda a: wf.Plan.waterfill(a, 20),
    "waterfill": lambda a: wf.Plan.waterfill(a, 7, 0.3),
    "classic": lambda a: wf.Plan.classic(a, 0.1, 0.6, by="dimensions"),
    "published": lambda a: wf.Plan.classic(a, 0.1, 0.6, by="dimensions", pq_multiplier=2.0),
}


@pytest.mark.parametrize("kind", PLANS)
@pytest.mark.parametrize("normalize", [False, True])
def test_a_codec_is_made_again(clustered, kind, normalize):
    plan = PLANS[kind](wf.analyze(clustered, normalize=normalize))
    cells = 0 if kind in ("classic", "published") else 16
    codec = wf.Codec.train(clustered, plan, 5, cells=cells, effort="fast", metric="ip")
    made = wf.reproduce(codec.manifest, clustered)
    assert made.identical
    assert made.differences == ()
    assert made.codec.fingerprint == codec.fingerprint


def test_queries_and_alpha_are_part_of_it(clustered):
    plan = wf.Plan.waterfill(wf.analyze(clustered), 7)
    queries = clustered[:200] + 1
    codec = wf.Codec.train(clustered, plan, queries=queries, alpha=0.5, cells=np.int64(8))
    assert codec.manifest.training["alpha"] == 0.5
    assert wf.reproduce(codec.manifest, clustered, queries).identical
    with pytest.raises(ValueError, match="was trained with queries"):
        wf.reproduce(codec.manifest, clustered)
    other = wf.reproduce(codec.manifest, clustered, queries[::-1] * 2)
    assert "the queries differ" in other.differences


def test_what_differs_is_said(clustered):
    codec = wf.Codec.train(clustered, wf.Plan.waterfill(wf.analyze(clustered), 7))
    old = dataclasses.replace(codec.manifest, version="0.0.1", numpy="1.0")
    made = wf.reproduce(old, clustered)
    assert made.identical
    assert made.differences == (
        f"waterfill was 0.0.1 and is {wf.__version__}",
        f"NumPy was 1.0 and is {np.__version__}",
    )
    changed = clustered.copy()
    changed[7] += 1
    made = wf.reproduce(codec.manifest, changed)
    assert not made.identical
    assert made.differences[0] == "the vectors differ"


def test_what_cannot_be_made_again_is_refused(clustered):
    plan = wf.Plan.waterfill(wf.analyze(clustered), 7)
    codec = wf.Codec.train(clustered, plan, cells=clustered[:9])
    with pytest.raises(ValueError, match="trained with given centroids"):
        wf.reproduce(codec.manifest, clustered)
    codec = wf.Codec.train(clustered, plan)
    with pytest.raises(ValueError, match="x has 2999 rows, expected 3000"):
        wf.reproduce(codec.manifest, clustered[1:])
    with pytest.raises(ValueError, match="x has 19 dimensions, expected 20"):
        wf.reproduce(codec.manifest, clustered[:, 1:])
    with pytest.raises(ValueError, match="was trained without queries"):
        wf.reproduce(codec.manifest, clustered, clustered[:50])
    old = wf.read_index(GOLDEN / "1.1-cells-ip.wf").codec
    with pytest.raises(ValueError, match="the codec has none"):
        wf.reproduce(old, clustered)
    with pytest.raises(TypeError, match="manifest must be a waterfill"):
        wf.reproduce({}, clustered)


def test_an_optimized_codec_is_made_again_from_the_whole_sample(clustered):
    result = wf.optimize(clustered, max_bytes=9, metric="l2", seed=4)
    made = wf.reproduce(result.codec.manifest, clustered)
    assert made.identical
    assert made.codec.fingerprint == result.codec.fingerprint
    result = wf.optimize(clustered, clustered[:150] * 2, max_bytes=9, time_budget=0)
    assert wf.reproduce(result.codec, clustered, clustered[:150] * 2).identical
    with pytest.raises(ValueError, match="queries has 149 rows, expected 150"):
        wf.reproduce(result.codec, clustered, clustered[:149] * 2)


def test_the_record_is_true(clustered):
    x = clustered.astype(np.float64)
    codec = wf.Codec.train(x, wf.Plan.waterfill(wf.analyze(x), 7, 0.25), 9, cells=0)
    manifest = codec.manifest
    assert (manifest.rows, manifest.d, manifest.dtype) == (3000, 20, "float64")
    assert manifest.trained_rows == 3000
    assert manifest.version == wf.__version__
    assert manifest.plan["code_bytes"] == 7
    assert manifest.plan["weighting"] == 0.25
    assert manifest.training == {
        "seed": 9, "cells": 0, "metric": None, "effort": "balanced", "alpha": None
    }  # fmt: skip
    # Rows in the order in which they were drawn: the sample's, then those that were held out.
    chosen = np.random.default_rng(9).choice(3000, 3000, replace=False)
    drawn = np.concatenate([np.sort(chosen[256:]), np.sort(chosen[:256])])
    own = hashlib.sha256(x[drawn].astype("<f4").tobytes()).hexdigest()
    assert manifest.data_sha256 == own
    codes = codec.encode(x[np.sort(chosen[256:])])
    assert manifest.codes_sha256 == hashlib.sha256(codes.tobytes()).hexdigest()
    assert "7 bytes" in str(manifest)


def test_it_goes_where_the_codec_goes(clustered, tmp_path):
    codec = wf.Codec.train(clustered, wf.Plan.waterfill(wf.analyze(clustered), 7))
    index = wf.IndexFlat(codec)
    index.add(clustered)
    wf.write_index(index, tmp_path / "index.wf")
    copies = [
        pickle.loads(pickle.dumps(codec)),
        wf.Codec.from_bytes(codec.to_bytes()),
        wf.read_index(tmp_path / "index.wf").codec,
        pickle.loads(pickle.dumps(index)).codec,
    ]
    assert index.manifest == codec.manifest
    assert wf.IndexFlat(wf.Recipe(20, 7)).manifest is None
    for copy in copies:
        assert copy.manifest == codec.manifest
        assert copy.fingerprint == codec.fingerprint
    text = codec.manifest.to_json()
    assert wf.training.Manifest.from_json(text) == codec.manifest
    later = json.dumps({**json.loads(text), "of_later_versions": 1})
    assert wf.training.Manifest.from_json(later) == codec.manifest


def test_the_clock_can_be_set(clustered, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    plan = wf.Plan.waterfill(wf.analyze(clustered), 7)
    first, again = (wf.Codec.train(clustered, plan) for _ in range(2))
    assert first.manifest.created == "1970-01-02T00:00:00Z"
    assert first.to_bytes() == again.to_bytes()


@pytest.mark.parametrize("part", ["plan", "training", "draw"])
def test_a_record_without_its_parts_is_refused(clustered, part):
    codec = wf.Codec.train(clustered, wf.Plan.waterfill(wf.analyze(clustered), 7))
    data = {**json.loads(codec.manifest.to_json()), part: {"other": 1}}
    with pytest.raises(ValueError, match=part):
        wf.reproduce(wf.training.Manifest.from_json(json.dumps(data)), clustered)


@pytest.mark.parametrize("epoch", ["soon", "1e30", "nan"])
def test_a_clock_that_is_none_is_named(clustered, monkeypatch, epoch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", epoch)
    plan = wf.Plan.waterfill(wf.analyze(clustered), 7)
    with pytest.raises(ValueError, match="SOURCE_DATE_EPOCH="):
        wf.Codec.train(clustered[:300], plan)


@pytest.mark.parametrize("text", ["", "{}", "[]", "3", '{"version": 1}'])
def test_other_text_is_refused(text):
    with pytest.raises(ValueError, match="not the JSON of a manifest"):
        wf.training.Manifest.from_json(text)


def test_codecs_of_earlier_files_have_none():
    for path in GOLDEN.glob("1.[012]-*.wf"):
        assert wf.read_index(path).codec.manifest is None


def test_a_file_of_this_format_has_one():
    manifest = wf.read_index(GOLDEN / "1.3-manifest-ip.wf").codec.manifest
    assert (manifest.rows, manifest.d, manifest.training["seed"]) == (900, 12, 7)
    assert manifest.created == "2026-11-21T00:00:00Z"
    assert manifest.queries_sha256 is not None
