"""Arrays, tensors and sequences in memory: each is read as what it is, or refused with words."""

from __future__ import annotations

import pickle

import joblib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import waterfill as wf
from waterfill.data.rows import Rows

torch = pytest.importorskip("torch")  # Macs with Intel processors have none


def read(x: object, name: str = "x") -> np.ndarray:
    """All rows, after checking that gathered ones are the same."""
    rows = Rows(x, name)
    whole = np.concatenate([block for _, block in rows.blocks(finite=False)])
    chosen = np.arange(0, rows.n, 2)
    np.testing.assert_array_equal(rows.take(chosen, finite=False), whole[chosen])
    return whole


def unaligned(x: np.ndarray) -> np.ndarray:
    raw = np.zeros(x.nbytes + 1, dtype=np.uint8)
    view = raw[1:].view(x.dtype).reshape(x.shape)
    view[...] = x
    return view


def in_a_structure(x: np.ndarray) -> np.ndarray:
    table = np.zeros(len(x), dtype=[("id", "i1"), ("vector", x.dtype, (x.shape[1],))])
    table["vector"] = x
    return table["vector"]


LAYOUTS = {
    "pickled": lambda x: pickle.loads(pickle.dumps(x)),
    "newbyteorder": lambda x: x.view(x.dtype.newbyteorder("=")),
    "other byte order": lambda x: x.astype(x.dtype.newbyteorder("S")),
    "Fortran": np.asfortranarray,
    "with gaps": lambda x: np.repeat(x, 2, axis=1)[:, ::2],
    "backwards": lambda x: x[::-1, ::-1].copy()[::-1, ::-1],
    "unaligned": unaligned,
    "field of a structure": in_a_structure,
    "read-only": lambda x: np.frombuffer(x.tobytes(), x.dtype).reshape(x.shape),
    "matrix": np.asmatrix,
    "masked, nothing masked": np.ma.masked_array,
}


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
@pytest.mark.parametrize("layout", LAYOUTS)
@given(
    hnp.arrays(
        st.sampled_from(["f2", "f4", "f8", "i8", "u1", "i2", "?"]),
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=5),
    )
)
def test_a_layout_changes_no_value(layout, x):
    with np.errstate(over="ignore"):
        expected = x.astype(np.float32)
    np.testing.assert_array_equal(read(LAYOUTS[layout](x)), expected)


@given(st.data())
def test_masked_values_are_never_data(data):
    x = np.arange(12, dtype=np.float32).reshape(4, 3)
    mask = data.draw(hnp.arrays(bool, x.shape))
    masked = np.ma.masked_array(x, mask)
    if mask.any():
        row = int(np.flatnonzero(mask.any(axis=1))[0])
        with pytest.raises(
            ValueError,
            match=rf"x is a masked array with {mask.sum()} masked values, the first in row {row}; "
            r"fill them, x.filled\(value\), or drop their rows",
        ):
            Rows(masked)
        kept = masked[~masked.mask.any(axis=1)]  # as the message says
        if len(kept):
            np.testing.assert_array_equal(read(kept), x[~mask.any(axis=1)])
    np.testing.assert_array_equal(read(masked.filled(7)), np.where(mask, 7, x))


X = np.random.default_rng(0).standard_normal((7, 4)).astype(np.float32)


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.float8_e4m3fn]
)
def test_tensors_of_all_types(dtype):
    tensor = torch.from_numpy(X).to(dtype)
    expected = tensor.float().numpy()
    np.testing.assert_array_equal(read(tensor), expected)
    if dtype != torch.float8_e4m3fn:
        np.testing.assert_array_equal(read(tensor.clone().requires_grad_()), expected)
        np.testing.assert_array_equal(read(torch.nn.Parameter(tensor)), expected)
    np.testing.assert_array_equal(read(tensor.T.contiguous().T), expected)
    np.testing.assert_array_equal(read(list(tensor)), expected)


def test_pending_operations_of_tensors_are_done():
    pairs = torch.view_as_complex(torch.from_numpy(X.reshape(7, 2, 2)))
    negative = pairs.conj().imag
    assert negative.is_neg()
    np.testing.assert_array_equal(read(negative), -X.reshape(7, 2, 2)[:, :, 1])


class Sparse:
    """What is known of a sparse matrix without its library."""

    nnz, shape = 2, (3, 3)

    def toarray(self) -> np.ndarray:
        return np.eye(3)


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support:UserWarning")
@pytest.mark.parametrize("layout", ["to_sparse", "to_sparse_csr"])
def test_sparse_tensors_are_refused(layout):
    with pytest.raises(TypeError, match=r"x is sparse \(torch.sparse_c.*; pass x.to_dense\(\)"):
        read(getattr(torch.eye(3), layout)())


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (torch.zeros(2, 2, device="meta"), TypeError, r"x is on a device \(meta\)"),
        (torch.zeros(2, 2, dtype=torch.complex64), TypeError, "real numbers, got .*complex64"),
        (Sparse(), TypeError, r"x is sparse \(Sparse\); pass x.toarray\(\)"),
        (np.eye(3) * 1j, TypeError, "got dtype complex128; pass x.real"),
        (np.zeros((2, 2), "M8[s]"), TypeError, "got dtype datetime64.*times are no vectors"),
        (np.zeros((2, 2), "m8[s]"), TypeError, "got dtype timedelta64"),
        (np.array([["1", "2"]]), TypeError, "got dtype <U1; convert text with"),
        (np.array([[b"1"]]), TypeError, "got dtype .*S1; convert text"),
        (np.zeros(3, [("a", "f4"), ("b", "f4")]), TypeError, r"choose a field, such as x\['a'\]"),
        (np.zeros((3, 2), "V2"), TypeError, r"must hold real numbers, got dtype \|V2"),
        ("base.npy", TypeError, "x is a str, expected vectors; open a file with wf.open_vectors"),
        ({"a": 1}, TypeError, "x must be an array, got dict"),
        ((row for row in X), TypeError, "x must be an array, got generator"),
        ([[1.0, 2.0], [3.0]], ValueError, "x: row 1: expected 2 numbers, got 1"),
        ([X[0], X[1], X[2, :3]], ValueError, "x: row 2: expected 4 numbers, got 3"),
        ([X[0], None], ValueError, "x: row 1: expected 4 numbers, got null"),
        ([[1.0, None], [2.0, 3.0]], ValueError, "x: row 0: expected 2 numbers, got a null"),
        ([X[0], "[1, 2]"], TypeError, "x: row 1 is a str, .*; parse it first"),
        ([X[0], X[:1]], ValueError, r"x: row 1 has shape \(1, 4\), expected one dimension"),
        ([X[0], X[0] * 1j], TypeError, "x: row 1 must hold real numbers, got dtype complex64"),
        (
            [X[0], np.ma.masked_greater(X[1], -9)],
            ValueError,
            "x: row 1 is a masked array with 4 masked values",
        ),
    ],
)
def test_what_is_no_vector_is_refused_with_words(x, error, message):
    with pytest.raises(error, match=message):
        read(x)


def test_a_source_of_ones_own_may_return_anything_but_masked_values():
    class Source:
        shape, dtype = X.shape, X.dtype

        def __init__(self, part):
            self.part = part

        def read(self, first, n):
            return self.part(X[first : first + n])

        def take(self, rows):
            return self.part(X[rows])

    for part in (np.ndarray.tolist, torch.from_numpy, lambda x: torch.from_numpy(x).double()):
        np.testing.assert_array_equal(read(Source(part)), X)
    with pytest.raises(ValueError, match="x is a masked array"):
        read(Source(lambda x: np.ma.masked_greater(x, 0)))


def masked(x: object) -> np.ma.MaskedArray:
    values = np.ma.masked_array(x)
    values[0] = np.ma.masked
    return values


def test_other_arguments_of_arrays(clustered, tmp_path):
    """ids, codes, bitmaps and outputs, from other objects' dtypes and byte orders."""
    x = clustered[:300]
    codec = wf.Recipe(20, 6, effort="fast").train(clustered, "l2")
    index = wf.IndexFlat(codec, "l2")
    ids = np.arange(300, dtype=np.int64) * 3
    for other in (ids.astype(">i8"), ids.astype("u4"), torch.from_numpy(ids), ids.tolist()):
        index.reset()
        index.add_with_ids(x, other)
        np.testing.assert_array_equal(index.ids(), ids)
    distances, labels = index.search(x[:5], 4)
    codes = index.codes()
    joblib.dump(codes, tmp_path / "codes")
    for other in (joblib.load(tmp_path / "codes", mmap_mode="r"), np.asfortranarray(codes)):
        np.testing.assert_array_equal(codec.decode(other), codec.decode(codes))
        np.testing.assert_array_equal(index.sa_decode(other), index.sa_decode(codes))
    bits = np.packbits(np.arange(1000) < 30, bitorder="little")
    found = index.search(x[:5], 4, params=wf.SearchParameters(sel=wf.IDSelectorBitmap(bits)))
    again = pickle.loads(pickle.dumps(bits))
    same = index.search(x[:5], 4, params=wf.SearchParameters(sel=wf.IDSelectorBitmap(again)))
    np.testing.assert_array_equal(found[1], same[1])

    out_d, out_i = (pickle.loads(pickle.dumps(np.empty_like(a))) for a in (distances, labels))
    index.search(x[:5], 4, D=out_d, I=out_i)
    np.testing.assert_array_equal(out_d, distances)
    np.testing.assert_array_equal(out_i, labels)
    vector = in_a_structure(np.zeros((1, 20), np.float32))
    index.reconstruct_n(0, 1, vector)
    np.testing.assert_array_equal(vector, index.reconstruct_n(0, 1))
    before = index.ntotal
    for call, error, message in (
        (lambda: index.search(x, 4, D=np.empty((300, 4), ">f4")), TypeError, "D must be an array"),
        (lambda: index.search(x, 4, I=np.empty((300, 4), ">i8")), TypeError, "I must be an array"),
        (lambda: index.search(x, 4, D=np.ma.empty((300, 4), "f4")), TypeError, "D is a masked"),
        (lambda: index.add_with_ids(x, masked(ids)), ValueError, "ids is a masked array"),
        (lambda: index.remove_ids(masked(ids)), ValueError, "x is a masked array"),
        (lambda: wf.IDSelectorBitmap(masked(bits)), ValueError, "bitmap is a masked array"),
        (lambda: wf.IDSelectorBatch(masked(ids)), ValueError, "ids is a masked array"),
        (lambda: codec.decode(masked(codes)), ValueError, "codes is a masked array"),
        (lambda: index.add_sa_codes(masked(codes)), ValueError, "codes is a masked array"),
        (lambda: index.search(masked(x), 4), ValueError, "x is a masked array"),
        (lambda: index.train(masked(x)), ValueError, "x is a masked array"),
        (lambda: codec.encode(masked(x)), ValueError, "x is a masked array"),
        (lambda: wf.check(masked(x)), ValueError, "x is a masked array"),
        (lambda: wf.analyze(masked(x)), ValueError, "x is a masked array"),
    ):
        with pytest.raises(error, match=message):
            call()
    assert index.ntotal == before
