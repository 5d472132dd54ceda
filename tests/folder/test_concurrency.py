"""Searches beside changes, in the same process and in others: each answer is of one state."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.concurrency import PATIENCE, until
from support.folder_model import D, options_of, some_vectors
from support.systems import on_posix

import waterfill as wf

SECONDS = float(os.environ.get("WATERFILL_STRESS_SECONDS", "2"))
BATCH = 4  # vectors that are always replaced together
BATCHES = 40
VERSIONS = 20  # after which they start again


def batch_of(number: int, version: int) -> np.ndarray:
    """Return the vectors of a batch, near to each other; the first number tells the version."""
    center = some_vectors(BATCHES, seed=50)[number]
    x = center + np.random.default_rng(number).standard_normal((BATCH, D)) * 0.001
    x[:, 0] = center[0] + 0.05 * (version % VERSIONS)
    return x.astype(np.float32)


def ids_of(number: int) -> np.ndarray:
    """Return the ids of a batch."""
    return np.arange(BATCH) + BATCH * number


def check_batch(index: Any, number: int) -> None:
    """The nearest to a batch are all its vectors, of one version."""
    _, found, vectors = index.search_and_reconstruct(batch_of(number, 10)[:1], BATCH)
    np.testing.assert_array_equal(np.sort(found[0]), ids_of(number))
    order = np.argsort(found[0])
    version = round(float(vectors[0, 0, 0] - batch_of(number, 0)[0, 0]) / 0.05)
    expected = batch_of(number, version).astype(np.float16)
    np.testing.assert_array_equal(vectors[0][order], expected)


def change(index: Any, stop: threading.Event, rng: np.random.Generator) -> int:
    """Replace batches by their next versions, until stopped."""
    versions, steps = [0] * BATCHES, 0
    while not stop.is_set():
        number = int(rng.integers(BATCHES))
        versions[number] += 1
        index.upsert(ids_of(number), batch_of(number, versions[number]))
        steps += 1
        if steps % 50 == 0:
            index.flush()
        if steps % 333 == 0:
            index.compact()
    return steps


def test_each_search_sees_one_state(tmp_path: Path) -> None:
    options = options_of("rows") | {"metric": "l2", "nprobe": 12, "k_factor": 30}
    index = wf.open_index(tmp_path / "a.wfx", "w", sync="none", flush_bytes=50_000, **options)
    for number in range(BATCHES):
        index.add_with_ids(batch_of(number, 0), ids_of(number))
    stop, failures, answers = threading.Event(), [], [0] * 8

    def read(reader: int) -> None:
        rng = np.random.default_rng(reader)
        try:
            while not stop.is_set():
                check_batch(index, int(rng.integers(BATCHES)))
                answers[reader] += 1
        except BaseException as error:
            failures.append(error)
            stop.set()

    readers = [threading.Thread(target=read, args=(number,)) for number in range(8)]
    for reader in readers:
        reader.start()

    def end() -> None:
        try:
            until(lambda: min(answers) > 0 or stop.is_set())
        finally:
            stop.set()

    threading.Timer(SECONDS, end).start()
    try:
        steps = change(index, stop, np.random.default_rng(1))
    finally:
        stop.set()
        for reader in readers:
            reader.join()
    assert failures == []
    assert steps > 0
    assert min(answers) > 0
    index.close()


READER = """
import sys, time
import numpy as np
import waterfill as wf
sys.path.insert(0, sys.argv[2])
from test_concurrency import BATCHES, check_batch
index = wf.open_index(sys.argv[1])
print("open", flush=True)
rng = np.random.default_rng(int(sys.argv[3]))
now, refreshed, answers = time.monotonic(), 0, 0
enough, patience = now + float(sys.argv[4]), now + float(sys.argv[5])
while time.monotonic() < (enough if refreshed else patience):
    refreshed += index.refresh()
    for number in rng.integers(BATCHES, size=5):
        check_batch(index, int(number))
        answers += 1
print(refreshed, answers, flush=True)
"""


def test_readers_in_other_processes_follow_the_writer(tmp_path: Path) -> None:
    options = options_of("rows") | {"metric": "l2", "nprobe": 12, "k_factor": 30}
    index = wf.open_index(tmp_path / "a.wfx", "w", sync="none", flush_bytes=50_000, **options)
    for number in range(BATCHES):
        index.add_with_ids(batch_of(number, 0), ids_of(number))
    path = os.pathsep.join(p for p in sys.path if p)
    arguments = [str(tmp_path / "a.wfx"), str(Path(__file__).parent)]
    limits = [str(SECONDS), str(SECONDS + PATIENCE)]
    readers = [
        subprocess.Popen(
            [sys.executable, "-c", READER, *arguments, str(seed), *limits],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )
        for seed in range(2)
    ]
    stop = threading.Event()
    writer = threading.Thread(target=change, args=(index, stop, np.random.default_rng(2)))
    try:
        for reader in readers:
            assert reader.stdout is not None
            assert reader.stdout.readline() == "open\n"
        writer.start()
        for reader in readers:
            words = reader.communicate()[0].split()
            assert reader.returncode == 0
            assert int(words[0]) > 0
            assert int(words[1]) > 0
    finally:
        stop.set()
        writer.join()
        index.close()


@on_posix
def test_a_forked_child_reads_and_does_not_write(tmp_path: Path) -> None:
    index = wf.open_index(tmp_path / "a.wfx", "w", **options_of("flat"))
    index.add(some_vectors(50, seed=1))
    stop = threading.Event()
    writer = threading.Thread(target=_add_until, args=(index, stop))
    writer.start()
    try:
        for _ in range(10):
            child = os.fork()
            if child == 0:  # pragma: no cover
                os._exit(_child(index))
            deadline = time.monotonic() + 60
            while (ended := os.waitpid(child, os.WNOHANG))[0] == 0:
                assert time.monotonic() < deadline, "the child hangs"
                time.sleep(0.005)
            assert os.waitstatus_to_exitcode(ended[1]) == 0
    finally:
        stop.set()
        writer.join()
    index.add(some_vectors(1, seed=2))  # the parent still has the lock
    with pytest.raises(BlockingIOError, match="open for changes"):
        wf.open_index(tmp_path / "a.wfx", "a")
    index.close()
    wf.open_index(tmp_path / "a.wfx", "a").close()


def _add_until(index: Any, stop: threading.Event) -> None:
    while not stop.is_set():
        index.add(some_vectors(3, seed=3))


def _child(index: Any) -> int:  # pragma: no cover
    if index.search(some_vectors(1, seed=1), 1)[1].shape != (1, 1):
        return 1
    try:
        index.add(some_vectors(1, seed=2))
    except ValueError as error:
        return 0 if "fork" in str(error) else 2
    return 3
