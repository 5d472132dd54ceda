"""Topics that come one after the other, another domain, and another embedding model."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from support.managed import ENOUGH, open_managed, recall, some_vectors, true_ids

import waterfill as wf
from waterfill.managed import growth, maintenance
from waterfill.managed.drift_watch import MANY_ASKED
from waterfill.managed.settings import Settings
from waterfill.managed.training import compare_codecs, refusal

HIGH = 64


def domain(n: int, first: bool) -> NDArray[np.float32]:
    """Return vectors of 64 dimensions with their energy in the first ones, or in the last."""
    random = np.random.default_rng(3 if first else 4)
    strength = np.maximum(0.85 ** np.arange(HIGH), 0.02)
    strength = strength if first else strength[::-1]
    return (random.standard_normal((n, HIGH)) * strength).astype(np.float32)


def test_topics_that_come_one_after_the_other_are_found(tmp_path: Path) -> None:
    x = some_vectors(3 * ENOUGH)
    x = x[np.argsort(x[:, 0])]  # what comes first is unlike what comes later
    with open_managed(tmp_path / "a", metric="l2", target_recall=0.9) as index:
        for first in range(0, len(x), ENOUGH // 2):
            rows = slice(first, first + ENOUGH // 2)
            index.upsert(np.arange(len(x))[rows], x[rows])
            index.maintain()
            queries = x[rows][::40]
            found = index.search(queries, 10)[1]
            assert recall(found, true_ids(x[: rows.stop], queries, "l2")) > 0.88


def test_a_loss_of_recall_leads_to_another_codec(tmp_path: Path) -> None:
    old, new = domain(ENOUGH, True), domain(ENOUGH // 2, False)
    with open_managed(tmp_path / "a", d=HIGH, target_recall=0.95, metric="l2") as index:
        index.upsert(np.arange(ENOUGH), old)
        index.maintain()
        codec = index.codec.fingerprint
        index.upsert(ENOUGH + np.arange(len(new)), new, new_model=True)
        for _ in range(4):  # users ask about the new domain
            index.search(new[:100] + 0.1, 10)
        done = [event.what for event in index.maintain()]
        assert done[:3] == ["measured", "drift", "trained"]
        assert index.codec.fingerprint != codec
        assert index.health().recall is not None
        assert index.health().recall.high >= 0.95


def test_a_loss_is_only_told_if_that_is_asked_for(tmp_path: Path) -> None:
    old, new = domain(ENOUGH, True), domain(ENOUGH // 2, False)
    with open_managed(
        tmp_path / "a", d=HIGH, target_recall=0.95, metric="l2", on_drift="warn"
    ) as index:
        index.upsert(np.arange(ENOUGH), old)
        index.maintain()
        codec = index.codec.fingerprint
        index.upsert(ENOUGH + np.arange(len(new)), new, new_model=True)
        index.search(new[:100] + 0.1, 10)
        assert [event.what for event in index.maintain()] == ["measured", "drift"]
        assert "retraining is advised" in index.history[-1].words
        assert index.codec.fingerprint == codec


def test_queries_unlike_the_vectors_get_a_codec_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "_MEASURE_SHARE", math.inf)  # no rest between measurements
    x, asked = domain(ENOUGH, True), domain(MANY_ASKED + 200, False)
    others = asked[MANY_ASKED:]
    true = true_ids(x, others, "ip")
    with open_managed(tmp_path / "a", d=HIGH, target_recall=0.95) as index:
        index.upsert(np.arange(ENOUGH), x)
        index.maintain()
        before = recall(index.search(others, 10)[1], true)
        for first in range(0, MANY_ASKED - len(others), 20):
            assert not index.maintain()  # too few were asked
            index.search(asked[first : first + 20], 10)
        assert "after 1,000 queries" not in index.health().next
        done = [event.what for event in index.maintain()]
        assert done == ["measured", "drift", "trained", "encoded", "measured"]
        assert "queries that were asked" in index.history[-3].words
        assert recall(index.search(others, 10)[1], true) > max(0.95, before)
        for first in range(0, MANY_ASKED, 20):
            index.search(asked[first : first + 20], 10)
        assert [event.what for event in index.maintain()] == ["measured"]


def test_one_query_again_and_again_trains_no_codec(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "_MEASURE_SHARE", math.inf)  # no rest between measurements
    x, asked = domain(ENOUGH, True), domain(50, False)
    with open_managed(tmp_path / "a", d=HIGH, target_recall=0.95) as index:
        index.upsert(np.arange(ENOUGH), x)
        index.maintain()
        for _ in range(MANY_ASKED // 50):
            index.search(asked, 10)
        assert [event.what for event in index.maintain()] == ["measured"]
        assert index.health().recall.high < 0.95  # and this is what health says


def test_searches_get_more_lists_where_they_find_too_little(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(growth, "_LISTS_FROM", ENOUGH)
    x, queries = some_vectors(ENOUGH + 1000), some_vectors(100, seed=5)
    true = true_ids(x, queries, "ip")
    with open_managed(tmp_path / "a") as index:
        index.upsert(np.arange(ENOUGH), x[:ENOUGH])
        index.maintain()
        assert index.nlist > 100
        index.nprobe = 1  # as if lists of later vectors were worse than training expected
        index.upsert(ENOUGH + np.arange(1000), x[ENOUGH:])
        assert recall(index.search(queries, 10)[1], true) < 0.8
        assert [event.what for event in index.maintain()] == ["measured"]
        assert "nprobe was 1, is" in index.history[-1].words
        assert 1 < index.nprobe < index.nlist
        assert recall(index.search(queries, 10)[1], true) > 0.9
    again = wf.open_index(tmp_path / "a")
    assert again.nprobe == index.nprobe


def test_vectors_of_another_model_are_refused(tmp_path: Path) -> None:
    known, foreign = domain(ENOUGH + 500, True), domain(500, False)
    with open_managed(tmp_path / "a", d=HIGH) as index:
        index.upsert(np.arange(100), foreign[:100])  # nothing is known yet
        index.remove_ids(np.arange(100))
        index.upsert(np.arange(ENOUGH), known[:ENOUGH])
        index.maintain()
        index.upsert(np.arange(500), known[ENOUGH:])
        before = index.ntotal
        for call in (index.add, lambda x: index.upsert(np.arange(500), x)):
            with pytest.raises(ValueError, match=r"another embedding model.*new_model=True"):
                call(foreign)
        assert index.ntotal == before
        index.upsert(10**6 + np.arange(500), foreign, new_model=True)
        assert index.ntotal == before + 500
    with open_managed(tmp_path / "a", d=HIGH) as again, pytest.raises(ValueError, match="another"):
        again.upsert(np.arange(500), foreign)


def test_a_worse_codec_is_refused() -> None:
    x = some_vectors(3000)
    analysis = wf.analyze(x)
    good, poor = (
        wf.Codec.train(x, wf.Plan.waterfill(analysis, code_bytes), cells=0) for code_bytes in (8, 4)
    )
    comparison = compare_codecs(good, poor, "ip", x)
    assert "the new codec finds" in refusal(Settings(None, 4), comparison)
    assert refusal(Settings(0.95), comparison)
    assert not refusal(Settings(0.2), comparison)  # it still reaches the target
    assert not refusal(Settings(None, 8), compare_codecs(poor, good, "ip", x))
