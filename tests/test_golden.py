"""Files of earlier versions are read, written back as they are, and searched as they were."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import waterfill as wf

GOLDEN = sorted((Path(__file__).parent / "golden").glob("*.wf"))


def test_there_are_golden_files():
    assert len(GOLDEN) >= 15


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_golden(path, tmp_path):
    index = wf.read_index(path)
    wf.write_index(index, tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == path.read_bytes()
    expected = np.load(path.with_suffix(".npz"))
    distances, labels = index.search(expected["queries"], 5)
    np.testing.assert_array_equal(labels, expected["labels"])
    np.testing.assert_allclose(distances, expected["distances"], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(index.sa_decode(index.codes(0, 40)), expected["decoded"], atol=1e-5)
