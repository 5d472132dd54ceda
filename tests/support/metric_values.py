"""What the tests of metrics share: samples by name and labels, scripts in other processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from waterfill.metrics import Histogram

TESTS = Path(__file__).parents[1]
PATIENCE = 60  # seconds after which something hangs


def values(source: Any) -> dict[tuple[str, ...], Any]:
    """Return the samples of a source by name and values of labels."""
    return {(each.name, *each.labels.values()): each.value for each in source.samples()}


def counted(source: Any) -> dict[tuple[str, ...], int]:
    """Return what can only grow, histograms by bucket and sum."""
    found = {}
    for key, value in values(source).items():
        if isinstance(value, Histogram):
            found[(*key, "sum")] = value.nanoseconds
            found |= {(*key, le): count for le, count in value.cumulative()}
        elif key[0].endswith("_total"):
            found[key] = value
    return found


def run(script: str, *arguments: Any) -> str:
    """Run a script in another process, which forks; return what it prints."""
    path = os.pathsep.join(os.path.abspath(each) for each in sys.path)
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", script, *map(str, arguments)],
        capture_output=True, text=True, timeout=PATIENCE, check=False, cwd=TESTS,
        env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout
