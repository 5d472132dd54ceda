"""Damaged files that are mapped: found if all is verified, and safe to use in any case."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.mapped_damage import MARK

import waterfill as wf
from waterfill import _core

TESTS = Path(__file__).parent
# By name: cells, metric, rows, ids, and whether it is a segment.
FILES = {
    "flat": (0, "l2", "-", False, False),
    "lists": (5, "inner_product", "-", True, False),
    "many lists": (300, "l2", "-", False, False),
    "rows": (2, "l2", "int8", True, False),
    "float rows": (0, "inner_product", "float16", False, False),
    "segment": (5, "l2", "float32", True, True),
    "flat segment": (0, "l2", "-", False, True),
    "segment of many lists": (300, "inner_product", "-", True, True),
}


@pytest.fixture(params=FILES)
def file(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    """The arguments of `support.mapped_damage` that name a small file."""
    cells, metric, rows, with_ids, segment = FILES[request.param]
    rng = np.random.default_rng(1)
    x = (rng.standard_normal((600, 3)) * (2, 1, 0.5) + 0.5).astype("f4")
    plan = wf.Plan.waterfill(wf.analyze(x), code_bytes=1)
    codec = wf.Codec.train(x, plan, cells=cells)
    core = _core.Index(codec._core, getattr(_core.Metric, metric))
    n, kept = (400, None) if cells == 300 else (150, None)
    if rows != "-":
        kind = getattr(_core.RowKind, rows)
        core.keep_refine_rows(kind)
        kept = _core.RefineRows(kind, 3)
        kept.append(x[:n], 0)
    core.append(codec.encode(x[:n]), rng.permutation(n) * 7 - 3 if with_ids else None, kept)
    path = tmp_path / "file.wf"
    with open(path, "wb") as out:
        if segment:
            core.write_segment(out.fileno(), bytes(path), MARK, False)
            wf.write_codec(codec, tmp_path / "codec.wf")
        else:
            settings = {
                "inverted": False,
                "nprobe": 0,
                "target_recall": None,
                "k_factor": 1.0,
                "quantizer": b"",
            }
            core.write(out.fileno(), bytes(path), **settings)
    return [str(path), str(tmp_path / "codec.wf") if segment else "-", metric, rows]


def damage(mode: str, file: list[str], seed: int, count: int) -> dict[str, Any]:
    """Run the child process and return what it found."""
    done = subprocess.run(
        [
            *(sys.executable, "-X", "faulthandler", "-m", "support.mapped_damage"),
            *(mode, *file, str(seed), str(count)),
        ],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_every_flipped_bit_is_found_and_safe(file: list[str]) -> None:
    found = damage("flips", file, 1, 700)
    assert found["refused"] > 400
    assert found["header used"] > 100
    assert set(found) == {"refused", "header used"}  # nothing was accepted


@pytest.mark.slow
@pytest.mark.parametrize("file", ["flat", "lists", "segment"], indirect=True)
def test_every_single_bit(file: list[str]) -> None:
    bits = 8 * Path(file[0]).stat().st_size
    found = damage("flips", file, 1, 0)
    assert set(found) == {"refused", "header used"}
    assert found["refused"] == bits


def test_repaired_checksums_are_safe_and_contradictions_found(file: list[str]) -> None:
    found = damage("repaired", file, 2, 250)
    assert found["header used"] > 60
    assert found["refused"] > 20
    assert "contradiction accepted" not in found
