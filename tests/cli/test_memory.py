"""What builds an index of a big file holds a block of it, and the codes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.command_runner import environment

D = 128

RUN = """
import re, sys
from waterfill.cli import main
try:
    main()
finally:
    print(re.search(r"VmHWM:\\s*(\\d+) kB", open("/proc/self/status").read())[1])
"""


def peak_kib(directory: Path, *arguments: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", RUN, *arguments],
        cwd=directory,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    return int(done.stdout.splitlines()[-1])


def generate(path: Path, rows: int) -> None:
    rng = np.random.default_rng(0)
    x = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(rows, D))
    for first in range(0, rows, 20_000):
        x[first : first + 20_000] = rng.standard_normal((20_000, D), dtype=np.float32)


@pytest.mark.memory
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_does_not_grow_with_the_file(tmp_path):
    few, many = 100_000, 500_000
    generate(tmp_path / "few.npy", few)
    generate(tmp_path / "many.npy", many)
    train = ("train", "few.npy", "--code-bytes", "8", "--effort", "fast", "-o", "codec.wf")
    peak_kib(tmp_path, *train)
    for command, of_codes in (("encode", 0), ("build", 2)):
        options = ("codec.wf",) if command == "encode" else ("--codec", "codec.wf")
        small, large = (
            peak_kib(tmp_path, command, *options, name, "-o", "made")
            for name in ("few.npy", "many.npy")
        )
        codes_kib = of_codes * (many - few) * 9 / 1024
        assert large - small <= codes_kib + 20_000, command
