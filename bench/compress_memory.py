"""Peak memory of ``wf.compress`` beyond the source FAISS index and the resulting codes.

Run ``python bench/compress_memory.py`` on Linux. It resets the kernel's peak of resident memory
before the compression and reads it afterwards.
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
    """Return a flat index of vectors from random Gaussian clusters, filled in blocks."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((_CLUSTERS, d), dtype=np.float32)
    index = faiss.IndexFlatL2(d)
    for first in range(0, rows, _BLOCK):
        count = min(_BLOCK, rows - first)
        block = centres[rng.integers(_CLUSTERS, size=count)]
        block += np.float32(_SPREAD) * rng.standard_normal((count, d), dtype=np.float32)
        index.add(block)
    return index


def memory(field: str) -> int:
    """Return a field of /proc/self/status (VmRSS, VmHWM) in bytes."""
    found = re.search(rf"{field}:\s*(\d+) kB", _STATUS.read_text())
    if found is None:
        raise RuntimeError(f"{_STATUS} has no field {field}")
    return int(found[1]) * 1024


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(
        description="Peak memory of wf.compress beyond source and codes."
    )
    parser.add_argument("--rows", type=int, default=1_000_000, metavar="N", help="vectors")
    parser.add_argument("--dim", type=int, default=128, metavar="D", help="dimensions")
    parser.add_argument("--bytes", type=int, default=32, metavar="B", help="code_bytes")
    args = parser.parse_args(arguments)
    if not _CLEAR.exists():
        raise SystemExit(f"error: this benchmark needs {_CLEAR}, which only Linux has")
    source = clusters(args.rows, args.dim)
    # Free memory that the allocator still holds would hide part of the peak.
    ctypes.CDLL(None).malloc_trim(0)
    _CLEAR.write_text(_RESET_PEAK)
    before, start = memory("VmRSS"), time.perf_counter()
    index = wf.compress(source, code_bytes=args.bytes)
    seconds, extra = time.perf_counter() - start, memory("VmHWM") - before
    codes = index.ntotal * index.bytes_per_vector
    print(
        f"{args.rows:,} x {args.dim} floats, {before / 1e6:,.0f} MB resident before; "
        f"compressed to {index.bytes_per_vector:.1f} bytes per vector in {seconds:.0f} s\n"
        f"peak above that: {extra / 1e6:,.0f} MB, of which {codes / 1e6:,.0f} MB are codes; "
        f"without the codes: {(extra - codes) / 1e6:,.0f} MB"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
