from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import waterfill as wf
from waterfill import _core


def finding(analysis: wf.analysis.Analysis, kind: str) -> wf.analysis.Finding | None:
    return next((f for f in analysis.findings if f.kind == kind), None)


def direction_covariance(x: np.ndarray, centre: np.ndarray, floor: float) -> np.ndarray:
    """The documented sums, in plain NumPy."""
    x = x.astype(np.float64)
    w = 1 / np.maximum(((x - centre) ** 2).sum(1), floor)
    r = x - x.mean(0)
    c = (r * w[:, None]).T @ r
    return c / np.trace(c)


@given(seed=st.integers(0, 2**16), n=st.integers(2, 300), d=st.integers(1, 40))
def test_moments_are_the_documented_sums(seed, n, d):
    rng = np.random.default_rng(seed)
    x = (rng.standard_normal((n, d)) * rng.uniform(0.1, 3, d) + rng.normal(size=d)).astype("f4")
    centre = x[:5].mean(0, dtype=np.float64)
    m = _core.Moments(centre, 0.3)
    m.update(x)
    wide = x.astype(np.float64)
    assert m.count == n
    np.testing.assert_allclose(m.mean, wide.mean(0), atol=1e-12)
    assert m.variance == pytest.approx(((wide - wide.mean(0)) ** 2).sum(1).mean(), rel=1e-10)
    np.testing.assert_allclose(
        m.direction_covariance(), direction_covariance(x, centre, 0.3), atol=1e-10
    )


@given(seed=st.integers(0, 2**16), cut=st.integers(0, 500))
def test_merged_parts_are_the_whole(clustered, seed, cut):
    x = clustered[seed % 2000 : seed % 2000 + 500]
    centre = x.mean(0, dtype=np.float64)
    whole, left, right = (_core.Moments(c, 0.1) for c in (centre, centre, centre))
    whole.update(x)
    left.update(x[:cut])
    right.update(x[cut:])
    left.merge(right)
    assert (left.count, left.rows_seen) == (500, 500)
    np.testing.assert_allclose(left.mean, whole.mean, atol=1e-12)
    np.testing.assert_allclose(
        left.direction_covariance(), whole.direction_covariance(), atol=1e-12
    )
    assert left.duplicates == whole.duplicates


def test_merging_moves_sums_to_the_same_centre(clustered):
    near = clustered.mean(0, dtype=np.float64)
    whole, left, right = (_core.Moments(c, 0.1) for c in (near, near, near + 0.02))
    whole.update(clustered)
    left.update(clustered[:1000])
    right.update(clustered[1000:])
    left.merge(right)
    np.testing.assert_allclose(left.mean, whole.mean, atol=1e-12)
    assert left.variance == pytest.approx(whole.variance, rel=1e-12)
    # The weights of the second part belong to its own centre: a second-order difference.
    gap = np.abs(left.direction_covariance() - whole.direction_covariance()).max()
    assert 0 < gap < 2e-3


def test_analysis_is_that_of_directions(base):
    a = wf.analyze(base)
    r = base.astype(np.float64) - base.mean(0, dtype=np.float64)
    u = r / np.linalg.norm(r, axis=1, keepdims=True)
    values = np.linalg.eigvalsh(u.T @ u / len(u))[::-1]
    np.testing.assert_allclose(a.eigenvalues, values, atol=1e-4)
    np.testing.assert_allclose(a.mean, base.mean(0, dtype=np.float64), atol=1e-10)
    assert a.eigenvalues.sum() == pytest.approx(1)
    assert (np.diff(a.eigenvalues) <= 0).all()
    np.testing.assert_allclose(a.eigenvectors.T @ a.eigenvectors, np.eye(384), atol=1e-10)
    assert 1 < a.effective_rank < 384
    assert a.norms.constant
    assert (
        a.eigenvalues[: a.dims_for(0.5)].sum() >= 0.5 > a.eigenvalues[: a.dims_for(0.5) - 1].sum()
    )


def test_threads_and_isas_do_not_change_moments(base):
    found = set()
    for isa in _core.available_isas():
        _core.select_isa(isa)
        for threads in (1, 2, 3):
            wf.set_num_threads(threads)
            m = _core.Moments(np.zeros(384), 0.1)
            m.update(base[:500])
            found.add(m.direction_covariance().tobytes())
    assert len(found) == 1


@pytest.mark.parametrize(
    "kind", ["f2", "f8", "big-endian", "list", "memmap", "torch", "array", "fortran"]
)
def test_inputs_of_any_kind_give_the_same_analysis(base, tmp_path, kind):
    x = base[:300].astype("f2").astype("f4")

    class HasArray:
        def __array__(self, dtype=None, copy=None):
            return x if dtype is None else x.astype(dtype)

    np.save(tmp_path / "x.npy", x)
    given = {
        "f2": lambda: x.astype("f2"),
        "f8": lambda: x.astype("f8"),
        "big-endian": lambda: x.astype(">f4"),
        "list": x.tolist,
        "memmap": lambda: np.load(tmp_path / "x.npy", mmap_mode="r"),
        "torch": lambda: pytest.importorskip("torch").from_numpy(x.copy()),
        "array": HasArray,
        "fortran": lambda: np.asfortranarray(x),
    }[kind]()
    ours, want = wf.analyze(given), wf.analyze(x)
    np.testing.assert_array_equal(ours.eigenvalues, want.eigenvalues)
    np.testing.assert_array_equal(ours.mean, want.mean)


def test_writable_and_copy_on_write_maps_keep_their_contents(tmp_path):
    x = np.random.default_rng(0).standard_normal((30_000, 100)).astype("f4")
    np.save(tmp_path / "x.npy", x)
    for mode in ("r+", "c"):
        mapped = np.load(tmp_path / "x.npy", mmap_mode=mode)
        mapped[5] = 7
        wf.analyze(mapped)
        assert (mapped[5] == 7).all()
        np.testing.assert_array_equal(mapped[6:], x[6:])


def test_integers_are_read():
    x = np.random.default_rng(0).integers(0, 255, (200, 8), dtype=np.uint8)
    np.testing.assert_array_equal(wf.analyze(x).eigenvalues, wf.analyze(x.astype("f4")).eigenvalues)


def test_normalised_analysis_is_that_of_normalised_rows(clustered):
    a = wf.analyze(clustered, normalize=True)
    unit = clustered / np.linalg.norm(clustered, axis=1, keepdims=True)
    np.testing.assert_allclose(a.eigenvalues, wf.analyze(unit).eigenvalues, atol=1e-6)
    assert a.normalized
    assert a.norms.mean == pytest.approx(1, abs=1e-6)


def test_findings_name_what_is_wrong(clustered):
    x = clustered[:2000].copy()
    x[[3, 1500], 2] = np.nan, np.inf
    x[[7, 8, 9]] = 0
    x[:, 11] = 4
    x[100:110] = x[50:60]
    a = wf.analyze(x)
    assert a.n == 1998
    assert finding(a, "nonfinite") == wf.analysis.Finding(
        "nonfinite", 2, "2 rows have a NaN or an infinity: 3, 1500", (3, 1500)
    )
    assert finding(a, "zero") is None  # dimension 11 is 4 in these rows as well
    assert finding(a, "constant").where == (11,)
    assert finding(a, "duplicate").count == 12
    assert finding(a, "few_rows") is None
    assert "3, 1500" in repr(a)
    x[:3] = 0
    assert finding(wf.analyze(x), "zero").count == 3
    assert finding(wf.analyze(clustered[:5]), "few_rows").count == 5
    assert wf.analyze(clustered).findings == ()


def test_the_first_ten_bad_rows_are_listed(clustered):
    x = clustered[:200].copy()
    x[20:40, 3] = np.nan
    found = finding(wf.analyze(x), "nonfinite")
    assert found.count == 20
    assert found.where == tuple(range(20, 30))
    assert found.message.endswith("28, 29, ...")


@given(cuts=st.lists(st.integers(0, 600), max_size=5))
def test_block_sizes_do_not_change_moments(clustered, cuts):
    x, centre = clustered[:600], clustered.mean(0, dtype=np.float64)
    whole, parts = _core.Moments(centre, 0.1), _core.Moments(centre, 0.1)
    whole.update(x)
    for block in np.split(x, sorted(cuts)):
        parts.update(block)
    assert parts.count == 600
    np.testing.assert_array_equal(parts.mean, whole.mean)
    np.testing.assert_allclose(
        parts.direction_covariance(), whole.direction_covariance(), atol=1e-13
    )


def test_duplicates_beyond_the_capacity_are_estimated():
    x = np.random.default_rng(0).standard_normal((150_000, 2)).astype("f4")
    found = finding(wf.analyze(np.vstack([x, x[:50_000]])), "duplicate")
    assert found.message.startswith("about ")
    assert found.count == pytest.approx(50_000, rel=0.05)


def test_repr_tells_the_story(base):
    text = repr(wf.analyze(base))
    for part in ("4,800 vectors of 384", "effective rank", "90% in", "all the same"):
        assert part in text


class OnDevice:
    """What a tensor on a GPU answers."""

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, 0

    def __dlpack__(self, **_: object) -> object:
        raise BufferError("not on the CPU")


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (np.zeros(5), ValueError, r"x must have shape \(n, d\), got shape \(5,\)"),
        (np.zeros((2, 3, 4)), ValueError, "got shape"),
        (np.zeros((0, 3)), ValueError, "no rows"),
        (np.zeros((3, 0)), ValueError, "0 dimensions"),
        (np.zeros((3, 3), dtype=complex), TypeError, "complex128"),
        (np.zeros((3, 3), dtype=object), TypeError, "object"),
        (np.full((3, 3), np.nan), ValueError, "all 3 rows"),
        ([[1, 2], [3]], ValueError, "x: row 1: expected 2 numbers, got 1"),
        (None, TypeError, "x must be an array, got NoneType"),
        (OnDevice(), TypeError, "device"),
    ],
)
def test_wrong_inputs_are_named(x, error, message):
    with pytest.raises(error, match=message):
        wf.analyze(x)


def test_sparse_tensors_are_named():
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match=r"x is sparse \(torch.sparse_coo\); .* x.to_dense"):
        wf.analyze(torch.eye(3).to_sparse())
