"""Methods and attributes of a faiss.Index: there, with its arguments, results of its kind."""

from __future__ import annotations

import copy
import inspect
import pickle
from collections.abc import Callable
from typing import Any

import faiss
import numpy as np
import pytest

import waterfill as wf

X = np.random.default_rng(0).standard_normal((500, 8)).astype(np.float32)
KINDS = ("flat", "lists")
METHODS = (
    "add",
    "add_sa_codes",
    "add_with_ids",
    "assign",
    "check_compatible_for_merge",
    "merge_from",
    "range_search",
    "reconstruct",
    "reconstruct_batch",
    "reconstruct_n",
    "remove_ids",
    "reset",
    "sa_code_size",
    "sa_decode",
    "sa_encode",
    "search",
    "search_and_reconstruct",
    "train",
)
ATTRIBUTES = ("d", "is_trained", "metric_arg", "metric_type", "ntotal", "verbose")
OF_LISTS = ("get_list_size", "make_direct_map")


def pair(kind: str) -> tuple[Any, Any]:
    if kind == "flat":
        theirs, ours = faiss.IndexFlatL2(8), wf.IndexFlat(wf.Recipe(8, 6), "l2")
    else:
        theirs = faiss.IndexIVFFlat(faiss.IndexFlatL2(8), 8, 4, faiss.METRIC_L2)
        ours = wf.IndexIVF(wf.Recipe(8, 6), 4, metric="l2")
    for index in (theirs, ours):
        index.train(X)
        index.add(X)
        if kind == "lists":
            index.nprobe = 4
            index.make_direct_map()
    return theirs, ours


@pytest.mark.parametrize("kind", KINDS)
def test_methods_take_the_same_arguments(kind):
    """More may have a default of ours, and none is missing."""
    theirs, ours = pair(kind)
    for name in METHODS + (OF_LISTS if kind == "lists" else ()):
        wanted = inspect.signature(getattr(theirs, name)).parameters
        got = inspect.signature(getattr(ours, name)).parameters
        assert [*wanted] == [*got][: len(wanted)], name
        for key, argument in wanted.items():
            if not key.startswith("numeric_type"):  # FAISS takes it by position, too
                assert got[key].kind == argument.kind, (name, key)
            if argument.default is not inspect.Parameter.empty:
                assert got[key].default == argument.default, (name, key)


@pytest.mark.parametrize("kind", KINDS)
def test_attributes_have_the_same_values(kind):
    theirs, ours = pair(kind)
    for name in ATTRIBUTES + (("nlist", "nprobe", "own_fields") if kind == "lists" else ()):
        assert getattr(ours, name) == getattr(theirs, name), name
        assert type(getattr(ours, name)) is type(getattr(theirs, name)), name
    for name, value in (("verbose", True), ("metric_arg", 2.0)):
        for index in (theirs, ours):
            setattr(index, name, value)
        for again in (pickle.loads(pickle.dumps(ours)), copy.copy(ours), copy.deepcopy(ours)):
            assert getattr(again, name) == value
            assert again.ntotal == 500


def shape_of(result: Any) -> Any:
    if isinstance(result, tuple):
        return [shape_of(part) for part in result]
    if isinstance(result, np.ndarray):
        return result.dtype, result.shape, result.flags.c_contiguous
    return result


CALLS: dict[str, Callable[[Any], Any]] = {
    "search": lambda i: i.search(X[:3], 4),
    "search by name": lambda i: i.search(x=X[:3], k=4, params=None, D=None, I=None),
    "assign": lambda i: i.assign(X[:3], 2),
    "search_and_reconstruct": lambda i: i.search_and_reconstruct(X[:3], 600),
    "range_search": lambda i: i.range_search(X[:3], 1e9),
    "reconstruct": lambda i: i.reconstruct(3),
    "reconstruct_n": lambda i: (i.reconstruct_n(), i.reconstruct_n(2, 5), i.reconstruct_n(0, 0)),
    "reconstruct_batch": lambda i: i.reconstruct_batch([1, 5, 1]),
    "sa_encode": lambda i: i.sa_encode(X[:2]).dtype,
    "sa_code_size": lambda i: type(i.sa_code_size()),
    "sa_decode": lambda i: i.sa_decode(i.sa_encode(X[:2])),
    "reset": lambda i: (i.reset(), i.ntotal),
    "add": lambda i: (i.add(X[:7]), i.ntotal),
    "add with numeric_type": lambda i: (i.add(X[:7], faiss.Float32), i.ntotal),
    "add_sa_codes": lambda i: (i.add_sa_codes(i.sa_encode(X[:2])), i.ntotal),
    "train with numeric_type": lambda i: (i.train(X, numeric_type=faiss.Float32), i.ntotal),
    "merge_from": lambda i: (i.merge_from(emptied(i), 0), i.ntotal),
    "check_compatible_for_merge": lambda i: i.check_compatible_for_merge(emptied(i)),
}


def emptied(index: Any) -> Any:
    """An index of the same kind; FAISS merges no index with a direct map."""
    if isinstance(index, faiss.IndexIVF):
        index.set_direct_map_type(faiss.DirectMap.NoMap)
    other = copy.deepcopy(index)
    other.reset()
    return other


if not hasattr(faiss, "Float32"):  # before 1.12
    CALLS = {name: call for name, call in CALLS.items() if "numeric_type" not in name}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", CALLS)
def test_results_have_the_same_order_dtypes_and_shapes(kind, name):
    theirs, ours = (shape_of(CALLS[name](index)) for index in pair(kind))
    assert ours == theirs


@pytest.mark.parametrize("kind", KINDS)
def test_results_go_where_they_are_wanted(kind):
    for index in pair(kind):
        x, D, I, R, labels = (  # noqa: E741
            np.empty(shape, dtype)
            for shape, dtype in (
                (8, "f4"),
                ((3, 2), "f4"),
                ((3, 2), "i8"),
                ((3, 2, 8), "f4"),
                ((3, 2), "i8"),
            )
        )
        assert index.reconstruct(5, x) is x
        np.testing.assert_array_equal(x, index.reconstruct(5))
        found = index.search_and_reconstruct(X[:3], 2, D=D, I=I, R=R)
        assert all(a is b for a, b in zip(found, (D, I, R), strict=True))
        assert index.assign(X[:3], 2, labels) is labels
        np.testing.assert_array_equal(labels, I)
        again = index.search(X[:3], 2, D=D, I=I)
        assert again[0] is D
        assert again[1] is I


def test_queries_to_train_with_are_those_of_a_codec(clustered):
    queries = clustered[:400] * np.linspace(3, 0, 20, dtype="f4")
    for made, cells in (
        (wf.IndexFlat(wf.Recipe(20, 6), "l2"), "auto"),
        (wf.IndexIVF(wf.Recipe(20, 6), 16, metric="l2"), 16),
    ):
        made.train(clustered, xq_train=queries)
        expected = wf.Recipe(20, 6).train(clustered, "l2", cells=cells, queries=queries)
        assert made.codec.fingerprint == expected.fingerprint


def test_the_parameter_space_of_a_graph(base_64, queries_64) -> None:
    index = wf.IndexHNSW(64, 16)
    index.train(base_64)
    index.add(base_64[:1000])
    space = faiss.ParameterSpace()
    space.initialize(index)
    assert [space.combination_name(i) for i in range(2)] == ["efSearch=4", "efSearch=8"]
    space.set_index_parameters(index, "efSearch=33")
    assert index.hnsw.efSearch == 33
    with pytest.raises(RuntimeError, match="expected one of efSearch, efConstruction"):
        space.set_index_parameter(index, "nprobe", 3)
    with pytest.raises(RuntimeError, match="must be an integer"):
        space.set_index_parameter(index, "efSearch", 3.5)
