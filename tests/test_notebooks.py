"""The notebooks run from the first cell to the last, and print what they show."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

import pytest
from support.doc_examples import DOCS, needs_docs

NOTEBOOKS = ["drift", "how-many-bytes"]
_NUMBER = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?")
_SHOW = """
import matplotlib
matplotlib.use("agg")


def show(value):
    ways = {"_repr_html_", "_repr_png_", "_repr_mimebundle_"}
    assert value is None or ways & set(dir(value)), type(value)
"""
_TOLERANCE = 0.1  # relative: another processor may round a last bit otherwise


def code_cells(name: str) -> list[dict[str, Any]]:
    text = (DOCS / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8")
    return [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]


def source_of(cell: dict[str, Any]) -> str:
    """Return the code of a cell, which shows the value of its last line as a notebook does."""
    source = "".join(cell["source"])
    last = source.splitlines()[-1]
    shows = re.fullmatch(r"[a-z]\w*(\..+)?", last) and not last.startswith("plt")
    return source.removesuffix(last) + f"show({last})" if shows else source


def numbers_of(text: str) -> list[float]:
    return [float(number.replace(",", "")) for number in _NUMBER.findall(text)]


@needs_docs
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_runs_and_prints_what_it_shows(name: str) -> None:
    cells = code_cells(name)
    program = "\n".join([_SHOW, *map(source_of, cells)])
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=DOCS / "notebooks",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    shown = "".join(
        "".join(output["text"])
        for cell in cells
        for output in cell["outputs"]
        if output["output_type"] == "stream" and output["name"] == "stdout"
    )
    assert _NUMBER.sub("#", done.stdout) == _NUMBER.sub("#", shown)
    assert numbers_of(done.stdout) == pytest.approx(numbers_of(shown), rel=_TOLERANCE, abs=0.02)


@needs_docs
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_is_kept_as_it_ran(name: str) -> None:
    """Every cell once, in order, without an error."""
    cells = code_cells(name)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    kinds = {output["output_type"] for cell in cells for output in cell["outputs"]}
    assert kinds <= {"stream", "display_data", "execute_result"}


@needs_docs
def test_every_notebook_is_run() -> None:
    assert {path.stem for path in (DOCS / "notebooks").glob("*.ipynb")} == set(NOTEBOOKS)
