"""Data quality at the door: what is found, what is refused, and what becomes of the other rows."""

from __future__ import annotations

import json
import re
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.bad_rows import rows_with_flaws

import waterfill as wf
from waterfill import _core

WORST = np.finfo(np.float32).max
KINDS = ["plain", "nan", "infinite", "both", "zero", "far", "near", "copy"]
BAD = ["nan", "infinite", "both", "zero"]
ANY_FIXTURE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def oracle(x: np.ndarray, norms: tuple[float, float]) -> dict[str, list[int]]:
    """Each reason's rows, one row after the other."""
    found: dict[str, list[int]] = {r: [] for r in ("nan", "infinite", "zero", "norm", "duplicate")}
    seen = set()
    for i, row in enumerate(x):
        if np.isnan(row).any():
            found["nan"].append(i)
        if np.isinf(row).any():
            found["infinite"].append(i)
        if not np.isfinite(row).all():
            continue
        norm = np.linalg.norm(row.astype(np.float64))
        if norm == 0:
            found["zero"].append(i)
        if not norms[0] <= norm <= norms[1]:
            found["norm"].append(i)
        if row.tobytes() in seen:
            found["duplicate"].append(i)
        seen.add(row.tobytes())
    return found


@pytest.mark.parametrize("isa", _core.available_isas())
@ANY_FIXTURE
@given(st.lists(st.sampled_from(KINDS), max_size=40), st.integers(2, 70), st.integers(0, 99))
def test_the_answer_is_numpys(isa, kinds, d, seed):
    _core.select_isa(isa)
    x, norms = rows_with_flaws(kinds, d, seed), (1e-3, 1e6)
    wanted = oracle(x, norms)
    refuse = ("nan", "norm", "duplicate")
    got = wf.check(x, policy="quarantine", refuse=refuse, norms=norms)
    assert {reason: numbers.tolist() for reason, numbers in got.found.items()} == wanted
    refused = sorted({i for reason in refuse for i in wanted[reason]})
    assert got.refused.tolist() == refused
    assert got.kept.tolist() == [i for i in range(len(x)) if i not in refused]
    assert got.ok == (not refused)
    for i, why in zip(refused, got.reasons, strict=True):
        assert why == tuple(reason for reason in wanted if i in wanted[reason])
    np.testing.assert_array_equal(np.asarray(got.clean), x[got.kept])
    if refused:
        np.testing.assert_array_equal(got.quarantined.vectors, x[refused])
    finite = x[np.isfinite(x).all(axis=1)].astype(np.float64)
    if len(finite):
        lengths = np.linalg.norm(finite, axis=1)
        expected = [lengths.min(), lengths.max(), lengths.mean()]
        found = [got.norms.min, got.norms.max, got.norms.mean]
        np.testing.assert_allclose(found, expected, rtol=1e-5)
    same = (finite == finite[:1]).all(axis=0) if len(finite) > 1 else np.zeros(d, bool)
    assert got.constant == tuple(np.flatnonzero(same))
    assert json.loads(json.dumps(got.to_dict()))["refused"] == refused


def test_nothing_is_wrong_with_good_rows(base):
    found = wf.check(base)
    assert found.ok
    assert found.clean is base
    assert found.constant == (127, 223)  # this model's
    assert "2 dimensions never change: 127, 223" in found.summary()
    assert "4,800 rows of 384 dimensions, float32" in repr(found)
    assert "no findings" in wf.check(base[:, :100], duplicates=False).summary()
    assert "duplicate" not in wf.check(base, duplicates=False).found
    empty = wf.check(base[:0])
    assert (empty.n, empty.ok, empty.norms, empty.constant) == (0, True, None, ())


def test_raising_names_the_argument_and_ten_rows(base):
    x = base[:40].copy()
    x[5:17, 3] = np.nan
    x[6, 4] = np.inf
    text = "chunks: 12 of 40 rows are refused: row 5 (nan), row 6 (nan, infinite), row 7 (nan)"
    with pytest.raises(ValueError, match=re.escape(text)) as error:
        wf.check(x, name="chunks")
    assert str(error.value).endswith("row 14 (nan), ...")


def test_findings_say_it_in_words(base, codec):
    x = base[:30].copy()
    x[3], x[4], x[5] = 0, x[2], 1000 * x[5]
    found = wf.check(x, codec=codec, norms=(0.5, 1.5), refuse="zero", policy="drop")
    assert [(finding.kind, finding.where) for finding in found.findings] == [
        ("zero", (3,)),
        ("norm", (3, 5)),
        ("duplicate", (4,)),
        ("beyond the codec", (3, 5)),
        ("constant", found.constant),
    ]
    assert "refused: 1 row is zero and has no direction: 3" in found.summary()
    assert "reported: 2 rows have a norm outside 0.5 to 1.5: 3, 5" in found.summary()
    assert "29 rows are left" in found.summary()
    assert found.to_dict()["counts"]["norm"] == 2


def test_beyond_the_codec_is_what_encoding_warns_of(clustered, small_codec):
    x = clustered[:400] * np.geomspace(1e-6, 1e6, 400, dtype="f4")[:, None]
    x[7, 3] = np.nan
    found = wf.check(x, codec=small_codec, refuse=["nonfinite", "beyond the codec"], policy="drop")
    beyond = found.found["beyond the codec"]
    assert len(beyond) > 50
    with pytest.warns(RuntimeWarning, match=f"{len(beyond)} of 399 vectors"):
        small_codec.encode(np.delete(x, 7, axis=0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        small_codec.encode(found.clean)


def test_what_is_asked_for_in_vain_is_an_error(base, codec):
    for wrong, text in (
        (
            {"refuse": ["nought"]},
            "refuse: unknown reason 'nought'; expected some of 'nonfinite', 'nan'",
        ),
        ({"refuse": ["norm"]}, "refuse: reason 'norm' needs norms="),
        ({"refuse": ["beyond the codec"]}, "'beyond the codec' needs codec="),
        ({"refuse": ["duplicate"], "duplicates": False}, "'duplicate' needs duplicates=True"),
        ({"policy": "ignore"}, "policy='ignore' must be 'raise', 'drop' or 'quarantine'"),
        ({"norms": (2, 1)}, r"norms\[1\]=1 must be at least 2"),
    ):
        with pytest.raises(ValueError, match=text):
            wf.check(base[:5], **wrong)
    with pytest.raises(TypeError, match="norms must be two numbers"):
        wf.check(base[:5], norms=1)
    with pytest.raises(TypeError, match=r"codec must be a waterfill\.Codec or None, got str"):
        wf.check(base[:5], codec="codec")
    with pytest.raises(ValueError, match="chunk has 7 dimensions, expected 384"):
        wf.check(base[:5, :7], codec=codec, name="chunk")


def test_rows_are_read_in_blocks_and_not_copied(tmp_path):
    x = np.random.default_rng(0).standard_normal((1500, 4096)).astype(np.float32)
    x[[0, 511, 512, 1499], 5] = np.nan  # 512 rows a block
    x[700] = x[3]
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    found = wf.check(mapped, refuse=("nan", "duplicate"), policy="drop")
    assert found.refused.tolist() == [0, 511, 512, 700, 1499]
    assert found.clean.shape == (1495, 4096)
    assert np.shares_memory(found.clean.read(0, 300), mapped)
    np.testing.assert_array_equal(found.clean.read(505, 10), x[found.kept[505:515]])
    np.testing.assert_array_equal(np.asarray(found.clean), x[found.kept])
    assert wf.check(found.clean).ok
    assert wf.check(mapped[1:500]).clean is not None


def test_other_dtypes_are_judged_as_float32():
    x = np.ones((4, 3))
    x[1, 0], x[2, 0] = 1e300, 1e-300
    found = wf.check(x, policy="drop")
    assert found.refused.tolist() == [1]
    assert found.reasons == [("infinite",)]
    assert found.dtype == "float64"
    assert wf.check(np.ones((3, 2), np.uint8)).found["duplicate"].tolist() == [1, 2]
    assert wf.check([[1, 2], [3, 4]]).n == 2
