"""A forked child starts with nothing in use, no counts, and the initial limit."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]

FORK = """
import os, sys, threading
import waterfill as wf
from support import python_limiter


def child_exits_with_7(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def permits_and_counts(kind, with_thread):
    limiter, other = kind(4), kind(1)
    permit, dropped = limiter.acquire(cost=2), limiter.acquire()
    limiter.acquire().release()
    going = True

    def busy():  # forks happen while another thread uses a limiter
        while going:
            other.try_acquire()

    thread = threading.Thread(target=busy)
    if with_thread:
        thread.start()
    for _ in range(20):
        child = os.fork()
        if child == 0:
            assert limiter.in_use == other.in_use == 0
            assert limiter.stats()["admitted"] == {"default": 0}
            assert limiter.stats()["median_latency"] is None
            own = limiter.acquire(cost=4)
            assert not permit.release()
            del dropped
            assert limiter.in_use == 4 and limiter.try_acquire() is None
            assert limiter.stats()["abandoned"] == {"default": 0}
            assert own.release() and limiter.in_use == 0
            with other.acquire():
                os._exit(7)
        assert child_exits_with_7(child)
    going = False
    if with_thread:
        thread.join()
    assert limiter.in_use == 3 and permit.release() and limiter.in_use == 1


def adaptive_limit(kind):
    report = wf.loadtest.CapacityReport(
        rate=100.0, limit=20, floor=4, ceiling=32, unloaded=1e-9, throughput=200.0,
        slo=wf.loadtest.Slo(), steps=(),
    )
    limiter = kind(20, adaptive=report)
    for _ in range(400):
        for permit in [limiter.acquire() for _ in range(limiter.limit)]:
            permit.release()
    assert limiter.limit == 4
    child = os.fork()
    if child == 0:
        assert limiter.limit == 20
        os._exit(7)
    assert child_exits_with_7(child)
    assert limiter.limit == 4


for kind in (wf.Limiter, python_limiter.PythonLimiter):
    adaptive_limit(kind)
    permits_and_counts(kind, with_thread=False)
    permits_and_counts(kind, with_thread=True)
    print(kind.__name__)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_starts_anew():
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORK],
        capture_output=True, text=True, timeout=300, check=False, cwd=TESTS,
    )  # fmt: skip
    assert (done.stdout.split(), done.stderr) == (["Limiter", "PythonLimiter"], "")
