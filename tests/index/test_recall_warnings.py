"""Warnings where a default costs recall; each says what to do, and is said once."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import waterfill as wf
from waterfill.training import RecallWarning


@pytest.fixture
def isotropic():
    return np.random.default_rng(0).standard_normal((3000, 64), dtype=np.float32)


def raised(call):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    return [str(each.message) for each in caught if each.category is RecallWarning]


def test_few_rows(base_64):
    index = wf.IndexFlat(wf.Recipe(64, 32))
    (said,) = raised(lambda: index.train(base_64[:300]))
    assert said.startswith("x: 300 rows train codes that find less")
    assert raised(lambda: wf.IndexFlat(wf.Recipe(64, 32)).train(base_64)) == []


def test_vectors_without_structure(isotropic, tmp_path):
    (said,) = raised(lambda: wf.IndexFlat(wf.Recipe(64, 8)).train(isotropic))
    assert said.startswith("code_bytes: 8 bytes found 0.")
    assert "refine='int8'" in said
    (again,) = raised(lambda: wf.build(isotropic, tmp_path / "a.wfx", wf.Recipe(64, 8)))
    assert again == said
    assert raised(lambda: wf.IndexFlat(wf.Recipe(64, 8), refine="int8").train(isotropic)) == []


def test_few_candidates_of_rows(isotropic):
    def searched(**options):
        index = wf.IndexFlat(wf.Recipe(64, 8), refine="int8", **options)
        index.train(isotropic)
        index.add(isotropic)
        return index

    index = searched()
    index.refine_factor = 64
    assert raised(lambda: index.search(isotropic[:3], 10)) == []  # rows rank them all
    index.refine_factor = 65
    (said,) = raised(lambda: index.search(isotropic[:3], 10))
    assert said.startswith("k_factor: rows rank 4 candidates per result")
    assert raised(lambda: index.search(isotropic[:3], 10)) == []  # once
    deeper = searched(k_factor=10)
    chosen = searched()
    chosen.k_factor = 4
    for other in (deeper, chosen):
        other.refine_factor = 65
        assert raised(lambda other=other: other.search(isotropic[:3], 10)) == []


def test_the_warning_names_the_line_of_the_caller(isotropic):
    with pytest.warns(RecallWarning) as caught:
        wf.IndexFlat(wf.Recipe(64, 8)).train(isotropic)
    assert caught[0].filename == __file__
