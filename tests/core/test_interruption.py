"""Ctrl-C in a call, a fork while other threads work, and the end of the interpreter."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

PATIENCE = 120
SAVE_PATIENCE = 600  # the disk of a busy machine takes most of the time of a dozen saves

CALLS = """
import hashlib, sys
import numpy as np, waterfill as wf

call, threads = sys.argv[1], int(sys.argv[2])
wf.set_num_threads(threads)
rng = np.random.default_rng(0)
x = rng.standard_normal((100_000, 64), dtype="f4")
plan = wf.Plan.waterfill(wf.analyze(x[:4000]), code_bytes=32)
codec = wf.Codec.train(x[:4000], plan, effort="fast", cells=0)
index = wf.IndexFlat(codec, "l2")
index.add(x)

class Big:  # read in blocks
    shape, dtype = (20_000_000, 64), np.dtype(np.float32)
    def read(self, first, n):
        return np.resize(x, (n, 64))
    def take(self, rows):
        return x[rows % len(x)]

queries = np.tile(x[:25_000], (8, 1)) if call in ("search", "range_search") else x[:1]

def state():
    core = index._trained()
    searched = index.search(x[:3], 10)
    codes = hashlib.sha256(index.codes()).hexdigest()
    return index.ntotal, core.version, codes, *map(repr, searched)

calls = {
    "search": lambda: index.search(queries, 100),
    "range_search": lambda: index.range_search(queries, 1e-9),
    "add": lambda: index.add(Big()),
    "analyze": lambda: wf.analyze(Big()),
    "train": lambda: wf.Codec.train(np.tile(x, (8, 1)), plan, effort="best", cells=4000),
    "optimize": lambda: wf.optimize(x, target_recall=0.999, k=50, progress=False),
    "train_told": lambda: wf.Codec.train(
        np.tile(x, (8, 1)), plan, effort="best", cells=4000, progress=lambda progress: None
    ),
    "build": lambda: wf.build(Big(), sys.argv[3] + "/a.wfx", codec, memory="500MB"),
    "train_many_cells": lambda: wf.Codec.train(np.tile(x, (8, 1)), plan, cells=60_000),
}
def compress():
    import faiss
    flat = faiss.IndexFlatIP(64)
    flat.add(np.tile(x, (8, 1)))
    calls["compress"] = lambda: wf.compress(flat, 48, effort="best")

if call == "compress":
    compress()
elif call == "retrain":
    refined = wf.IndexFlat(codec, "l2", refine="float16")
    refined.add(np.tile(x, (8, 1)))
    calls["retrain"] = lambda: wf.retrain(refined, np.tile(x, (8, 1)))
elif call == "graph":
    graph = wf.IndexHNSW(64)
    graph.train(x)
    calls["graph"] = lambda: graph.add(np.tile(x, (8, 1)))

before, ended = state(), False
print("go", flush=True)
try:
    calls[call]()
    ended = True
except KeyboardInterrupt:
    pass
assert not ended, "the call was not interrupted"
assert state() == before, "the call left something behind"
print("interrupted")
"""


def child(code: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str], patience: float = PATIENCE) -> str:
    try:
        out, err = process.communicate(timeout=patience)
    finally:
        process.kill()
    assert process.returncode == 0, err
    return out


@pytest.mark.parametrize(
    ("call", "threads"),
    [
        ("search", 1),
        ("search", 2),
        ("range_search", 1),
        ("add", 2),
        ("analyze", 1),
        ("train", 2),
        ("train_many_cells", 2),
        ("train_told", 2),
        ("optimize", 2),
        ("build", 2),
        ("graph", 2),
        ("retrain", 1),
        ("compress", 1),
    ],
)
def test_ctrl_c_stops_a_call_that_would_take_minutes(call, threads, tmp_path):
    if call == "compress":
        pytest.importorskip("faiss")
    process = child(CALLS, call, threads, tmp_path)
    assert process.stdout is not None
    assert process.stdout.readline() == "go\n"
    with pytest.raises(subprocess.TimeoutExpired):  # so that the call has begun
        process.wait(1)
    process.send_signal(signal.SIGINT)
    assert finish(process) == "interrupted\n"


SHORT_CALLS = """
import os, random, signal, threading, numpy as np, waterfill as wf
wf.set_num_threads(2)
x = np.random.default_rng(0).standard_normal((40_000, 64), dtype="f4")
plan = wf.Plan.waterfill(wf.analyze(x[:2000]), code_bytes=32)
codec = wf.Codec.train(x[:2000], plan, effort="fast", cells=0)
codec.encode(x)
for turn in range(15):
    delay = random.Random(turn).uniform(0, 0.3)
    timer = threading.Timer(delay, os.kill, (os.getpid(), signal.SIGINT))
    try:
        timer.start()
        while True:
            codec.encode(x)
    except KeyboardInterrupt:
        timer.join()
print("done")
"""


def test_no_ctrl_c_is_lost_between_short_calls():
    """One that comes too late to stop a call is raised after it."""
    assert finish(child(SHORT_CALLS)) == "done\n"


OWN_HANDLER = """
import os, signal, threading, time, numpy as np, waterfill as wf
x = np.random.default_rng(0).standard_normal((100_000, 32), dtype="f4")
codec = wf.Codec.train(x[:2000], wf.Plan.waterfill(wf.analyze(x[:2000]), code_bytes=16), cells=0)
index = wf.IndexFlat(codec)
index.add(x)
expected = index.search(x[:4000], 10)
ran = []
# It uses the index, which the interrupted call has locked: so it must run after that call.
signal.signal(signal.SIGINT, lambda *_: ran.append((index.add(x[:1]), index.ntotal)))
found = []
def interrupt():
    while not found:  # so that one search has ended before
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=interrupt).start()
while not ran:
    found.append(index.search(x[:4000], 10)[1])
np.testing.assert_array_equal(found[0], expected[1])
# The last one was interrupted, unless the handler ran just before it.
later = index.search(x[:4000], 10)[1]
assert any(np.array_equal(found[-1], ids) for ids in (expected[1], later))
print(len(ran), ran[0][1])
"""


def test_a_handler_of_the_program_runs_after_the_call():
    assert finish(child(OWN_HANDLER)) == "1 100001\n"


SAVE = """
import os, signal, sys, threading, numpy as np, waterfill as wf
path = sys.argv[1]
x = np.random.default_rng(0).standard_normal((60_000, 512), dtype="f4")
plan = wf.Plan.waterfill(wf.analyze(x[:2000]), code_bytes=8)
index = wf.IndexFlat(wf.Codec.train(x[:2000], plan, effort="fast", cells=0), refine="float32")
wf.write_index(index, path)
good = open(path, "rb").read()
index.add(x)
interrupted = 0
for delay in np.linspace(0, 0.3, 12):
    timer = threading.Timer(delay, os.kill, (os.getpid(), signal.SIGINT))
    try:
        timer.start()
        wf.write_index(index, path)
        timer.join()
    except KeyboardInterrupt:
        interrupted += 1
    timer.join()
    left = os.listdir(os.path.dirname(path))
    assert left == [os.path.basename(path)], left
    assert wf.read_index(path).ntotal in (0, len(x))
print(interrupted)
"""


def test_an_interrupted_save_leaves_the_old_file_or_the_new_one(tmp_path):
    assert int(finish(child(SAVE, tmp_path / "index.wf"), SAVE_PATIENCE)) == 12


AT_THE_END = """
import threading, time, numpy as np, waterfill as wf
wf.set_num_threads(int(__import__("sys").argv[1]))
x = np.random.default_rng(0).standard_normal((20_000, 64), dtype="f4")
codec = wf.Codec.train(x[:2000], wf.Plan.waterfill(wf.analyze(x[:2000]), code_bytes=16), cells=0)
index = wf.IndexFlat(codec)
index.add(x)
def searches():
    while True:
        index.search(x[:200], 10)
def adds():
    while True:
        index.add_with_ids(x[:500], np.arange(500))
        index.remove_ids(np.arange(500))
for work in (searches, searches, adds):
    threading.Thread(target=work, daemon=True).start()
time.sleep(0.2)
print("end")
"""


@pytest.mark.parametrize("threads", [1, 2])
def test_the_interpreter_ends_while_daemon_threads_work(threads):
    processes = [child(AT_THE_END, threads) for _ in range(4)]
    assert [finish(process) for process in processes] == ["end\n"] * 4


FORKS = """
import multiprocessing, sys, threading, numpy as np, waterfill as wf
wf.set_num_threads(1)
x = np.random.default_rng(0).standard_normal((4000, 64), dtype="f4")
index = wf.index_factory(64, "IVF16,WF16", "ip")
index.train(x)
index.add(x)
swap = wf.SwapIndex(index)
stop = threading.Event()
ids = np.arange(10**6, 10**6 + 200)

def works():
    while not stop.is_set():
        index.add_with_ids(x[:200], ids)
        index.search(x[:50], 5, params=wf.SearchParameters(sel=wf.IDSelectorRange(0, 100)))
        index.reconstruct(7)
        index.remove_ids(ids)

def holds():  # the locks of Python, at nearly any time
    while not stop.is_set():
        with index._writing, swap._writing:
            stop.wait(0.01)

def child():
    found = index.search(x[:5], 5)[1]
    before = index.ntotal
    swap.add(x[:10])
    assert index.ntotal == before + 10
    assert index.remove_ids(found[:, 0]) == 5
    index.reconstruct(int(found[0, 1]))

threads = [threading.Thread(target=work) for work in (works, works, holds)]
for thread in threads:
    thread.start()
context = multiprocessing.get_context("fork")
codes = []
for _ in range(25):
    process = context.Process(target=child)
    process.start()
    process.join(60)
    codes.append(process.exitcode)
    process.kill()
stop.set()
for thread in threads:
    thread.join()
assert codes == [0] * 25, codes
index.add(x[:1])
print("done")
"""


@pytest.mark.skipif(
    "asan" in os.environ.get("LD_PRELOAD", ""),
    reason="the allocator of AddressSanitizer does not survive a fork beside other threads",
)
def test_a_child_forked_while_threads_write_and_search_uses_the_index():
    assert finish(child(FORKS)) == "done\n"
