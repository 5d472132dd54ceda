from __future__ import annotations

import itertools
import multiprocessing
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.numpy_reference import Reference

import waterfill as wf
from waterfill import _core
from waterfill.data.rows import Rows

needs_another = pytest.mark.skipif(
    len(_core.available_isas()) < 2, reason="this CPU runs the scalar kernels only"
)


def gaussian(seed: int, n: int, spectrum: np.ndarray) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal((n, len(spectrum))) * spectrum).astype("f4")


def train(x: np.ndarray, code_bytes: int, **kwargs) -> wf.Codec:
    return wf.Codec.train(x, wf.Plan.waterfill(wf.analyze(x), code_bytes=code_bytes), **kwargs)


def test_encode_gives_a_byte_a_group_and_the_scale(codec, base):
    codes = codec.encode(base[:7])
    assert codes.shape == (7, 49) == (7, codec.code_size)
    assert codes.dtype == np.uint8
    assert codec.d == 384


def test_encode_picks_the_nearest_centroid(codec, base):
    ref = Reference.of(codec)
    codes = codec.encode(base[:300])
    y, rho = ref.directions(base[:300], ref.origins(codes))
    errors = ref.errors(y)
    groups = codes[:, : ref.groups, None].astype(int)
    chosen = np.take_along_axis(errors, groups, axis=2)[..., 0]
    # Short numbers decide: hardly ever wrong, and then between two that are nearly as near.
    assert chosen.sum() <= errors.min(axis=2).sum() * 1.002
    assert (chosen > errors.min(axis=2) + 1e-9).mean() < 0.03
    assert ref.rho(codes) == pytest.approx(rho, rel=0.01)


@pytest.mark.parametrize("alpha", [0, 0.25, 0.5, 0.75, 1])
def test_decode_is_the_documented_formula(codec, base, alpha):
    codes = codec.encode(base[:50])
    expected = Reference.of(codec).decode(codes, alpha)
    np.testing.assert_allclose(codec.decode(codes, alpha=alpha), expected, atol=2e-5)


def test_alpha_one_restores_the_distance_from_the_origin(small_codec, clustered):
    x = clustered[:100]
    codes = small_codec.encode(x)
    origins = Reference.of(small_codec).origins(codes)
    rho = np.linalg.norm(x - origins, axis=1)
    decoded = np.linalg.norm(small_codec.decode(codes, alpha=1) - origins, axis=1)
    apart = rho > 1e-4  # a cell of one row has that row as its centroid
    assert decoded[apart] / rho[apart] == pytest.approx(1, abs=0.02)


@pytest.mark.filterwarnings("ignore:x. .* clipped")
@settings(max_examples=8)
@given(
    seed=st.integers(0, 2**16),
    d=st.integers(4, 40),
    decay=st.floats(0, 2),
    share=st.floats(0.1, 0.6),
)
def test_error_of_fresh_vectors_is_within_the_predicted_distortion(seed, d, decay, share):
    spectrum = np.arange(1, d + 1) ** -decay
    x = gaussian(seed, 6000, spectrum)
    c = train(x, max(1, int(share * d)))
    fresh = gaussian(seed + 1, 2000, spectrum)
    r = fresh - c.plan.mean
    error = ((c.decode(c.encode(fresh)) - fresh) ** 2).sum(1) / (r**2).sum(1)
    # k-means on 6,000 rows is a little worse on fresh ones than its limit.
    assert error.mean() <= 1.2 * c.plan.predicted_distortion + 1e-3


def test_error_on_real_vectors_is_near_the_predicted_distortion(codec, base, queries):
    r = ((queries - base.mean(0)) ** 2).sum(1)
    error = ((codec.decode(codec.encode(queries)) - queries) ** 2).sum(1) / r
    # 4,800 rows for 256 centroids a group: held-out rows pay for it.
    assert error.mean() <= 1.4 * codec.plan.predicted_distortion


@given(seed=st.integers(0, 2**16), n=st.integers(1, 200), cuts=st.lists(st.integers(0, 200)))
def test_order_and_batch_size_do_not_change_codes(codec, base, seed, n, cuts):
    order = np.random.default_rng(seed).permutation(len(base))[:n]
    x = base[order]
    whole = codec.encode(x)
    edges = sorted({0, n, *(c for c in cuts if c < n)})
    parts = [codec.encode(x[a:b]) for a, b in itertools.pairwise(edges)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    np.testing.assert_array_equal(codec.encode(x[::-1])[::-1], whole)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_dtypes_that_hold_the_same_numbers_give_the_same_codes(codec, base, dtype):
    x = base[:100].astype("f2")
    np.testing.assert_array_equal(codec.encode(x.astype(dtype)), codec.encode(x))


@needs_another
@pytest.mark.filterwarnings("ignore:.*as far from the .*:RuntimeWarning")
@given(seed=st.integers(0, 2**16), n=st.integers(1, 70), magnitude=st.sampled_from([1e-3, 1, 1e4]))
def test_isas_agree_bit_for_bit(small_codec, seed, n, magnitude):
    x = gaussian(seed, n, np.full(20, magnitude))
    codes, decoded = {}, {}
    for isa in _core.available_isas():
        _core.select_isa(isa)
        assert _core.isa() == isa
        codes[isa] = small_codec.encode(x)
        decoded[isa] = small_codec.decode(codes[isa])
    for isa in codes:
        np.testing.assert_array_equal(codes["scalar"], codes[isa])
        np.testing.assert_array_equal(decoded["scalar"], decoded[isa])


@needs_another
def test_training_agrees_between_isas(clustered):
    trained = {}
    for isa in _core.available_isas():
        _core.select_isa(isa)
        trained[isa] = train(clustered[:1000], 5).fingerprint
    assert len(set(trained.values())) == 1


def run_python(code: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("isa", _core.available_isas())
def test_environment_forces_an_isa(isa):
    done = run_python("from waterfill import _core; print(_core.isa())", WATERFILL_ISA=isa)
    assert done.stdout.strip() == isa


def test_unknown_isa_is_an_error_that_names_the_choices():
    done = run_python("import waterfill", WATERFILL_ISA="mmx")
    assert done.returncode != 0
    assert "WATERFILL_ISA is 'mmx'" in done.stderr
    assert "scalar" in done.stderr


def test_threads_do_not_change_training_or_codes(clustered):
    results = set()
    for threads in (1, 2, 5):
        wf.set_num_threads(threads)
        assert wf.get_num_threads() == threads
        x = clustered[:2000]
        plan = wf.Plan.waterfill(wf.analyze(x), code_bytes=6)
        c = wf.Codec.train(x, plan, seed=3)
        results.add((plan.to_json(), c.fingerprint, c.encode(x).tobytes()))
    assert len(results) == 1


def test_seed_decides(clustered):
    x = clustered[:1000]
    plan = wf.Plan.waterfill(wf.analyze(x), code_bytes=6)
    first, again, other = (wf.Codec.train(x, plan, seed=s).fingerprint for s in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize("n", [0, 1025, -1])
def test_set_num_threads_refuses(n):
    with pytest.raises((ValueError, TypeError)):
        wf.set_num_threads(n)


def test_pickle_and_bytes_are_the_identity(codec, base):
    again = pickle.loads(pickle.dumps(codec))
    assert again.to_bytes() == codec.to_bytes() == wf.Codec.from_bytes(codec.to_bytes()).to_bytes()
    assert again.plan == codec.plan
    np.testing.assert_array_equal(again.encode(base[:100]), codec.encode(base[:100]))


def test_damaged_bytes_are_refused(small_codec):
    data = bytearray(small_codec.to_bytes())
    data[len(data) // 2] ^= 1
    with pytest.raises(wf.FormatError):
        wf.Codec.from_bytes(bytes(data))
    with pytest.raises(wf.FormatError, match="not a waterfill file"):
        wf.Codec.from_bytes(b"nonsense" * 100)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_rows_that_are_not_finite_are_refused_by_number(small_codec, dtype, bad):
    rows = Rows(np.zeros((1, 20)), "x").block_rows + 70  # in the second block
    x = np.ones((rows, 20), dtype=dtype)
    x[rows - 3, 4] = bad
    with pytest.raises(ValueError, match=rf"x: row {rows - 3} "):
        small_codec.encode(x)
    x[:, 4] = bad
    with pytest.raises(ValueError, match="NaN or an infinity"):
        wf.Codec.train(x[:100], small_codec.plan)


def test_float64_beyond_float32_is_refused(small_codec):
    x = np.ones((3, 20))
    x[2, 0] = 1e300
    with pytest.raises(ValueError, match="row 2 "):
        small_codec.encode(x)


@pytest.mark.parametrize(
    ("n", "d", "code_bytes"),
    [(1, 8, 3), (2, 8, 8), (10, 16, 5), (40, 64, 9), (200, 5, 5), (300, 1, 1), (300, 2, 1)],
)
def test_little_data_is_enough(n, d, code_bytes):
    x = gaussian(1, n, np.ones(d)) + 1
    c = train(x, code_bytes)
    decoded = c.decode(c.encode(x))
    assert decoded.shape == x.shape
    assert np.isfinite(decoded).all()
    if n >= 40:
        r = x - x.mean(0)
        assert ((decoded - x) ** 2).sum() < (r**2).sum()


def test_constant_and_duplicated_data():
    x = np.full((100, 6), 2.5, dtype="f4")
    c = train(x, 2)
    np.testing.assert_allclose(c.decode(c.encode(x)), x, atol=1e-5)
    twice = np.repeat(gaussian(0, 100, np.ones(6)), 20, axis=0)
    c = train(twice, 3)
    assert ((c.decode(c.encode(twice)) - twice) ** 2).mean() < 0.02


def test_a_vector_equal_to_its_origin_decodes_to_it(small_codec):
    centroids = small_codec._core.arrays["centroids"]
    x = centroids if len(centroids) else small_codec.plan.mean[None]
    np.testing.assert_array_equal(small_codec.decode(small_codec.encode(x)), x)


def test_vectors_out_of_all_proportion_are_warned_of(small_codec, clustered):
    x = clustered[:50].copy()
    small_codec.encode(x)  # no warning: pytest makes one an error
    x[[4, 7]] *= 100
    with pytest.warns(RuntimeWarning, match="x: 2 of 50 vectors"):
        small_codec.encode(x)
    with pytest.warns(RuntimeWarning, match="2 of 50"):
        wf.IndexFlat(small_codec).add(x)


def test_wrong_arguments_are_named(small_codec, clustered):
    with pytest.raises(ValueError, match="x has 19 dimensions, expected 20"):
        small_codec.encode(clustered[:, :19])
    with pytest.raises(TypeError, match=r"plan must be a waterfill\.Plan"):
        wf.Codec.train(clustered, "48")
    with pytest.raises(ValueError, match="seed"):
        wf.Codec.train(clustered, small_codec.plan, seed=-1)
    with pytest.raises(ValueError, match="no rows"):
        wf.Codec.train(clustered[:0], small_codec.plan)
    with pytest.raises(ValueError, match=r"alpha=0\.3"):
        small_codec.decode(small_codec.encode(clustered[:1]), alpha=0.3)
    with pytest.raises(ValueError, match="codes have 3 bytes"):
        small_codec.decode(np.zeros((1, 3), dtype=np.uint8))
    with pytest.raises(TypeError, match="codes"):
        small_codec.decode(np.zeros((1, 8), dtype=np.int32))


def _encode_in_child(connection, data: bytes, x: np.ndarray) -> None:
    connection.send(wf.Codec.from_bytes(data).encode(x))


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")
def test_threads_survive_fork(small_codec, clustered):
    wf.set_num_threads(3)
    expected = small_codec.encode(clustered)  # the pool's threads exist now
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    child = context.Process(
        target=_encode_in_child, args=(theirs, small_codec.to_bytes(), clustered)
    )
    child.start()
    assert ours.poll(60), "the child hangs"
    np.testing.assert_array_equal(ours.recv(), expected)
    child.join(60)
    assert child.exitcode == 0
