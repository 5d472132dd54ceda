"""Samples by name and labels, of one process or merged, and scripts in other processes."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from waterfill.metrics import FAMILIES

TESTS = Path(__file__).parents[1]
PATIENCE = 300  # seconds after which something hangs, more than any script waits for


def values(source: Any) -> dict[tuple[str, ...], Any]:
    """Return the samples of a source by name and values of labels."""
    return {(each.name, *each.labels.values()): each.value for each in source.samples()}


def merged(path: Any) -> dict[tuple[str, ...], float]:
    """Return what prometheus_client merges of all processes, by name and values of labels."""
    from prometheus_client.multiprocess import MultiProcessCollector

    found = {}
    for family in MultiProcessCollector(None, path=str(path)).collect():
        name = family.name + "_total" * (family.type == "counter")
        labels = FAMILIES[name].labels
        assert (family.type, family.documentation) == (FAMILIES[name].kind, FAMILIES[name].meaning)
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(labels)
            le = [sample.labels["le"]] if "le" in sample.labels else []
            key = (sample.name, *(sample.labels[label] for label in labels), *le)
            assert key not in found
            found[key] = sample.value
    return found


def counts(found: dict[tuple[str, ...], float]) -> dict[tuple[str, ...], float]:
    """Return the merged series that never decrease."""
    ends = ("_total", "_count", "_sum", "_bucket")
    return {key: value for key, value in found.items() if key[0].endswith(ends)}


def run(script: str, *arguments: Any) -> str:
    """Run a script in another process, which forks; return what it prints."""
    path = os.pathsep.join(os.path.abspath(each) for each in sys.path)
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", script, *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=TESTS,
        env={**os.environ, "PYTHONPATH": path}, start_new_session=True,
    )  # fmt: skip
    try:
        # Not communicate(): children that a failed script leaves behind hold the pipes open.
        status = process.wait(PATIENCE)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    output, errors = process.communicate()
    assert status == 0, errors
    assert errors == ""
    return output
