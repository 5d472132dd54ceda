"""The example of docs/batching.md runs as it is written."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from serving.common import assert_same

PAGE = Path(__file__).parents[2] / "docs" / "batching.md"
DATA = Path(__file__).parents[1] / "data"


@pytest.mark.skipif(not PAGE.exists(), reason="an installed package has no docs")
def test_the_example_runs(monkeypatch, capsys):
    monkeypatch.chdir(DATA)
    (example,) = re.findall(r"```python\n(.+?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(example, str(PAGE), "exec"), names)
    for answers in (names["found"], names["answers"]):
        distances, ids = zip(*answers, strict=True)
        together = names["index"].search(names["queries"], 10)
        assert_same(together, [*map(names["np"].concatenate, (distances, ids))])
    printed = capsys.readouterr().out
    assert "BatcherStats(calls=200" in printed
    assert "CacheStats(hits=200, misses=200" in printed
