"""Examples of the pages in docs/, run as they are written."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parents[2] / "docs"
DATA = Path(__file__).parents[1] / "samples"

needs_docs = pytest.mark.skipif(not DOCS.exists(), reason="an installed package has no docs")


def run_example(
    page: str, monkeypatch: pytest.MonkeyPatch, directory: Path | None = None
) -> dict[str, Any]:
    """Run the examples of a page, one after the other, beside the sample; return their names.

    directory: a copy of the sample, for an example that writes files.
    """
    monkeypatch.chdir(directory or DATA)
    path = DOCS / page
    examples = re.findall(r"```python\n(.+?)```", path.read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile("\n".join(examples), str(path), "exec"), names)
    return names
