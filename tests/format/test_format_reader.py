"""The reader of tests/support is what cpp/format.ksy compiles to."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from support.format_compiler import READER, compile_reader, mark

COMPILER = Path(
    os.environ.get("WATERFILL_KSC", Path(__file__).parents[2] / "build" / "kaitai-struct")
)


def test_the_reader_was_compiled_from_this_format() -> None:
    assert READER.read_text().splitlines()[0] == mark(), "call make format-reader"


@pytest.mark.skipif(
    shutil.which("node") is None or not (COMPILER / "node_modules").is_dir(),
    reason="no kaitai-struct-compiler: make format-compiler installs it with npm",
)
def test_the_format_compiles_to_the_reader() -> None:
    assert compile_reader(COMPILER) == READER.read_text()
