"""Threads: how many, from where, and several callers at once."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable

import numpy as np
import pytest

import waterfill as wf
from waterfill import _core


def threads_of_a_new_process(setting: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "import waterfill; print(waterfill.get_num_threads())"],
        env={**os.environ, "WATERFILL_NUM_THREADS": setting},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def at_once(*tasks: Callable[[], None]) -> None:
    """Run tasks in threads; the first exception of any of them is raised here."""
    errors: list[Exception] = []

    def guarded(task: Callable[[], None]) -> None:
        try:
            task()
        except Exception as error:
            errors.append(error)

    workers = [threading.Thread(target=guarded, args=(task,)) for task in tasks]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
        assert not worker.is_alive()
    if errors:
        raise errors[0]


def test_environment_sets_the_number_of_threads():
    assert threads_of_a_new_process("3").stdout.strip() == "3"
    assert int(threads_of_a_new_process("").stdout) >= 1


@pytest.mark.parametrize("setting", ["0", "-1", "1025", "many", "2.5"])
def test_a_wrong_environment_is_an_error_that_names_it(setting):
    done = threads_of_a_new_process(setting)
    assert done.returncode != 0
    assert f"WATERFILL_NUM_THREADS is '{setting}', expected a number from 1 to 1024" in done.stderr


def test_one_codec_encodes_for_several_callers(codec, base):
    wf.set_num_threads(3)
    expected = codec.encode(base)
    results: list[np.ndarray] = []
    at_once(*[lambda: results.append(codec.encode(base))] * 4)
    assert len(results) == 4
    for codes in results:
        np.testing.assert_array_equal(codes, expected)


def test_searches_beside_removals_see_whole_states(small_codec, clustered):
    """Removing a batch of 100 moves the survivors; no search sees half of it."""
    wf.set_num_threads(2)
    index = wf.IndexFlat(small_codec, "l2")
    index.add(clustered)
    index.refine_factor = 10**6
    sizes: list[int] = []

    def search() -> None:
        while index.ntotal > 0:
            distances, labels = index.search(clustered[:1], 3000)
            size = int((labels[0] >= 0).sum())
            sizes.append(size)
            assert sorted(labels[0, :size]) == list(range(size))
            assert (np.diff(distances[0, :size]) >= 0).all()

    def remove() -> None:
        while index.ntotal > 0:
            assert index.remove_ids(np.arange(100)) == 100

    at_once(search, search, remove)
    assert sizes
    assert all(size % 100 == 0 for size in sizes)


NO_MORE_THREADS = """
import os, resource, sys
import numpy as np
import waterfill as wf

x = np.random.default_rng(0).standard_normal((5000, 16)).astype(np.float32)
wf.set_num_threads(1)
index = wf.IndexFlat(wf.Recipe(16, 8).train(x, "ip", cells=0))
index.add(x)
expected = index.search(x[:300], 5)
if sys.argv[1] == "threads":
    if os.geteuid() == 0:
        os.setuid(54321)  # the limit does not bind root
    resource.setrlimit(resource.RLIMIT_NPROC, (3, resource.getrlimit(resource.RLIMIT_NPROC)[1]))
else:  # the stacks of threads must not take the memory of the search
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (int(sys.argv[1]) << 20), -1))
wf.set_num_threads(64)
for _ in range(3):
    found = index.search(x[:300], 5)
    assert all((a == b).all() for a, b in zip(found, expected))
threads = open("/proc/self/status").read().split("Threads:")[1].split()[0]
index.add(x[:100])
print("threads", threads, "vectors", index.ntotal)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc and RLIMIT_NPROC")
@pytest.mark.parametrize(("limit", "most"), [("threads", 4), ("30", 4), ("200", 40)])
def test_without_more_threads_or_memory_fewer_work(limit, most):
    """Limits of the number of threads, or of megabytes of address space."""
    done = subprocess.run(
        [sys.executable, "-c", NO_MORE_THREADS, limit],
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    threads, vectors = done.stdout.split()[1::2]
    assert int(threads) <= most
    assert int(vectors) == 5100


def test_a_thread_has_a_limit_of_its_own():
    wf.set_num_threads(3)
    seen: list[int] = []

    def limited():
        _core.set_own_threads(1)
        seen.append(wf.get_num_threads())
        _core.set_own_threads(0)
        seen.append(wf.get_num_threads())

    at_once(limited)
    assert seen == [1, 3]
    assert wf.get_num_threads() == 3
