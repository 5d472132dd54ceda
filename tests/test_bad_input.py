"""docs/bad-input.md, a test a row: what FAISS does with it, and what waterfill does."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from support.bad_input import codes, ids, row_policies, search_arguments, training, vectors
from support.bad_input.harness import Case, X, ours, theirs

import waterfill as wf

PAGE = Path(__file__).parent.parent / "docs" / "bad-input.md"
CASES = [
    case
    for module in (vectors, search_arguments, training, row_policies, ids, codes)
    for case in module.CASES
]


def check(index: Any, case: Case, expected: Any) -> None:
    kind, pattern = expected if isinstance(expected, tuple) else (expected, None)
    if isinstance(kind, type):
        before = index.ntotal
        with pytest.raises(kind, match=pattern):
            case.call(index)
        assert index.ntotal == before
    else:
        assert expected(case.call(index))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.row)
def test_faiss_does_what_the_page_says(case):
    if case.faiss is not None:
        check(theirs(case.kind), case, case.faiss)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.row)
def test_waterfill_does_what_the_page_says(case):
    check(ours(case.kind), case, case.waterfill)


def test_an_index_that_was_read_may_be_added_to_and_its_file_stays(tmp_path):
    """Row: add to a read-only mmap."""
    path = tmp_path / "index.wf"
    wf.write_index(ours("flat"), path)
    path.chmod(0o444)
    before = path.read_bytes()
    index = wf.read_index(path)
    index.add(X[:2])
    assert index.ntotal == 302
    assert path.read_bytes() == before


def test_faiss_does_not_add_to_a_map(tmp_path):
    """With several threads the error leaves an OpenMP region, which ends the process."""
    path = str(tmp_path / "lists.faiss")
    faiss.write_index(theirs("lists"), path)
    code = (
        "import faiss, sys, numpy as np\n"
        "index = faiss.read_index(sys.argv[1], faiss.IO_FLAG_MMAP)\n"
        "index.add(np.ones((2, 8), 'f4'))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    assert done.returncode != 0
    assert "read-only" in done.stderr


def test_rows_are_read_from_a_read_only_map(tmp_path):
    """Row: x as a read-only memory map."""
    np.save(tmp_path / "x.npy", X)
    x = np.load(tmp_path / "x.npy", mmap_mode="r")
    index = ours("empty")
    index.add(x)
    np.testing.assert_array_equal(index.codes(), ours("flat").codes())


def test_every_row_of_the_page_is_tested():
    rows = re.findall(r"^\| ([^|]+?) \|", PAGE.read_text(), re.MULTILINE)
    rows = [row.replace("`", "") for row in rows if row not in ("what", "---")]
    apart = ["add to a read-only mmap", "x as a read-only memory map"]
    assert sorted(rows) == sorted([case.row for case in CASES] + apart)
