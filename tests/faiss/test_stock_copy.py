"""FAISS's own functions take our index: by a stock copy that follows it, and says what it loses."""

from __future__ import annotations

import copy
import gc
import pickle
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support import trained

import waterfill as wf

faiss = pytest.importorskip("faiss")

D = 64
LOSES = "loses the scale of each vector"
CHANGED = "has changed since FAISS got its copy"
Make = Callable[..., Any]


@pytest.fixture(scope="module")
def x(base: NDArray[np.float32]) -> NDArray[np.float32]:
    """Real, and quick to train on."""
    return np.ascontiguousarray(base[:3000, :D])


@pytest.fixture(scope="module")
def make(x: NDArray[np.float32]) -> Make:
    """Return an index of some kind with the first n vectors; every kind is trained once."""
    empty: dict[str, Any] = {}

    def make(kind: str = "WF16", n: int = 1000) -> Any:
        if kind not in empty:
            empty[kind] = wf.index_factory(D, kind)
            empty[kind].train(x)
            if isinstance(empty[kind], wf.IndexIVF):
                empty[kind].nprobe = 8
        index = copy.deepcopy(empty[kind])
        if kind.startswith("IDMap"):
            index.add_with_ids(x[:n], np.arange(n) + 5000)
        else:
            index.add(x[:n])
        return index

    return make


every_kind = pytest.mark.parametrize(
    "kind", ["WF16", "IVF8,WF16", "IDMap2,WF16", "IDMap,IVF8,WF16"]
)


def check_same(index: Any, made: Any, x: NDArray[np.float32]) -> None:
    """The stock index has the same ids, and finds nearly the same."""
    assert made.ntotal == index.ntotal
    if hasattr(index, "nprobe"):
        assert faiss.extract_index_ivf(made).nprobe == index.nprobe
    ours, theirs = index.search(x[:100], 10)[1], made.search(x[:100], 10)[1]
    both = [len(np.intersect1d(a, b)) / 10 for a, b in zip(ours, theirs, strict=True)]
    assert np.mean(both) > 0.8


@every_kind
def test_write_index(make: Make, x: NDArray[np.float32], kind: str, tmp_path: Path) -> None:
    index = make(kind)
    with pytest.warns(wf.FaissCopyWarning, match=LOSES):
        faiss.write_index(index, str(tmp_path / "index"))
    made = faiss.read_index(str(tmp_path / "index"))
    outermost = faiss.IndexIDMap2 if kind.startswith("IDMap") else faiss.IndexPreTransform
    assert type(made) is outermost
    check_same(index, made, x)


@every_kind
def test_serialize_and_clone(make: Make, x: NDArray[np.float32], kind: str) -> None:
    index = make(kind)
    with pytest.warns(wf.FaissCopyWarning, match=LOSES):
        data = faiss.serialize_index(index)
    check_same(index, faiss.deserialize_index(data), x)
    made = faiss.clone_index(index)
    check_same(index, made, x)
    with pytest.warns(wf.FaissCopyWarning, match=LOSES):
        faiss.clone_index(make(kind))
    if kind == "IVF8,WF16":
        index.nprobe = 3
        assert faiss.extract_index_ivf(faiss.clone_index(index)).nprobe == 3


def test_refine_flat_over_an_empty_index(make: Make, x: NDArray[np.float32]) -> None:
    index = make(n=0)
    refined = faiss.IndexRefineFlat(index)
    refined.k_factor = 10
    del index
    gc.collect()
    refined.add(x[:1000])
    exact = faiss.IndexFlatL2(D)
    exact.add(x[:1000])
    found, wanted = (each.search(x[:100], 5)[1] for each in (refined, exact))
    assert np.mean(found == wanted) > 0.9


def test_refine_over_a_full_index(make: Make, x: NDArray[np.float32]) -> None:
    index = make()
    exact = faiss.IndexFlatL2(D)
    exact.add(x[:1000])
    with pytest.warns(wf.FaissCopyWarning, match=LOSES):
        refined = faiss.IndexRefine(index, exact)
    assert refined.ntotal == 1000
    refined.k_factor = 20
    np.testing.assert_array_equal(refined.search(x[:50], 1)[1][:, 0], np.arange(50))


def test_id_map_over_an_empty_index(make: Make, x: NDArray[np.float32]) -> None:
    mapped = faiss.IndexIDMap2(make(n=0))
    gc.collect()
    mapped.add_with_ids(x[:500], np.arange(500) + 70)
    np.testing.assert_array_equal(mapped.search(x[:50], 1)[1][:, 0], np.arange(50) + 70)


@every_kind
def test_a_change_is_followed_in_place(make: Make, x: NDArray[np.float32], kind: str) -> None:
    index = make(kind)
    with pytest.warns(wf.FaissCopyWarning, match=LOSES):
        first = index.this
    composite = faiss.IndexShards(D)
    composite.add_shard(index)
    if kind.startswith("IDMap"):
        index.add_with_ids(x[1000:1500], np.arange(1000, 1500))
    else:
        index.add(x[1000:1500])
    index.remove_ids(np.array([5003, 7]))
    with pytest.warns(wf.FaissCopyWarning, match=CHANGED):
        check_same(index, faiss.clone_index(index), x)
    assert int(index.this) == int(first)
    query = x[1400:1401]
    assert composite.search(query, 3)[1][0, 0] == index.search(query, 3)[1][0, 0]


def test_ids_of_its_own_and_none_again(x: NDArray[np.float32]) -> None:
    """What FAISS holds stays alive when the copy gets an IndexIDMap2 around it (no cells)."""
    index = wf.IndexFlat(trained.trained(x, 16, cells=0), "l2")
    composite = faiss.IndexShards(D)
    composite.add_shard(index)
    index.add_with_ids(x[:300], np.arange(300) + 40)
    with pytest.warns(wf.FaissCopyWarning):
        made = faiss.clone_index(index)
    assert type(made) is faiss.IndexIDMap2
    check_same(index, made, x)
    assert composite.search(x[:1], 1)[1][0, 0] == 0  # it has what is under the map
    index.reset()
    index.add(x[:200])
    check_same(index, faiss.clone_index(index), x)


def test_each_warning_comes_once(make: Make, x: NDArray[np.float32]) -> None:
    index = make(n=0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        faiss.serialize_index(index)
        assert caught == []  # an empty one loses nothing
        for first in range(0, 300, 100):
            index.add(x[first : first + 100])
            for _ in range(2):
                faiss.serialize_index(index)
    texts = [str(each.message) for each in caught]
    assert len(texts) == 2
    assert CHANGED in texts[0]
    assert LOSES in texts[1]
    assert all("docs/faiss-export.md" in text for text in texts)


@pytest.mark.parametrize("metric", ["l2", "cosine"])
def test_rows_to_refine_with(x: NDArray[np.float32], metric: str) -> None:
    index = wf.index_factory(D, "WF16,Refine(fp16)", metric)
    index.train(x)
    index.add(x[:500])
    with pytest.warns(wf.FaissCopyWarning, match=LOSES):
        first = int(index.this)
    index.add(x[500:900])
    index.k_factor = 9
    with pytest.warns(wf.FaissCopyWarning, match=CHANGED):
        made = faiss.deserialize_index(faiss.serialize_index(index))
    assert int(index.this) == first
    found = made.search(x[:900], 1)[1][:, 0]
    assert np.mean(found == np.arange(900)) > 0.97
    own = wf.IndexFlat(index.codec, metric, refine=x)
    own.add(x[:100])
    with pytest.warns(wf.FaissCopyWarning, match="and the refinement array"):
        faiss.serialize_index(own)


def test_what_faiss_adds_stays_with_faiss(make: Make, x: NDArray[np.float32]) -> None:
    index = make(n=0)
    composite = faiss.IndexRefineFlat(index)
    composite.add(x[:100])
    assert index.ntotal == 0
    with pytest.warns(wf.FaissCopyWarning, match="does not reach the index"):
        assert faiss.clone_index(index).ntotal == 0
    index.add(x[:50])
    with pytest.warns(wf.FaissCopyWarning):
        assert faiss.clone_index(index).ntotal == 50
    np.testing.assert_array_equal(composite.search(x[:90], 1)[1][:, 0], np.arange(90))


@pytest.mark.parametrize("kind", ["WF16", "IDMap2,WF16"])
def test_faiss_may_own_the_copy(make: Make, x: NDArray[np.float32], kind: str) -> None:
    index = make(kind, n=0)
    composite = faiss.IndexRefineFlat(index)
    index.this.disown()
    composite.own_fields = True
    del composite
    index.add(x[:10])
    with pytest.warns(wf.FaissCopyWarning, match=LOSES):
        assert faiss.clone_index(index).ntotal == 10


def test_many_come_and_go(make: Make) -> None:
    """FAISS's classes outlive the copies: SWIG's counts are right."""
    for kind in ("WF16", "IDMap2,WF16"):
        for _ in range(20):
            faiss.clone_index(make(kind, n=0))
    gc.collect()
    assert faiss.IndexFlatL2(D).ntotal == 0


def test_an_error_has_its_reason_in_a_warning() -> None:
    index = wf.index_factory(D, "WF16")
    with pytest.warns(wf.FaissCopyWarning, match="call train"), pytest.raises(TypeError):
        faiss.serialize_index(index)
    with pytest.warns(wf.FaissCopyWarning), pytest.raises(wf.NotTrainedError):
        _ = index.this


# An index with its own ids is an IndexIDMap2 for isinstance.


@pytest.mark.parametrize("kind", ["IDMap2,WF16", "IDMap,IVF8,WF16"])
def test_an_id_map_is_one_for_isinstance(make: Make, kind: str) -> None:
    for index in (wf.index_factory(D, kind), make(kind, n=0), make(kind)):
        for each in (index, copy.copy(index), copy.deepcopy(index)):
            assert isinstance(each, faiss.IndexIDMap2)
            assert isinstance(each, faiss.IndexIDMap)
            assert isinstance(each, wf.IndexFlat | wf.IndexIVF)
            assert type(each) is type(index)
            assert not hasattr(each, "id_map")
            assert "add_with_ids" in dir(each)
            assert "id_map" not in dir(each)
        again = pickle.loads(pickle.dumps(index))
        assert isinstance(again, faiss.IndexIDMap2)
        assert again.ntotal == index.ntotal


def test_ids_of_its_own_are_a_map_too(make: Make, x: NDArray[np.float32], tmp_path: Path) -> None:
    assert not isinstance(make(), faiss.Index)
    wf.write_index(make("IDMap2,WF16"), tmp_path / "index.wf")
    assert isinstance(wf.read_index(tmp_path / "index.wf"), faiss.IndexIDMap2)
    stock = faiss.IndexIDMap2(faiss.IndexFlatL2(D))
    stock.add_with_ids(x[:500], np.arange(500) + 3)
    index = wf.compress(stock, 16)
    assert isinstance(index, faiss.IndexIDMap2)
    with pytest.raises(TypeError, match="got IndexFlat"):
        wf.compress(index)


def test_an_empty_id_map_stays_one_in_a_file(make: Make, x: NDArray[np.float32]) -> None:
    for kind in ("IDMap2,WF16", "IDMap,IVF8,WF16"):
        made = faiss.deserialize_index(faiss.serialize_index(make(kind, n=0)))
        assert type(made) is faiss.IndexIDMap2
        made.add_with_ids(x[:20], np.arange(20) + 9)
        np.testing.assert_array_equal(made.search(x[:5], 1)[1][:, 0], np.arange(5) + 9)


def test_without_faiss(x: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    index = wf.index_factory(D, "IDMap2,WF4")
    index.train(x)
    assert type(index) is index.__class__ is wf.IndexFlat
    with pytest.raises(ImportError, match=r'pip install "waterfill\[faiss\]"'):
        _ = index.this
