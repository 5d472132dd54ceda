"""Every instruction set computes what the scalar one does, for sizes that fill no register."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import waterfill as wf
from waterfill import _core

needs_another = pytest.mark.skipif(
    len(_core.available_isas()) < 2, reason="this CPU runs the scalar kernels only"
)


def by_isa(compute: Callable[[], bytes]) -> set[bytes]:
    results = set()
    for isa in _core.available_isas():
        _core.select_isa(isa)
        assert _core.isa() == isa
        results.add(compute())
    return results


@needs_another
@pytest.mark.filterwarnings("ignore:x. .* cut off")  # one dimension: some row is at the mean
@settings(max_examples=15)
@given(
    seed=st.integers(0, 2**16), n=st.integers(1, 80), d=st.integers(1, 70), share=st.floats(0, 1)
)
def test_codes_scores_and_reconstructions_of_any_size(seed, n, d, share):
    rng = np.random.default_rng(seed)
    x = (rng.standard_normal((80, d)) * rng.uniform(0.1, 2, d) + 0.3).astype("f4")
    codec = wf.Codec.train(x, wf.Plan.waterfill(wf.analyze(x), code_bytes=1 + int(share * (d - 1))))

    def compute() -> bytes:
        index = wf.IndexFlat(codec, "l2")
        index.add(x[:n])
        distances, labels = index.search(x[-5:], 9)
        return distances.tobytes() + labels.tobytes() + index.reconstruct_n(0, n).tobytes()

    assert len(by_isa(compute)) == 1


@needs_another
@given(seed=st.integers(0, 2**16), n=st.integers(1, 150), d=st.integers(1, 40))
def test_moments_of_any_size(seed, n, d):
    x = np.random.default_rng(seed).standard_normal((n, d)).astype("f4")

    def compute() -> bytes:
        moments = _core.Moments(np.zeros(d), 0.1)
        moments.update(x)
        return moments.direction_covariance().tobytes()

    assert len(by_isa(compute)) == 1


@needs_another
@pytest.mark.filterwarnings("ignore:x. .* cut off")
def test_values_at_the_ends_of_float32_agree(small_codec, clustered):
    signs = np.sign(clustered[:40])
    for magnitude in (1e-42, 1e-30, 1e30, 3e38):
        x = (signs * magnitude).astype("f4")
        assert len(by_isa(lambda x=x: small_codec.encode(x).tobytes())) == 1


def test_an_unknown_isa_is_refused_and_changes_nothing():
    before = _core.isa()
    with pytest.raises(ValueError, match=r"isa is 'mmx'.*supports: scalar"):
        _core.select_isa("mmx")
    assert _core.isa() == before
