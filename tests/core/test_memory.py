"""Memory is bounded by blocks, not by the number of rows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

D = 128

RUN = """
import re, resource, sys
import numpy as np, waterfill as wf
x = np.load(sys.argv[1], mmap_mode="r")
plan = wf.Plan.waterfill(wf.analyze(x), code_bytes=8)
index = wf.IndexFlat(wf.Codec.train(x, plan, effort="fast"))
index.add(x)
if sys.platform == "darwin":
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
else:  # Linux counts the parent's memory before exec in ru_maxrss
    print(re.search(r"VmHWM:\\s*(\\d+) kB", open("/proc/self/status").read())[1])
"""


def peak_kib(path: Path) -> int:
    done = subprocess.run(
        [sys.executable, "-c", RUN, path], capture_output=True, text=True, timeout=600, check=True
    )
    return int(done.stdout)


def generate(path: Path, rows: int) -> Path:
    rng = np.random.default_rng(0)
    x = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(rows, D))
    for first in range(0, rows, 20_000):
        x[first : first + 20_000] = rng.standard_normal((20_000, D), dtype=np.float32)
    return path


@pytest.mark.memory
@pytest.mark.parametrize(
    ("few", "many"), [(80_000, 280_000), pytest.param(100_000, 900_000, marks=pytest.mark.slow)]
)
def test_peak_memory_does_not_grow_with_rows(tmp_path, few, many):
    small = peak_kib(generate(tmp_path / "few.npy", few))
    large = peak_kib(generate(tmp_path / "many.npy", many))
    file_kib = (many - few) * D * 4 / 1024  # 100 or 400 MB
    codes_kib = 2 * (many - few) * 9 / 1024  # twice: a call's codes are appended in one piece
    assert file_kib >= 100_000
    assert large - small <= codes_kib + 20_000
