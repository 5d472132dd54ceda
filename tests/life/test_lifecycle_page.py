"""The example of docs/lifecycle.md runs as it is written."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "lifecycle.md"
DATA = Path(__file__).parents[1] / "data"


@pytest.mark.skipif(not PAGE.exists(), reason="an installed package has no docs")
def test_the_example_runs(monkeypatch, capsys):
    monkeypatch.chdir(DATA)
    (example,) = re.findall(r"```python\n(.+?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(example, str(PAGE), "exec"), names)
    live = names["live"]
    assert [event.what for event in live.history] == ["start", "swap", "rollback"]
    assert live.index is names["index"]
    assert names["ids"].shape == (200, 10)
    assert "generation 2 is in use" in capsys.readouterr().out
