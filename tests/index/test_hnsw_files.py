"""Graphs in files and copies: all that they are comes back, and damage is refused."""

from __future__ import annotations

import copy
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from support.container import Container

import waterfill as wf

GOLDEN = Path(__file__).parents[1] / "golden" / "graph"
LINKS = 8


@pytest.fixture(scope="module")
def index(clustered: NDArray[np.float32]) -> wf.IndexHNSW:
    index = wf.IndexHNSW(clustered.shape[1], LINKS, "ip")
    index.hnsw.efSearch, index.hnsw.efConstruction = 33, 44
    index.train(clustered)
    index.add_with_ids(clustered[:300], np.arange(300) * 5 + 1)
    return index


@pytest.fixture(scope="module")
def data(index: wf.IndexHNSW, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("graph") / "graph.wf"
    wf.write_index(index, path)
    return path.read_bytes()


def same(a: Any, b: Any, x: NDArray[np.float32]) -> None:
    assert type(a) is type(b) is wf.IndexHNSW
    assert (a.d, a.M, a.metric, a.ntotal, a.has_ids) == (b.d, b.M, b.metric, b.ntotal, b.has_ids)
    assert repr(a.hnsw) == repr(b.hnsw)
    np.testing.assert_array_equal(a.ids(), b.ids())
    for one, other in zip(a.search(x, 10), b.search(x, 10), strict=True):
        np.testing.assert_array_equal(one, other)


def test_files_and_copies(
    index: wf.IndexHNSW, clustered: NDArray[np.float32], tmp_path: Path
) -> None:
    wf.write_index(index, tmp_path / "graph.wf")
    copies = [wf.read_index(tmp_path / "graph.wf"), copy.deepcopy(index)]
    copies += [pickle.loads(pickle.dumps(index, protocol)) for protocol in (2, 5)]
    for one in copies:
        same(one, index, clustered[:50])
        one.add(clustered[300:310])
        assert one.ids(300).tolist() == list(range(1497, 1507))
        assert one.remove_ids([1, 6]) == 2
    assert index.ntotal == 300
    wf.write_index(copies[0], tmp_path / "again.wf")
    same(wf.read_index(tmp_path / "again.wf"), copies[0], clustered[:50])


def test_an_index_that_is_not_trained() -> None:
    index = wf.index_factory(12, "IDMap,WFHNSW9", "cosine")
    assert isinstance(index, wf.IndexHNSW)
    index.hnsw.efSearch = 7
    again = pickle.loads(pickle.dumps(index))
    assert (again.d, again.M, again.metric, again.hnsw.efSearch) == (12, 9, "cosine", 7)
    with pytest.raises(wf.MissingIdError):
        again.add(np.zeros((1, 12)))


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.wf")), ids=lambda path: path.stem)
def test_golden(path: Path, tmp_path: Path) -> None:
    index, expected = wf.read_index(path), np.load(path.with_suffix(".npz"))
    wf.write_index(index, tmp_path / "again.wf")
    assert (tmp_path / "again.wf").read_bytes() == path.read_bytes()
    distances, labels = index.search(expected["queries"], 5)
    np.testing.assert_array_equal(labels, expected["labels"])
    np.testing.assert_allclose(distances, expected["distances"], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(index.reconstruct_n(0, 40), expected["decoded"], atol=1e-5)


def test_there_are_golden_files() -> None:
    assert len(list(GOLDEN.glob("*.wf"))) >= 2


def damaged(data: bytes, tag: str, at: int, value: bytes) -> bytes:
    """Return a file with other bytes in a section, and checksums that fit."""
    file = Container.parse(data)
    section = next(s for s in file.sections if s.tag.rstrip(b"\0") == tag.encode())
    section.data = section.data[:at] + value + section.data[at + len(value) :]
    return file.to_bytes()


@pytest.mark.parametrize(
    ("tag", "at", "value", "message"),
    [
        ("LINKS", 4, struct.pack("<I", 300), "row 0 has an invalid link"),
        ("LINKS", 32, struct.pack("<I", 1), "row 1 has an invalid link"),
        ("LINKS", 64, struct.pack("<II", 2**32 - 1, 5), "row 2 has an invalid link"),
        ("FRONTS", 64, struct.pack("<f", np.nan), "head of a row"),
        ("FRONTS", 68, struct.pack("<f", -1), "head of a row"),
        ("STEPS", 0, struct.pack("<f", 0), "steps"),
        ("BASIS", 0, struct.pack("<f", 9), "basis"),
        ("MEAN", 0, struct.pack("<f", np.nan), "mean"),
        ("IDS", 8, struct.pack("<q", -1), "id of -1"),
        ("NEXTID", 0, struct.pack("<q", 1496), "NEXTID has the id"),
        ("NEXTID", 0, struct.pack("<q", -(2**63)), "NEXTID has the id"),
        ("LINKS", 0, struct.pack("<I", 0), "row 0 has an invalid link"),
        ("BASIS", 0, struct.pack("<f", np.inf), "basis"),
        ("STEPS", 0, struct.pack("<f", np.inf), "steps"),
        ("FRONTS", 72, struct.pack("<f", np.inf), "head of a row"),
        ("GRAPH", 0, struct.pack("<I", 3), "metric"),
        ("GRAPH", 4, struct.pack("<I", 0), "dimensions"),
        ("GRAPH", 4, struct.pack("<I", 131073), "dimensions"),
        ("GRAPH", 8, struct.pack("<I", 1), "links"),
        ("GRAPH", 8, struct.pack("<I", 257), "links"),
        ("GRAPH", 12, struct.pack("<I", 0), "settings"),
        ("GRAPH", 16, struct.pack("<I", 0), "settings"),
        ("GRAPH", 20, struct.pack("<I", 0), "IDS does not belong"),
        ("GRAPH", 24, struct.pack("<Q", 299), "expected"),
        ("GRAPH", 24, struct.pack("<Q", 2**40), "more vectors"),
    ],
)
def test_damage_with_valid_checksums(
    data: bytes, tmp_path: Path, tag: str, at: int, value: bytes, message: str
) -> None:
    (tmp_path / "bad.wf").write_bytes(damaged(data, tag, at, value))
    with pytest.raises(wf.FormatError, match=message):
        wf.read_index(tmp_path / "bad.wf")


@pytest.mark.parametrize("tag", ["FRONTS", "STEPS"])
def test_numbers_that_are_valid_and_huge(
    data: bytes, clustered: NDArray[np.float32], tmp_path: Path, tag: str
) -> None:
    """Distances that overflow are no NaN: links are chosen by distance, in an order."""
    file = Container.parse(data)
    section = next(s for s in file.sections if s.tag.rstrip(b"\0") == tag.encode())
    numbers = np.frombuffer(section.data, np.float32).reshape(-1, 16 if tag == "FRONTS" else 1)
    numbers = numbers.copy()
    numbers[::2, :2] = np.finfo(np.float32).max
    section.data = numbers.tobytes()
    (tmp_path / "huge.wf").write_bytes(file.to_bytes())
    index = wf.read_index(tmp_path / "huge.wf")
    index.remove_ids(np.arange(50) * 15 + 1)
    index.add(clustered[300:400])
    assert index.ntotal == 350
    distances, ids = index.search(clustered[:20], 5)
    assert not np.isnan(distances).any()
    assert np.isin(ids, index.ids()).all()
    assert not np.isnan(index.reconstruct_n(0, 350)).any()


@given(at=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_a_flipped_bit_is_noticed(
    data: bytes, tmp_path_factory: pytest.TempPathFactory, at: int, bit: int
) -> None:
    changed = bytearray(data)
    changed[at % len(data)] ^= 1 << bit
    path = tmp_path_factory.mktemp("flip") / "bad.wf"
    path.write_bytes(changed)
    with pytest.raises(wf.FormatError):
        wf.read_index(path)


def test_what_a_graph_file_cannot_do(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "graph.wf"
    path.write_bytes(data)
    for options in ({"mmap": True}, {"rows": "mmap"}, {"refine": np.zeros((300, 20), np.float32)}):
        with pytest.raises(ValueError, match="holds a graph"):
            wf.read_index(path, **options)
    with pytest.raises(wf.FormatError, match="graph index"):
        wf.read_codec(path)


def test_faiss_functions(
    index: wf.IndexHNSW, clustered: NDArray[np.float32], tmp_path: Path
) -> None:
    faiss = pytest.importorskip("faiss")
    wf.register_faiss()
    faiss.write_index(index, str(tmp_path / "graph.wf"))
    same(faiss.read_index(str(tmp_path / "graph.wf")), index, clustered[:20])
    same(faiss.deserialize_index(faiss.serialize_index(index)), index, clustered[:20])
    same(faiss.clone_index(index), index, clustered[:20])
    made = faiss.index_factory(20, "WFHNSW16")
    assert isinstance(made, wf.IndexHNSW)
    params = faiss.SearchParametersHNSW()
    params.efSearch = 100
    params.sel = faiss.IDSelectorRange(1, 500)
    found = index.search(clustered[:5], 3, params=params)[1]
    assert (found < 500).all()
    with pytest.raises(RuntimeError, match="IndexHNSW"):
        faiss.extract_index_ivf(index)
    with pytest.raises(TypeError, match="waterfill"):
        faiss.IndexIDMap(index)
