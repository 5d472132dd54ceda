"""The example of docs/graph.md runs as it is written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.doc_examples import run_example


def test_example(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    names = run_example("graph.md", monkeypatch, tmp_path)
    assert names["again"].ntotal == 4900
    assert (names["few"][1] < 1000).all()
    np.testing.assert_array_equal(names["labels"][:, 0], [0, 1, 2])
