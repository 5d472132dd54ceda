"""Files of earlier versions are read, written back, and searched as they were.

What is written back is the same, and the sections that follow from the others, of format 1.5.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.container import Container

import waterfill as wf

DERIVED = (b"LISTS", b"LABLOW", b"LABBITS", b"LABSAMP", b"IDINFO", b"IDORDER")
GOLDEN = sorted((Path(__file__).parent / "golden").glob("*.wf"))


def test_there_are_golden_files():
    assert len(GOLDEN) >= 15
    assert sum(path.stem.startswith("1.5") for path in GOLDEN) >= 2


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_golden(path, tmp_path):
    index = wf.read_index(path)
    wf.write_index(index, tmp_path / "again")
    again = Container.parse((tmp_path / "again").read_bytes())
    if path.stem < "1.5":
        again.minor = Container.parse(path.read_bytes()).minor
        again.sections = [s for s in again.sections if s.tag.rstrip(b"\0") not in DERIVED]
    assert again.to_bytes() == path.read_bytes()
    expected = np.load(path.with_suffix(".npz"))
    distances, labels = index.search(expected["queries"], 5)
    np.testing.assert_array_equal(labels, expected["labels"])
    np.testing.assert_allclose(distances, expected["distances"], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(index.sa_decode(index.codes(0, 40)), expected["decoded"], atol=1e-5)


@pytest.mark.parametrize("path", [p for p in GOLDEN if p.stem >= "1.5"], ids=lambda path: path.stem)
def test_golden_files_are_mapped(path):
    expected = np.load(path.with_suffix(".npz"))
    for verify in ("full", "header"):
        mapped = wf.read_index(path, mmap=True, verify=verify)
        np.testing.assert_array_equal(mapped.search(expected["queries"], 5)[1], expected["labels"])
