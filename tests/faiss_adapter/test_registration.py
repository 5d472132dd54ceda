"""FAISS's functions in Python take waterfill indexes, or raise an error that names the way."""

from __future__ import annotations

import copy
import inspect
import io
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import waterfill as wf
from waterfill.faiss.functions import BY_NAME

faiss = pytest.importorskip("faiss")
wf.register_faiss()

D = 64
KINDS = ("WF16", "IVF8,WF16", "IDMap2,WF16", "IDMap,IVF8,WF16", "WF16,Refine(fp16)")
Make = Callable[..., Any]
every_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(scope="module")
def x(base: NDArray[np.float32]) -> NDArray[np.float32]:
    """Real vectors, quick to train on."""
    return np.ascontiguousarray(base[:3000, :D])


@pytest.fixture(scope="module")
def make(x: NDArray[np.float32]) -> Make:
    """Return an index of some kind with the first n vectors; every kind is trained once."""
    empty: dict[str, Any] = {}

    def make(kind: str = "WF16", n: int = 1000) -> Any:
        if kind not in empty:
            empty[kind] = wf.index_factory(D, kind)
            empty[kind].train(x)
        index = copy.deepcopy(empty[kind])
        if kind.startswith("IDMap"):
            index.add_with_ids(x[:n], np.arange(n) + 5000)
        else:
            index.add(x[:n])
        if isinstance(index, wf.IndexIVF):
            index.nprobe = 5
        return index

    return make


def assert_same(made: Any, index: Any, x: NDArray[np.float32]) -> None:
    assert type(made) is type(index)
    assert (made.ntotal, made.metric, made.refine) == (index.ntotal, index.metric, index.refine)
    assert getattr(made, "nprobe", None) == getattr(index, "nprobe", None)
    for ours, expected in zip(made.search(x[:50], 10), index.search(x[:50], 10), strict=True):
        np.testing.assert_array_equal(ours, expected)


# Files and bytes.


def through_path(index: Any, tmp_path: Path) -> Any:
    faiss.write_index(index, str(tmp_path / "index"))
    return faiss.read_index(str(tmp_path / "index"))


def through_vector(index: Any, tmp_path: Path) -> Any:
    writer, reader = faiss.VectorIOWriter(), faiss.VectorIOReader()
    faiss.write_index(index, writer)
    faiss.copy_array_to_vector(faiss.vector_to_array(writer.data), reader.data)
    return faiss.read_index(reader)


def through_callbacks(index: Any, tmp_path: Path) -> Any:
    file = io.BytesIO()
    faiss.write_index(index, faiss.BufferedIOWriter(faiss.PyCallbackIOWriter(file.write)))
    file.seek(0)
    return faiss.read_index(faiss.BufferedIOReader(faiss.PyCallbackIOReader(file.read)))


def through_file_writer(index: Any, tmp_path: Path) -> Any:
    writer = faiss.FileIOWriter(str(tmp_path / "index"))
    faiss.write_index(index, writer)
    del writer
    return faiss.read_index(faiss.FileIOReader(str(tmp_path / "index")))


def through_bytes(index: Any, tmp_path: Path) -> Any:
    return faiss.deserialize_index(faiss.serialize_index(index))


ways = pytest.mark.parametrize(
    "way", [through_path, through_vector, through_callbacks, through_file_writer, through_bytes]
)


@every_kind
@ways
def test_nothing_is_lost(
    make: Make, x: NDArray[np.float32], kind: str, way: Callable[..., Any], tmp_path: Path
) -> None:
    index = make(kind)
    made = way(index, tmp_path)
    assert_same(made, index, x)
    np.testing.assert_array_equal(made.ids(), index.ids())
    for each in (made, index):
        each.remove_ids(index.ids()[:7])
        each.add_with_ids(x[2000:2020], np.arange(20) + 9000)
    assert_same(made, index, x)


@ways
def test_indexes_of_faiss_pass_through(
    x: NDArray[np.float32], way: Callable[..., Any], tmp_path: Path
) -> None:
    index = faiss.IndexFlatL2(D)
    index.add(x[:100])
    made = way(index, tmp_path)
    assert type(made) is faiss.IndexFlatL2
    np.testing.assert_array_equal(made.reconstruct_n(), x[:100])


@pytest.mark.parametrize("kind", ["IDMap2,WF16", "IDMap,IVF8,WF16"])
def test_an_empty_id_map_stays_one(make: Make, kind: str) -> None:
    made = through_bytes(make(kind, n=0), Path())
    assert isinstance(made, faiss.IndexIDMap2)


def test_an_array_of_the_caller_is_not_lost_silently(make: Make, x: NDArray[np.float32]) -> None:
    index = wf.IndexFlat(make().codec, "l2", refine=x)
    for call in (
        lambda: faiss.write_index(index, "never"),
        lambda: faiss.serialize_index(index),
    ):
        with pytest.raises(ValueError, match=r"read_index\(path, refine=array\)"):
            call()
    with pytest.raises(ValueError, match="io_flags=1"):
        faiss.write_index(make(), "never", 1)
    with pytest.raises(TypeError, match=r"a path or a faiss\.IOWriter, got int"):
        faiss.write_index(make(), 3)
    with pytest.raises(wf.NotTrainedError):
        faiss.serialize_index(wf.index_factory(D, "WF16"))
    with pytest.raises(RuntimeError, match="No such file"):
        faiss.read_index("/no/such/file")


def test_another_process_reads_after_it_registers(make: Make, tmp_path: Path) -> None:
    faiss.write_index(make(), str(tmp_path / "index"))
    code = """
import sys, faiss
try:
    faiss.read_index(sys.argv[1])
except RuntimeError as error:
    assert "not recognized" in str(error)
import waterfill
waterfill.register_faiss()
print(faiss.read_index(sys.argv[1]))
"""
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "index")], capture_output=True, text=True
    )
    assert run.stdout.startswith("IndexFlat: 1,000 vectors"), run.stderr


# Functions.


@every_kind
def test_a_clone_is_independent(make: Make, x: NDArray[np.float32], kind: str) -> None:
    index = make(kind)
    made = faiss.clone_index(index)
    assert_same(made, index, x)
    made.reset()
    assert index.ntotal == 1000


def test_the_index_itself_is_what_faiss_casts_and_extracts(make: Make) -> None:
    flat, lists = make(), make("IVF8,WF16")
    assert faiss.downcast_index(flat) is flat
    assert faiss.extract_index_ivf(lists) is faiss.try_extract_index_ivf(lists) is lists
    faiss.extract_index_ivf(lists).nprobe = 3
    assert lists.nprobe == 3
    faiss.downcast_index(lists).reset()
    assert lists.ntotal == 0
    assert faiss.try_extract_index_ivf(flat) is None
    with pytest.raises(RuntimeError, match="searches all vectors"):
        faiss.extract_index_ivf(flat)
    stock = faiss.index_factory(D, "PCA8,IVF1,Flat")
    assert faiss.extract_index_ivf(stock).nlist == 1


@pytest.mark.parametrize("kind", ["WF16", "IVF8,WF16"])
@pytest.mark.parametrize("shift", [True, False])
def test_merge_into(make: Make, x: NDArray[np.float32], kind: str, shift: bool) -> None:
    index, other, both = make(kind), make(kind, n=0), make(kind, n=1500)
    other.add(x[1000:1500])
    faiss.check_compatible_for_merge(index, other)
    faiss.merge_into(index, other, shift)
    assert (index.ntotal, other.ntotal) == (1500, 0)
    np.testing.assert_array_equal(index.ids(), np.arange(1500))
    assert_same(index, both, x)
    with pytest.raises(TypeError, match="expected two waterfill indexes, got one and a IndexFlat"):
        faiss.merge_into(index, faiss.IndexFlatL2(D), True)


def test_parameters_are_set_by_name(make: Make, x: NDArray[np.float32]) -> None:
    index, space = make("IVF8,WF16"), faiss.ParameterSpace()
    space.set_index_parameter(index, "nprobe", 6)
    assert index.nprobe == 6
    space.set_index_parameters(index, "nprobe=4,k_factor_rf=2.5,prune_sigma=3")
    assert (index.nprobe, index.k_factor, index.prune_sigma) == (4, 2.5, 3)
    for call, message in (
        (lambda: space.set_index_parameter(index, "nprob", 4), "no parameter 'nprob'"),
        (lambda: space.set_index_parameter(make(), "nprobe", 4), "IndexFlat .* no parameter"),
        (lambda: space.set_index_parameter(index, "nprobe", 1.5), "must be an integer"),
        (lambda: space.set_index_parameters(index, "nprobe"), "expected name=number"),
    ):
        with pytest.raises(RuntimeError, match=message):
            call()
    graph = wf.index_factory(D, "IVF8_HNSW4,WF8")
    graph.train(x)
    space.set_index_parameter(graph, "quantizer_efSearch", 9)
    assert faiss.downcast_index(graph.quantizer).hnsw.efSearch == 9


def test_parameters_are_explored(make: Make, x: NDArray[np.float32]) -> None:
    index = make("IVF8,WF16", n=3000)
    exact = faiss.IndexFlatL2(D)
    exact.add(x)
    criterion = faiss.IntersectionCriterion(100, 10)
    criterion.set_groundtruth(None, exact.search(x[:100], 10)[1])
    criterion.nnn = 10
    space = faiss.ParameterSpace()
    space.initialize(index)
    assert space.n_combinations() == 4  # nprobe 1, 2, 4, 8
    found_points = space.explore(index, x[:100], criterion)
    best = found_points.optimal_pts.at(found_points.optimal_pts.size() - 1)
    index.nprobe = 8
    found = index.search(x[:100], 10)[1]
    exact_ids = exact.search(x[:100], 10)[1]
    shares = [len({*a} & {*b}) / 10 for a, b in zip(found, exact_ids, strict=True)]
    assert best.perf == pytest.approx(np.mean(shares), abs=1e-6)  # all lists find most
    index.nprobe = 1
    assert (index.search(x[:100], 10)[1] != found).any()
    space.initialize(make("WF16,Refine(fp16)"))
    assert space.combination_name(6) == "k_factor_rf=64"


def test_search_with_parameters(make: Make, x: NDArray[np.float32]) -> None:
    index = make("IVF8,WF16")
    params = faiss.SearchParametersIVF(nprobe=8)
    expected = index.search(x[:9], 4, params=params)
    for ours, theirs in zip(
        faiss.search_with_parameters(index, x[:9], 4, params), expected, strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
    limits = faiss.range_search_with_parameters(index, x[:9], 0.5, params)[0]
    np.testing.assert_array_equal(limits, index.range_search(x[:9], 0.5, params=params)[0])
    with pytest.raises(ValueError, match="output_stats=True"):
        faiss.search_with_parameters(index, x[:9], 4, params, True)


def test_a_factory_string_with_wf_is_ours(x: NDArray[np.float32]) -> None:
    index = faiss.index_factory(D, "IVF8,WF16", faiss.METRIC_INNER_PRODUCT)
    assert (type(index), index.metric) == (wf.IndexIVF, "ip")
    assert type(faiss.index_factory(D, "WF8")) is wf.IndexFlat
    assert type(faiss.index_factory(D, "Flat")) is faiss.IndexFlat


def test_a_translated_selector_selects_ids(make: Make, x: NDArray[np.float32]) -> None:
    index = make("IDMap2,WF16")
    chosen = np.arange(5000, 6000, 3)
    plain = faiss.IDSelectorBatch(chosen)
    expected = index.search(x[:20], 9, params=faiss.SearchParameters(sel=plain))[1]
    assert np.isin(expected, chosen).all()
    translated = faiss.IDSelectorTranslated(index, plain)
    for sel, ids in (
        (translated, expected),
        (faiss.IDSelectorAnd(translated, faiss.IDSelectorAll()), expected),
    ):
        found = index.search(x[:20], 9, params=faiss.SearchParameters(sel=sel))[1]
        np.testing.assert_array_equal(found, ids)
    numbers = faiss.Int64Vector()
    faiss.copy_array_to_vector(np.arange(5000, 6000), numbers)
    bare = faiss.SearchParameters(sel=faiss.IDSelectorTranslated(numbers, plain))
    with pytest.raises(ValueError, match="pass the selector that it translates"):
        index.search(x[:2], 3, params=bare)
    flat = make()  # its ids are the positions that the selector translates
    exact = flat.search(
        x[:20], 9, params=wf.SearchParameters(sel=wf.IDSelectorBatch(chosen - 5000))
    )
    np.testing.assert_array_equal(flat.search(x[:20], 9, params=bare)[1], exact[1])


# Everything else is refused.


def takes_an_index(call: Callable[..., Any]) -> bool:
    """Return whether SWIG says that a function or constructor has an Index as an argument."""
    for n in range(1, 9):
        try:
            call(*[object()] * n)
        except TypeError as error:
            if re.search(r"faiss::Index(IVF)?( const)? ?[*&]", str(error)):
                return True
        except Exception:
            continue
    return False


def calls_with_an_index() -> list[str]:
    names = []
    for name, value in inspect.getmembers(faiss):
        swig = inspect.isclass(value) and hasattr(value, "thisown")
        if not name.startswith("_") and (swig or inspect.isfunction(value)):
            names += [name] * takes_an_index(value)
    return names


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_each_call_of_faiss_takes_the_index_or_refuses_it(make: Make) -> None:
    index = make("IVF8,WF16", n=10)
    names = calls_with_an_index()
    assert len(names) > 40
    for name in sorted({*names} - {*BY_NAME}):
        for n in (1, 2, 3):
            with pytest.raises(TypeError, match=r"got a waterfill index.*waterfill\.to_faiss"):
                getattr(faiss, name)(*[index] * n)
    assert index.ntotal == 10


@pytest.mark.parametrize(
    ("call", "way"),
    [
        (lambda i, f: f.merge_from(i, 0), "waterfill.to_faiss"),
        (lambda i, f: f.check_compatible_for_merge(i), "waterfill.to_faiss"),
        (lambda i, f: faiss.IndexShards(D).add_shard(i), "Merge the shards"),
        (lambda i, f: faiss.IndexReplicas(D).add_replica(i), "waterfill.to_faiss"),
        (lambda i, f: faiss.Clustering(D, 4).train(i.reconstruct_n(), i), "waterfill.to_faiss"),
        (lambda i, f: faiss.IndexIDMap2(i), "add_with_ids"),
        (lambda i, f: faiss.IndexRefineFlat(i), "refine='float32'"),
        (lambda i, f: faiss.IndexIVFFlat(i, D, 4), "waterfill.IndexIVF"),
        (lambda i, f: faiss.index_cpu_to_all_gpus(i), "on the CPU"),
    ],
)
def test_the_error_names_the_way(make: Make, call: Callable[..., Any], way: str) -> None:
    with pytest.raises(TypeError, match=re.escape(way)):
        call(make(), faiss.IndexFlatL2(D))


def test_functions_that_registration_cannot_reach(make: Make) -> None:
    """A function imported before: SWIG drops the reason, so a warning gives it."""
    index = make()
    with (
        pytest.warns(RuntimeWarning, match=r"waterfill\.to_faiss"),
        pytest.raises(TypeError, match="faiss::Index"),
    ):
        faiss.swigfaiss.write_index(index, "never")
    assert not Path("never").exists()
    with pytest.warns(RuntimeWarning), pytest.raises(TypeError, match="to_faiss"):
        _ = index.this
    composite = faiss.IndexRefineFlat(wf.to_faiss(make(n=0)))
    assert composite.ntotal == 0


# Attributes.


def test_attributes_without_an_effect_are_refused(make: Make) -> None:
    flat, lists = make(), make("IVF8,WF16")
    for index, name, message in (
        (flat, "nprobe", "it searches all vectors"),
        (lists, "nprob", "did you mean 'nprobe'"),
        (lists, "max_codes", "no attribute 'max_codes'"),
        (flat, "pq", "codec holds the codebooks"),
        (lists, "invlists", "list_sizes"),
    ):
        with pytest.raises(AttributeError, match=message):
            setattr(index, name, 4)
        with pytest.raises(AttributeError, match=message):
            getattr(index, name)


@pytest.mark.parametrize("kind", ["IDMap2,WF16", "IDMap,IVF8,WF16"])
def test_an_id_map_is_one_for_isinstance(make: Make, kind: str) -> None:
    for index in (wf.index_factory(D, kind), make(kind, n=0), make(kind)):
        again = pickle.loads(pickle.dumps(index))
        for each in (index, copy.copy(index), copy.deepcopy(index), again):
            assert isinstance(each, faiss.IndexIDMap2)
            assert isinstance(each, faiss.IndexIDMap)
            assert isinstance(each, wf.IndexFlat | wf.IndexIVF)
            assert type(each) is type(index)
            assert each.ntotal == index.ntotal
            assert not hasattr(each, "index")
            assert "add_with_ids" in dir(each)
    ids = make(kind).id_map
    np.testing.assert_array_equal(faiss.vector_to_array(ids), np.arange(1000) + 5000)
    assert ids.at(3) == 5003
    with pytest.raises(ValueError, match="read-only"):
        ids[0] = 4
    with pytest.raises(RuntimeError, match="call add_with_ids"):
        make(kind).add(np.zeros((1, D), np.float32))


def test_explicit_ids_are_a_map_too(make: Make, x: NDArray[np.float32], tmp_path: Path) -> None:
    assert not isinstance(make(), faiss.Index)
    with pytest.raises(AttributeError, match="its ids are positions"):
        _ = make().id_map
    wf.write_index(make("IDMap2,WF16"), tmp_path / "index.wf")
    assert isinstance(wf.read_index(tmp_path / "index.wf"), faiss.IndexIDMap2)
    stock = faiss.IndexIDMap2(faiss.IndexFlatL2(D))
    stock.add_with_ids(x[:500], np.arange(500) + 3)
    index = wf.compress(stock, 16)
    assert isinstance(index, faiss.IndexIDMap2)
    with pytest.raises(TypeError, match="got IndexFlat"):
        wf.compress(index)


def test_without_faiss(x: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    index = wf.index_factory(D, "IDMap2,WF4")
    index.train(x)
    assert type(index) is index.__class__ is wf.IndexFlat
    with pytest.raises(ImportError, match=r'pip install "\.\[faiss\]"'):
        wf.register_faiss()
    with pytest.warns(RuntimeWarning), pytest.raises(TypeError, match="waterfill index"):
        _ = index.this
