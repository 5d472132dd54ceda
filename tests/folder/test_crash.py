"""Acknowledged changes survive a kill of the process, and a failure of any system call."""

from __future__ import annotations

import contextlib
import functools
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support.folder_model import D, codec_of, later_codec, options_of, some_vectors

import waterfill as wf

ROUNDS = int(os.environ.get("WATERFILL_KILLS", "6"))

# Adds batches of vectors that their ids determine, and writes a line after each call.
WRITER = """
import sys
import numpy as np
import waterfill as wf
from support.folder_model import some_vectors
path, work, codecs, (first, flush) = *sys.argv[1:3], sys.argv[3:5], map(int, sys.argv[5:])
with wf.open_index(path, "a", flush_bytes=flush) as index:
    print("open", flush=True)
    n = first
    while True:
        ids = np.arange(n, n + 5)
        index.upsert(ids, some_vectors(5, seed=n))
        print(f"add {n}", flush=True)
        if n % 25 == 0:
            index.remove_ids(np.array([n]))
            print(f"remove {n}", flush=True)
        if work == "compacting" and n % 35 == 0:
            index.compact()
        if work == "recoding" and n % 70 == 0:
            index.change_codec(wf.read_codec(codecs[n // 70 % 2]))
            index.recode()
        n += 5
"""


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}


@pytest.mark.parametrize("work", ["adding", "compacting", "recoding"])
def test_acknowledged_changes_survive_a_kill(tmp_path: Path, work: str) -> None:
    path = tmp_path / "a.wfx"
    codecs = tmp_path / "0.wf", tmp_path / "1.wf"
    for codec, name in zip((codec_of("rows"), later_codec("rows")), codecs, strict=True):
        wf.write_codec(codec, name)
    wf.open_index(path, "w", **options_of("rows")).close()
    rng = random.Random(7)
    acknowledged: set[int] = set()
    removed: set[int] = set()
    first = 0
    for _ in range(ROUNDS):
        arguments = [path, work, *codecs, first, 40_000]
        lines, started = _killed_writer(arguments, rng.uniform(0.0, 0.4))
        for line in lines:
            word, _, number = line.partition(" ")
            if word == "add":
                acknowledged.update(range(int(number), int(number) + 5))
                removed.discard(int(number))
                first = int(number) + 5
            elif word == "remove":
                removed.add(int(number))
        assert started
        _check(path, acknowledged, removed, first)
        # What was under way may have happened or not; what follows starts behind it.
        acknowledged = set(wf.open_index(path).ids().tolist())
        first = max([first, *(id + 5 - id % 5 for id in acknowledged)])


def _killed_writer(arguments: list[Any], seconds: float) -> tuple[list[str], bool]:
    """Return the lines of a writer that was killed some time after it had opened the folder."""
    command = [sys.executable, "-c", WRITER, *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment()) as process:
        assert process.stdout is not None
        started = process.stdout.readline() == "open\n"
        time.sleep(seconds)
        process.kill()
        lines = process.stdout.read().splitlines()
    return lines, started


def _check(path: Path, acknowledged: set[int], removed: set[int], first: int) -> None:
    index = wf.open_index(path, verify="full")
    ids = index.ids()
    assert len(set(ids.tolist())) == len(ids)
    found = set(ids.tolist())
    last = first - 5  # the removal of this id may have happened without being acknowledged
    assert acknowledged - removed - found <= {last}
    assert not removed & found
    others = found - acknowledged
    assert others <= set(range(first, first + 5)), "only the batch that was being written"
    vectors = np.stack([_batch(id - id % 5)[id % 5] for id in ids.tolist()]) if len(ids) else None
    if vectors is not None:
        np.testing.assert_array_equal(index.reconstruct_batch(ids), vectors)


@functools.cache
def _batch(first: int) -> NDArray[np.float32]:
    """Return the vectors that the writer gives to five ids, as the rows of the folder."""
    return some_vectors(5, seed=first).astype(np.float16).astype(np.float32)


def test_a_killed_write_leaves_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    codec = codec_of("lists")
    script = """
import sys
import waterfill as wf
from support.folder_model import some_vectors
index = wf.IndexIVF(wf.read_codec(sys.argv[2]), 12)
print("open", flush=True)
n = 0
while True:
    index.add(some_vectors(1000, seed=n))
    wf.write_index(index, sys.argv[1])
    n += 1
    print(n, flush=True)
"""
    path, rng = tmp_path / "a.wf", random.Random(5)
    wf.write_codec(codec, tmp_path / "c.wf")
    for _ in range(ROUNDS):
        arguments = [sys.executable, "-c", script, str(path), str(tmp_path / "c.wf")]
        with subprocess.Popen(
            arguments, stdout=subprocess.PIPE, text=True, env=environment()
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            process.stdout.readline()  # one write is complete
            time.sleep(rng.uniform(0, 0.2))
            process.kill()
            done = [int(line) for line in process.stdout.read().splitlines()]
        index = wf.read_index(path)
        assert index.ntotal % 1000 == 0
        assert index.ntotal // 1000 >= max([1, *done])
        # Killed between the two system calls that name a finished file, a write leaves it whole.
        for entry in set(os.listdir(tmp_path)) - {"a.wf", "c.wf"}:
            assert wf.read_index(tmp_path / entry).ntotal == index.ntotal + 1000
            os.unlink(tmp_path / entry)


def test_a_folder_is_opened_after_a_crash_at_each_step_of_a_flush(tmp_path: Path) -> None:
    """Each system call that changes the directory fails once: the old state, or the new one."""
    path = tmp_path / "a.wfx"
    index = wf.open_index(path, "w", compaction="off", **options_of("rows"))
    index.add(some_vectors(50, seed=1))
    index.flush()
    index.add(some_vectors(50, seed=2))
    index.remove_ids(np.arange(5))
    expected = index.ids()
    names = {"replace", "fsync", "open", "link", "pwrite" if hasattr(os, "pwrite") else "write"}
    for name in sorted(names):
        for step in range(40):
            with Failing(name, step) as failure, contextlib.suppress(InjectedError):
                index.flush()
            other = wf.open_index(path, verify="full")
            np.testing.assert_array_equal(other.ids(), expected)
            if not failure.happened:
                break
            index.close()
            index = wf.open_index(path, "a", verify="full", compaction="off")
            np.testing.assert_array_equal(index.ids(), expected)
            index.add(some_vectors(1, seed=step))
            index.remove_ids(np.array([int(expected[-1])]))
            expected = index.ids()
            assert index.search(some_vectors(2, seed=3), 3)[1].shape == (2, 3)
        else:
            raise AssertionError(f"a flush calls {name} more than 40 times")
    assert index.d == D
    index.close()


class InjectedError(OSError):
    """The error of `Failing`."""


class Failing:
    """Lets the step-th call of a function of `os` raise OSError."""

    def __init__(self, name: str, step: int) -> None:
        self._name, self._left, self.happened = name, step, False

    def __enter__(self) -> Failing:
        self._original = getattr(os, self._name)
        setattr(os, self._name, self._call)
        return self

    def __exit__(self, *_: object) -> None:
        setattr(os, self._name, self._original)

    def _call(self, *arguments: object, **options: object) -> object:
        self._left -= 1
        if self._left == -1:
            self.happened = True
            raise InjectedError(28, "made to fail")
        return self._original(*arguments, **options)
