"""The recall of lists: what training measures, and how many lists a target takes."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import trained
from support.container import Container

import waterfill as wf
from waterfill.index.list_recall import ListRecall
from waterfill.training.sampling import drawn_rows

NLIST = 48
METRICS = ("ip", "l2")


@pytest.fixture(scope="module")
def codec(base) -> wf.Codec:
    return trained.trained(base, 24, cells=NLIST)


def filled(codec: wf.Codec, x: np.ndarray, metric: str = "ip", **options) -> wf.IndexIVF:
    index = wf.IndexIVF(codec, codec.cells, metric=metric, refine="float32", **options)
    index.add(x)
    return index


def nearest(x: np.ndarray, q: np.ndarray, metric: str, k: int = 10) -> np.ndarray:
    scores = q @ x.T if metric == "ip" else 2 * q @ x.T - np.square(x).sum(axis=1)
    return np.argsort(-scores, axis=1, kind="stable")[:, :k]


@st.composite
def measured(draw: st.DrawFn) -> ListRecall:
    nlist = draw(st.integers(2, 5000))
    entries = (nlist - 1).bit_length()
    shares = draw(st.lists(st.floats(1e-4, 1), min_size=entries, max_size=entries))
    rows, decay = draw(st.integers(0, 10**6)), draw(st.floats(0, 0.5))
    return ListRecall(nlist, rows, tuple(sorted(shares, reverse=True)), decay)


@given(measured(), st.floats(0.001, 1), st.integers(0, 10**8))
def test_a_target_takes_the_fewest_lists_that_reach_it(
    recall: ListRecall, target: float, n: int
) -> None:
    nprobe = recall.nprobe(target, n)
    assert 1 <= nprobe <= recall.nlist
    reached = recall.share(nprobe, n)
    assert reached is not None
    assert reached >= target
    if nprobe > 1:
        below = recall.share(nprobe - 1, n)
        assert below is not None
        assert below < target
    assert recall.nprobe(1.0, n) == recall.nlist


@given(measured(), st.integers(0, 10**8), st.data())
def test_more_lists_and_more_vectors_never_hold_fewer(
    recall: ListRecall, n: int, data: st.DataObject
) -> None:
    counts = sorted(data.draw(st.lists(st.integers(1, recall.nlist), min_size=2, max_size=8)))
    shares = [recall.share(count, n) for count in counts]
    assert all(share is not None and 0 <= share <= 1 for share in shares)
    assert shares == sorted(shares, key=float)
    assert recall.share(counts[0], 2 * n + 1) >= shares[0]


def test_without_a_measurement_a_32nd_is_probed() -> None:
    unknown = ListRecall(640, 0, (), 0.0)
    assert unknown.nprobe(0.99, 10**6) == 20
    assert unknown.share(20, 10**6) is None
    assert unknown.share(640, 10**6) == 1


@pytest.mark.parametrize("metric", METRICS)
def test_training_measures_what_a_search_by_hand_finds(codec, base, metric) -> None:
    train, held = drawn_rows(len(base), base.shape[1], 0)
    sample, held_out = base[train], base[held]
    quantizer = filled(codec, sample, metric).quantizer
    order = quantizer.search(held_out, NLIST)[1]
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.broadcast_to(np.arange(NLIST), order.shape), axis=1)
    own = quantizer.search(sample, 1)[1][:, 0]
    neighbours = np.take_along_axis(ranks, own[nearest(sample, held_out, metric)], axis=1)
    missed, _ = codec._core.list_recall[metric]
    for i, share in enumerate(missed):
        of_query = (neighbours >= 1 << i).mean(axis=1)
        expected = of_query.mean() + of_query.std() / np.sqrt(len(held_out))
        # Products of seven bits put a few neighbours into other lists.
        assert share == pytest.approx(max(expected, 1 / neighbours.size), abs=0.003)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("target", [0.7, 0.9, 0.97])
def test_a_search_finds_what_the_target_promises(codec, base, queries, metric, target) -> None:
    index = filled(codec, base, metric, target_recall=target, k_factor=20)
    assert index.list_recall() >= target
    found = index.search(queries, 10)[1]
    truth = nearest(base, queries, metric)
    recall = np.mean([np.isin(a, b).mean() for a, b in zip(found, truth, strict=True)])
    assert recall >= target - 0.015  # two standard errors of so many queries
    assert index.nprobe < NLIST


def test_the_number_of_lists_follows_the_number_of_vectors(codec, base) -> None:
    index = filled(codec, base[:1000], target_recall=0.95)
    few = index.nprobe
    for _ in range(12):
        index.add(base)
    assert index.nprobe < few
    index.reset()
    assert index.nprobe >= few


def test_the_last_of_target_and_nprobe_holds(codec, base) -> None:
    index = filled(codec, base)
    assert index.target_recall == 0.9
    index.nprobe = 5
    assert (index.nprobe, index.target_recall) == (5, None)
    index.target_recall = 0.6
    assert index.target_recall == 0.6
    assert index.nprobe == ListRecall.of(codec._core, "ip").nprobe(0.6, index.ntotal)
    assert index.list_recall(NLIST) == 1
    assert index.list_recall(index.nprobe) == index.list_recall()


def test_parameters_of_one_search(codec, base, queries) -> None:
    index = filled(codec, base)
    index.nprobe = 1
    expected = filled(codec, base, target_recall=0.97).search(queries, 5)
    params = wf.SearchParametersIVF(target_recall=0.97)
    for ours, theirs in zip(index.search(queries, 5, params=params), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert index.nprobe == 1
    with pytest.raises(ValueError, match="expected one of them"):
        wf.SearchParameters(nprobe=3, target_recall=0.9)


@pytest.mark.parametrize("wrong", [0, -0.1, 1.01, float("nan"), float("inf")])
def test_a_target_is_a_share(codec, wrong) -> None:
    index = wf.IndexIVF(codec, NLIST)
    for give in (
        lambda: wf.IndexIVF(codec, NLIST, target_recall=wrong),
        lambda: setattr(index, "target_recall", wrong),
        lambda: wf.SearchParameters(target_recall=wrong),
    ):
        with pytest.raises(ValueError, match="target_recall"):
            give()
    with pytest.raises(TypeError, match="target_recall must be a number"):
        index.target_recall = "0.9"
    assert index.target_recall == 0.9


@pytest.mark.parametrize("mmap", [False, True])
def test_a_file_keeps_what_was_measured_and_the_target(codec, base, tmp_path, mmap) -> None:
    index = filled(codec, base, target_recall=0.95)
    path = tmp_path / "lists.wf"
    wf.write_index(index, path)
    read = wf.read_index(path, mmap=mmap)
    assert read.codec._core.list_recall == codec._core.list_recall
    assert (read.nprobe, read.target_recall) == (index.nprobe, 0.95)
    assert read.list_recall() == index.list_recall()
    index.nprobe = 7
    wf.write_index(index, path)
    read = wf.read_index(path, mmap=mmap)
    assert (read.nprobe, read.target_recall) == (7, None)


def test_a_reader_before_1_7_takes_the_number_of_lists(codec, base, tmp_path) -> None:
    index = filled(codec, base, target_recall=0.95)
    wf.write_index(index, tmp_path / "lists.wf")
    file = Container.parse((tmp_path / "lists.wf").read_bytes())
    assert (file.minor, file["TARGET"].flags) == (7, 1)  # may be skipped
    file.sections.remove(file["TARGET"])
    (tmp_path / "lists.wf").write_bytes(file.to_bytes())
    read = wf.read_index(tmp_path / "lists.wf")
    assert (read.nprobe, read.target_recall) == (index.nprobe, None)


def cloned(index: wf.IndexIVF) -> wf.IndexIVF:
    faiss = pytest.importorskip("faiss")
    wf.register_faiss()
    return faiss.clone_index(index)


def serialized(index: wf.IndexIVF) -> wf.IndexIVF:
    faiss = pytest.importorskip("faiss")
    wf.register_faiss()
    return faiss.deserialize_index(faiss.serialize_index(index))


COPIES: dict[str, Callable[[wf.IndexIVF], wf.IndexIVF]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "clone_index": cloned,
    "serialize_index": serialized,
    **{
        f"pickle {protocol}": lambda index, protocol=protocol: pickle.loads(
            pickle.dumps(index, protocol)
        )
        for protocol in (2, 4, 5)
    },
}


@pytest.mark.parametrize("name", COPIES)
@pytest.mark.parametrize("trains", [True, False], ids=["trained", "untrained"])
def test_a_copy_follows_the_same_target(codec, base, name, trains) -> None:
    if name == "serialize_index" and not trains:
        pytest.skip("only trained indexes have bytes")
    for set_lists, expected in (
        (lambda index: None, 0.9),
        (lambda index: setattr(index, "target_recall", 0.97), 0.97),
        (lambda index: setattr(index, "nprobe", 7), None),
    ):
        index = filled(codec, base[:1000]) if trains else wf.IndexIVF(wf.Recipe(384, 8), NLIST)
        set_lists(index)
        made = COPIES[name](index)
        assert (made.target_recall, made.nprobe) == (index.target_recall, index.nprobe)
        assert made.target_recall == expected
        if trains:
            for one in (made, index):
                one.add(base)
            assert made.nprobe == index.nprobe  # it follows the number of vectors, too
        made.target_recall = 0.5
        assert index.target_recall == expected  # the copy's is its own


def test_a_codec_that_was_trained_on_few_rows_has_measured_nothing(base) -> None:
    few = base[:200]  # 25 of them would be held out
    codec = wf.Codec.train(few, wf.Plan.waterfill(wf.analyze(few), code_bytes=8), cells=64)
    index = filled(codec, few)
    assert codec._core.list_recall == {"ip": ([], 0.0), "l2": ([], 0.0)}
    assert index.nprobe == 2
    assert index.list_recall() is None
    untrained = wf.IndexIVF(wf.Recipe(384, 8), 64)
    assert untrained.nprobe == 2
    with pytest.raises(wf.NotTrainedError):
        untrained.list_recall()
