"""Memory is bounded by blocks, not by the number of rows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import waterfill as wf

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


COPIES = """
import os, pickle, sys
import waterfill as wf

def peak_of(call):
    status = lambda key: int(open("/proc/self/status").read().split(key + ":")[1].split()[0])
    open("/proc/self/clear_refs", "w").write("5")  # the peak starts from here
    before = status("VmRSS")
    result = call()
    return result, status("VmHWM") - before

path = sys.argv[1]
index, reading = peak_of(lambda: wf.read_index(path))
_, dumping = peak_of(lambda: pickle.dump(index, open(path + ".pickle", "wb"), 5))
buffers = []
data, apart = peak_of(lambda: pickle.dumps(index, 5, buffer_callback=buffers.append))
_, loading = peak_of(lambda: pickle.loads(data, buffers=buffers))
print(os.path.getsize(path) // 1024, reading, dumping, apart, loading)
"""


@pytest.mark.memory
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/status")
def test_reading_and_pickling_take_one_more_copy_at_most(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((60_000, D), dtype=np.float32)
    index = wf.IndexFlat(wf.Recipe(D, 32, effort="fast"), refine="float32")
    index.train(x[:5000])
    for first in range(0, len(x), 10_000):
        index.add(x[first : first + 10_000])
    path = tmp_path / "index.wf"
    wf.write_index(index, path)
    command = [sys.executable, "-c", COPIES, path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=True)
    size, *peaks = map(int, done.stdout.split())
    assert size > 30_000
    assert max(peaks) <= 1.1 * size + 4_000, peaks
