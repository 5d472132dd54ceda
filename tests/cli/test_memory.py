"""Commands that read a large file hold a block of it, and the codes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support import trained
from support.command_runner import environment

import waterfill as wf

D = 128

# The peak of a process is reset between commands, so that one process serves several of them.
RUN = """
import re, sys
from pathlib import Path
from waterfill.cli import main
for command in ("encode codec.wf {0} -o codes.npy", "build --codec codec.wf {0} -o index.wf"):
    Path("/proc/self/clear_refs").write_text("5")
    sys.argv[1:] = command.format(FILE).split()
    try:
        main()
    except SystemExit as end:
        assert end.code == 0
    print("peak", re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1])
"""


def peaks_kib(directory: Path, file: str) -> list[int]:
    """Return the peaks of resident memory while a file is encoded, and built into an index."""
    done = subprocess.run(
        [sys.executable, "-c", f"FILE = {file!r}\n{RUN}"],
        cwd=directory,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    lines = done.stdout.splitlines()
    return [int(line.split()[1]) for line in lines if line.startswith("peak ")]


def generate(path: Path, rows: int) -> None:
    rng = np.random.default_rng(0)
    block = rng.standard_normal((20_000, D), dtype=np.float32)
    x = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(rows, D))
    for first in range(0, rows, len(block)):
        x[first : first + len(block)] = block


@pytest.mark.memory
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_does_not_grow_with_the_file(tmp_path):
    few, many = 60_000, 260_000
    generate(tmp_path / "few.npy", few)
    generate(tmp_path / "many.npy", many)
    x = np.load(tmp_path / "few.npy", mmap_mode="r")[:10_000]
    wf.write_codec(trained.trained(x, 8, effort="fast"), tmp_path / "codec.wf")
    pairs = zip(peaks_kib(tmp_path, "few.npy"), peaks_kib(tmp_path, "many.npy"), strict=True)
    for of_codes, (small, large) in zip((0, 2), pairs, strict=True):
        codes_kib = of_codes * (many - few) * 9 / 1024
        assert large - small <= codes_kib + 20_000  # of 100,000 that the file has more
