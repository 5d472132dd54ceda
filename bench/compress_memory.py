"""Memory that ``wf.compress`` takes beyond the FAISS index it reads and the codes it makes.

Run ``python bench/compress_memory.py`` on Linux: the kernel's peak of resident memory is set back
before the work and read after.
"""

from __future__ import annotations

import argparse
import ctypes
import re
import time
from collections.abc import Sequence
from pathlib import Path

import faiss
import numpy as np

import waterfill as wf

_CLUSTERS, _SPREAD, _BLOCK = 1_000, 0.5, 20_000
_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_RESET_PEAK = "5"


def clusters(rows: int, d: int) -> faiss.IndexFlatL2:
    """Return a flat index of random clusters, filled by blocks."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((_CLUSTERS, d), dtype=np.float32)
    index = faiss.IndexFlatL2(d)
    for first in range(0, rows, _BLOCK):
        number = min(_BLOCK, rows - first)
        block = centres[rng.integers(_CLUSTERS, size=number)]
        block += np.float32(_SPREAD) * rng.standard_normal((number, d), dtype=np.float32)
        index.add(block)
    return index


def memory(field: str) -> int:
    """Return a number of bytes that the kernel tells: VmRSS, VmHWM."""
    found = re.search(rf"{field}:\s*(\d+) kB", _STATUS.read_text())
    if found is None:
        raise RuntimeError(f"{_STATUS} tells no {field}")
    return int(found[1]) * 1024


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(description="Peak memory of wf.compress beyond the codes.")
    parser.add_argument("--rows", type=int, default=1_000_000, metavar="N")
    parser.add_argument("--dim", type=int, default=128, metavar="D")
    parser.add_argument("--bytes", type=int, default=32, metavar="B", help="code_bytes")
    given = parser.parse_args(arguments)
    if not _CLEAR.exists():
        raise SystemExit(f"error: this needs Linux's {_CLEAR}")
    source = clusters(given.rows, given.dim)
    # What the allocator holds but nobody uses would hide as much of what is to be measured.
    ctypes.CDLL(None).malloc_trim(0)
    _CLEAR.write_text(_RESET_PEAK)
    before, start = memory("VmRSS"), time.perf_counter()
    index = wf.compress(source, code_bytes=given.bytes)
    seconds, extra = time.perf_counter() - start, memory("VmHWM") - before
    codes = index.ntotal * index.bytes_per_vector
    print(
        f"{given.rows:,} x {given.dim} floats, {before / 1e6:,.0f} MB resident before; "
        f"compressed to {index.bytes_per_vector} bytes each in {seconds:.0f} s\n"
        f"peak beyond that: {extra / 1e6:,.0f} MB, of which codes {codes / 1e6:,.0f} MB; "
        f"beyond the codes: {(extra - codes) / 1e6:,.0f} MB"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
