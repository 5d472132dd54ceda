"""The example of docs/serving.md runs as it is written."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "serving.md"
DATA = Path(__file__).parents[1] / "data"


@pytest.mark.skipif(not PAGE.exists(), reason="an installed package has no docs")
def test_the_page_runs(monkeypatch, capsys):
    monkeypatch.chdir(DATA)
    (example,) = re.findall(r"```python\n(.+?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(example, str(PAGE), "exec"), names)
    assert "at capacity, please try again in a moment" in capsys.readouterr().out
    assert names["limiter"].in_use == 0
    assert names["limiter"].stats()["refused"]["default"]["capacity"] == 4
    assert names["limiter"].stats()["admitted"] == {"default": 12, "batch": 1}
