"""The third stage: candidates ranked by rows that are kept, or by the caller's own."""

from __future__ import annotations

import pickle

import joblib
import numpy as np
import pytest

import waterfill as wf

METRICS = ("ip", "l2", "cosine")
KINDS = ("float16", "int8", "float32")
TOLERANCE = {"float16": 2e-3, "int8": 2e-2, "float32": 1e-5}


def exact(x: np.ndarray, q: np.ndarray, metric: str) -> np.ndarray:
    x, q = x.astype(np.float64), q.astype(np.float64)
    if metric == "cosine":
        x, q = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (x, q))
    if metric == "l2":
        return ((q[:, None] - x) ** 2).sum(-1)
    return q @ x.T


@pytest.fixture(scope="module")
def codecs(clustered) -> dict[str, wf.Codec]:
    recipe = wf.Recipe(20, 6)
    return {metric: recipe.train(clustered, metric, cells=8) for metric in METRICS}


def made(kind: str, codec: wf.Codec, metric: str, refine) -> wf.IndexFlat | wf.IndexIVF:
    if kind == "flat":
        return wf.IndexFlat(codec, metric, refine=refine)
    return wf.IndexIVF(codec, 8, metric=metric, refine=refine)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("index_kind", ["flat", "ivf"])
def test_all_rows_refined_are_an_exact_search(codecs, clustered, index_kind, kind, metric):
    x, q = clustered[:1000], clustered[1000:1040]
    index = made(index_kind, codecs[metric], metric, kind)
    index.add(x[:700])
    index.add(x[700:])
    index.k_factor = 100
    if index_kind == "ivf":
        index.nprobe = 8
    distances, labels = index.search(q, 10)
    scores = exact(x, q, metric)
    scale = np.abs(scores).max()
    at_labels = np.take_along_axis(scores, labels, axis=1)
    np.testing.assert_allclose(distances, at_labels, atol=TOLERANCE[kind] * scale)
    best = np.sort(scores if metric == "l2" else -scores, axis=1)[:, :10]
    best = best if metric == "l2" else -best
    np.testing.assert_allclose(distances, best, atol=TOLERANCE[kind] * scale)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", [*KINDS, "array"])
@pytest.mark.parametrize("index_kind", ["flat", "ivf"])
@pytest.mark.filterwarnings("ignore:.*training drew:RuntimeWarning")
def test_a_range_search_is_exact(codecs, clustered, index_kind, kind, metric):
    """All within the radius by their rows, however poor the codes: those of outliers too."""
    x, q = clustered[:1000].copy(), clustered[1000:1040]
    x[::50] *= np.linspace(1, 40, 20, dtype="f4")[:, None]  # unlike the training sample
    refine = x.astype(np.float32) if kind == "array" else kind
    index = made(index_kind, codecs[metric], metric, refine)
    index.add(x)
    if index_kind == "ivf":
        index.nprobe = 8
    scores = exact(x, q, metric)
    near = TOLERANCE.get(kind, 1e-5) * np.abs(scores).max()
    for radius in np.quantile(scores, (0.002, 0.3, 0.998)):
        limits, distances, ids = index.range_search(q, float(radius))
        for i, row in enumerate(scores):
            part = slice(int(limits[i]), int(limits[i + 1]))
            np.testing.assert_allclose(distances[part], row[ids[part]], atol=near)
            inside, maybe = (
                np.flatnonzero(row < radius + gap if metric == "l2" else row > radius - gap)
                for gap in (-near, near)
            )
            assert {*inside} <= {*ids[part]} <= {*maybe}


@pytest.mark.parametrize("metric", ["ip", "l2"])
def test_what_a_search_finds_a_range_search_finds(codecs, clustered, metric):
    index = made("flat", codecs[metric], metric, "float16")
    index.add(clustered[:1000])
    q = clustered[1000:1040]
    distances, ids = index.search(q, 20)
    for i in range(len(q)):
        edge = float(
            np.nextafter(distances[i, -1], np.inf if metric == "l2" else -np.inf, dtype="f4")
        )
        found = index.range_search(q[i : i + 1], edge)
        assert {*ids[i]} <= {*found[2]}
        order = np.argsort(found[1] if metric == "l2" else -found[1], kind="stable")
        assert found[1][order][0] == distances[i, 0]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", [*KINDS, "array"])
def test_reconstructed_vectors_are_the_rows(codecs, clustered, kind, metric):
    x = clustered[:300].copy()
    refine = x.astype(np.float32) if kind == "array" else kind
    index = made("flat", codecs[metric], metric, refine)
    index.add_with_ids(x[100:], np.arange(100, 300))
    expected = x / np.linalg.norm(x, axis=1, keepdims=True) if metric == "cosine" else x
    near = TOLERANCE.get(kind, 1e-6) * np.abs(expected).max()
    np.testing.assert_allclose(index.reconstruct(123), expected[123], atol=near)
    keys = np.array([250, 100, 250, 299])
    np.testing.assert_allclose(index.reconstruct_batch(keys), expected[keys], atol=near)
    np.testing.assert_allclose(index.reconstruct_n(5, 40), expected[105:145], atol=near)
    found = index.search_and_reconstruct(x[100:110], 3)
    np.testing.assert_allclose(found[2], expected[found[1]], atol=near)
    codes = index.sa_encode(x[100:101])
    assert np.abs(index.sa_decode(codes) - expected[100:101]).max() > near  # codes hold no rows
    assert index.expected_self_score() == (0 if metric == "l2" else 1)


def test_arrays_of_two_indexes_are_compared_when_they_merge(codecs, clustered):
    x = clustered[:1000]

    def index(array, rows, ids=None):
        new = made("flat", codecs["l2"], "l2", array)
        new.add_with_ids(rows, ids) if ids is not None else new.add(rows)
        return new

    first, second = index(x[:500], x[:300]), index(x[500:], x[500:700])
    with pytest.raises(ValueError, match=r"row 300 of this index's refine array is another vector"):
        first.merge_from(second)
    assert (first.ntotal, second.ntotal) == (300, 200)
    with pytest.raises(ValueError, match="has no row in refine, an array of 500"):
        index(x[:500], x[:500]).merge_from(second)
    whole, part = index(x, x[:300]), index(x[300:].copy(), x[300:700])
    whole.merge_from(part)  # the rows are the same, whichever array they are in
    found = whole.search(x[:700], 1)
    np.testing.assert_array_equal(found[1][:, 0], np.arange(700))
    shards = [index(x, x[first::2], np.arange(first, 1000, 2)) for first in (0, 1)]
    shards[0].merge_from(shards[1])
    np.testing.assert_array_equal(shards[0].search(x, 1)[1][:, 0], np.arange(1000))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", ["f4", "f2"])
def test_rows_of_ones_own_are_read_where_they_lie(codecs, clustered, metric, dtype, tmp_path):
    x, q = clustered[:1000], clustered[1000:1040]
    np.save(tmp_path / "rows.npy", x.astype(dtype))
    rows = np.load(tmp_path / "rows.npy", mmap_mode="r")
    index = wf.IndexFlat(codecs[metric], metric, refine=rows, k_factor=100)
    index.add_with_ids(x[::-1], np.arange(1000)[::-1])
    plain = wf.IndexFlat(codecs[metric], metric)
    plain.add_with_ids(x[::-1], np.arange(1000)[::-1])
    assert index.nbytes == plain.nbytes
    distances, labels = index.search(q, 10)
    scores = exact(rows.astype("f4"), q, metric)
    best = np.sort(scores if metric == "l2" else -scores, axis=1)[:, :10]
    tolerance = 1e-5 * np.abs(scores).max()
    np.testing.assert_allclose(distances, best if metric == "l2" else -best, atol=tolerance)
    np.testing.assert_allclose(np.take_along_axis(scores, labels, 1), distances, atol=tolerance)


def unaligned(x: np.ndarray) -> np.ndarray:
    view = np.zeros(x.nbytes + 1, dtype=np.uint8)[1:].view(x.dtype).reshape(x.shape)
    view[...] = x
    return view


def structured(x: np.ndarray) -> np.ndarray:
    table = np.zeros(len(x), dtype=[("id", "i8"), ("vector", x.dtype, (x.shape[1],))])
    table["vector"] = x
    return table["vector"]


# Equal dtypes that are not the same object, and layouts that rows can be read from as they lie.
SAME_ROWS = {
    "pickled": lambda x, path: pickle.loads(pickle.dumps(x)),
    "joblib": lambda x, path: joblib.load(joblib.dump(x, path)[0], mmap_mode="r"),
    "newbyteorder": lambda x, path: x.view(x.dtype.newbyteorder("=")),
    "field": lambda x, path: structured(x),
    "slice": lambda x, path: np.repeat(x, 2, axis=0)[::2],
    "columns": lambda x, path: np.tile(x, 2)[:, : x.shape[1]],
    "masked, nothing masked": lambda x, path: np.ma.masked_array(x),
}


@pytest.mark.parametrize("dtype", ["f4", "f2"])
@pytest.mark.parametrize("how", SAME_ROWS)
def test_rows_with_another_dtype_object(codecs, clustered, tmp_path, how, dtype):
    x = clustered[:200].astype(dtype)
    results = []
    for rows in (x, SAME_ROWS[how](x, tmp_path / "rows")):
        index = wf.IndexFlat(codecs["ip"], "ip", refine=rows, k_factor=3)
        index.add(clustered[:200])
        results.append(index.search(clustered[:9], 5))
        copied = pickle.loads(pickle.dumps(index))
        assert copied.k_factor == index.k_factor == 3
        again = copied.search(clustered[:9], 5)
        np.testing.assert_array_equal(again, results[-1])
    np.testing.assert_array_equal(results[0], results[1])


def test_only_candidates_are_refined(codecs, clustered):
    x, q = clustered[:1000], clustered[1000:1040]
    plain = wf.IndexFlat(codecs["ip"])
    plain.add(x)
    index = wf.IndexFlat(codecs["ip"], refine="float32", k_factor=1)
    index.add(x)
    plain.refine_factor = index.refine_factor = 20
    candidates = plain.search(q, 10)[1]
    labels = index.search(q, 10)[1]
    np.testing.assert_array_equal(np.sort(labels, axis=1), np.sort(candidates, axis=1))
    more = index.search(q, 10, params=wf.SearchParameters(k_factor=3))[1]
    wide = plain.search(q, 30)[1]
    assert all(np.isin(a, b).all() for a, b in zip(more, wide, strict=True))
    scores = exact(x, q, "ip")
    expected = [
        row[np.argsort(-s[row], kind="stable")[:10]] for row, s in zip(wide, scores, strict=True)
    ]
    assert (more == np.array(expected)).mean() > 0.99


@pytest.mark.parametrize("depth", [(6, 1, 6), (12, 6, 12)])
def test_few_candidates_are_all_refined(codecs, clustered, depth):
    x, q = clustered[:1000], clustered[1000:1040]
    index = wf.IndexFlat(codecs["ip"], refine="float32")
    index.add(x)
    index.refine_factor, fewer, all_of_them = depth
    found = index.search(q, 10, params=wf.SearchParameters(k_factor=fewer))
    expected = index.search(q, 10, params=wf.SearchParameters(k_factor=all_of_them))
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])
    borrowed = wf.IndexFlat(codecs["ip"], refine=x)
    borrowed.add(x)
    borrowed.refine_factor = depth[0]
    only = borrowed.search(q, 10, params=wf.SearchParameters(k_factor=1))
    assert (only[1] != expected[1]).any()


@pytest.mark.parametrize("kind", KINDS)
def test_rows_stay_with_their_vectors(codecs, clustered, kind, tmp_path):
    x = clustered[:600]
    index = wf.IndexFlat(codecs["ip"], refine=kind, k_factor=60)
    index.add(x)
    assert index.remove_ids(np.arange(0, 600, 3)) == 200
    other = wf.IndexFlat(codecs["ip"], refine=kind, k_factor=60)
    other.add(clustered[600:700])
    index.merge_from(other)
    left = np.concatenate([np.delete(x, np.arange(0, 600, 3), axis=0), clustered[600:700]])
    q = clustered[1000:1030]
    scores = exact(left, q, "ip")
    wf.write_index(index, tmp_path / "a.wf")
    again = wf.read_index(tmp_path / "a.wf")
    for one in (index, again, pickle.loads(pickle.dumps(index))):
        assert (one.refine, one.k_factor) == (kind, 60)
        distances, _ = one.search(q, 5)
        best = -np.sort(-scores, axis=1)[:, :5]
        np.testing.assert_allclose(distances, best, atol=TOLERANCE[kind] * np.abs(scores).max())
    wf.write_index(again, tmp_path / "b.wf")
    assert (tmp_path / "a.wf").read_bytes() == (tmp_path / "b.wf").read_bytes()


def test_ones_own_rows_are_given_again_when_a_file_is_read(codecs, clustered, tmp_path):
    rows = clustered[:300]
    index = wf.IndexFlat(codecs["l2"], "l2", refine=rows, k_factor=30)
    index.add(rows)
    wf.write_index(index, tmp_path / "a.wf")
    without = wf.read_index(tmp_path / "a.wf")
    again = wf.read_index(tmp_path / "a.wf", refine=rows)
    again.k_factor = 30
    assert without.refine is None
    for ours, expected in zip(
        again.search(clustered[:9], 4), index.search(clustered[:9], 4), strict=True
    ):
        np.testing.assert_array_equal(ours, expected)


def test_a_failed_add_leaves_nothing(codecs, clustered):
    index = wf.IndexFlat(codecs["ip"], refine="float16", k_factor=10)
    index.add(clustered[:50])
    large = clustered[50:60].copy()
    large[3] *= 1e5
    with pytest.warns(RuntimeWarning, match="far"), pytest.raises(ValueError, match="row 3"):
        index.add(large)
    assert index.ntotal == 50
    index.add(clustered[60:70])
    distances, labels = index.search(clustered[60:61], 1)
    assert distances[0, 0] == pytest.approx(
        exact(clustered[[labels[0, 0] + 10 * (labels[0, 0] >= 50)]], clustered[60:61], "ip")[0, 0],
        rel=1e-3,
    )


def test_what_is_refused(codecs, clustered, tmp_path):
    codec, rows = codecs["ip"], clustered[:100]
    for call, error, message in (
        (lambda: wf.IndexFlat(codec, refine="fp8"), ValueError, "refine='fp8' must be"),
        (lambda: wf.IndexFlat(codec, refine=3), ValueError, "refine=3 must be"),
        (lambda: wf.IndexFlat(codec, refine=rows[:, :5]), ValueError, "refine has 5 dimensions"),
        (
            lambda: wf.IndexFlat(codec, refine=rows.T),
            ValueError,
            "refine must be a matrix with contiguous rows",
        ),
        (
            lambda: wf.IndexFlat(codec, refine=rows[0]),
            ValueError,
            r"refine must have shape \(n, d\), got shape \(20,\)",
        ),
        (lambda: wf.IndexFlat(codec, refine=rows.astype(int)), TypeError, "refine must be float"),
        (
            lambda: wf.IndexFlat(wf.Recipe(20, 6), refine=rows.astype(">f4")),  # not trained yet
            TypeError,
            r"refine must be float32 or float16 in the machine's byte order, got dtype >f4; .*"
            r"refine\.astype\(np\.float32\)",
        ),
        (lambda: wf.IndexFlat(codec, refine=rows.astype(">f2")), TypeError, "got dtype >f2"),
        (lambda: wf.IndexFlat(codec, refine=rows.astype("f8")), TypeError, "got dtype float64"),
        (
            lambda: wf.IndexFlat(codec, refine=rows.tolist()),
            TypeError,
            "refine is a list, expected",
        ),
        (lambda: wf.IndexFlat(codec, refine=unaligned(rows)), ValueError, "pass a copy"),
        (
            lambda: wf.IndexFlat(codec, refine=np.ma.masked_greater(rows, 0)),
            ValueError,
            "refine is a masked array",
        ),
        (lambda: wf.IndexFlat(codec, refine=rows, k_factor=0.5), ValueError, "k_factor=0.5"),
        (lambda: wf.IndexFlat(codec, k_factor=np.inf), ValueError, "k_factor=inf must be finite"),
        (lambda: wf.IndexFlat(codec, refine=rows).add(clustered[:101]), ValueError, "id 100 has"),
        (
            lambda: wf.IndexFlat(codec, refine=rows).add_with_ids(rows[:1], [-3]),
            ValueError,
            "id -3 has no row",
        ),
    ):
        with pytest.raises(error, match=message):
            call()
    own = wf.IndexFlat(codec, refine=rows)
    own.add(rows)
    with pytest.raises(ValueError, match="removal would renumber the vectors"):
        own.remove_ids([1])
    kept = wf.IndexFlat(codec, refine="int8")
    with pytest.raises(ValueError, match="refine='int8' needs the vectors"):
        kept.add_sa_codes(kept.sa_encode(rows))
    with pytest.raises(ValueError, match="refine rows of another kind"):
        kept.merge_from(own)
