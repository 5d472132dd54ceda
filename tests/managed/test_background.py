"""Maintenance in the background: beside searches and changes, stopped, killed, and after errors."""

from __future__ import annotations

import gc
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.managed import ENOUGH, D, open_managed, recall, some_vectors, true_ids

import waterfill as wf
from waterfill import _core
from waterfill.managed import maintenance

ROUNDS = int(os.environ.get("WATERFILL_KILLS", "6"))
PATIENCE = 120.0  # seconds: far more than a busy machine needs
QUERIES = some_vectors(20, seed=5)


def wait_for(condition: Any) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_searches_and_changes_go_on(tmp_path: Path) -> None:
    n, step = 3 * ENOUGH, 256
    x = some_vectors(n)
    wrong: list[float] = []
    added = 0
    with open_managed(tmp_path / "a", background=1.0, flush_bytes=100_000) as index:
        done = threading.Event()

        def ask() -> None:
            while not done.is_set():
                known = added
                found = index.search(QUERIES, 10)[1]
                if not known:
                    continue
                # The search saw whole upserts: all before it, and perhaps some beside it. The
                # last one may be in the index while `added` does not count it yet.
                contents = range(known, added + step + 1, step)
                best = max(
                    recall(np.where(found < m, found, -1), true_ids(x[:m], QUERIES, "ip"))
                    for m in contents
                )
                if best < 0.8:
                    wrong.append(best)

        thread = threading.Thread(target=ask)
        thread.start()
        try:
            while added < n:
                index.upsert(np.arange(added, added + step), x[added : added + step])
                added += step
                time.sleep(0.01)
            wait_for(lambda: index.health().next.startswith("recall is measured again"))
        finally:
            done.set()
            thread.join()
        assert not wrong
        events = [event.what for event in index.history]
        assert "failed" not in events
        assert "trained" in events
        assert sum(index.codecs.values()) == n
        np.testing.assert_array_equal(np.sort(index.ids()), np.arange(n))
        assert recall(index.search(QUERIES, 10)[1], true_ids(x, QUERIES, "ip")) > 0.9


def test_closing_ends_a_training(tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((20_000, 128)).astype(np.float32)
    index = open_managed(tmp_path / "a", d=128, target_recall=0.9, background=0.05)
    index.upsert(np.arange(len(x)), x)
    thread = index._worker._thread
    time.sleep(0.3)
    assert thread.is_alive()
    index.close()
    assert not thread.is_alive()
    with open_managed(tmp_path / "a", d=128, target_recall=0.9) as again:
        assert again.health().phase == "exact"
        assert again.ntotal == len(x)


def test_an_index_that_nobody_uses_is_freed(tmp_path: Path) -> None:
    index = open_managed(tmp_path / "a", background=0.5)
    index.upsert([1], some_vectors(1))
    thread = index._worker._thread
    assert thread.is_alive()
    del index
    gc.collect()
    wait_for(lambda: not thread.is_alive())
    open_managed(tmp_path / "a").close()


def test_an_error_is_kept_and_the_work_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = [OSError(28, "No space left on device")]
    train = maintenance.train

    def failing(*arguments: Any) -> Any:
        if failures:
            raise failures.pop()
        return train(*arguments)

    monkeypatch.setattr(maintenance, "train", failing)
    with open_managed(tmp_path / "a", background=1.0) as index:
        index.upsert(np.arange(ENOUGH), some_vectors(ENOUGH))
        wait_for(lambda: any(event.what == "failed" for event in index.history))
        assert "No space left" in index.history[0].words
        assert index.search(QUERIES, 1)[1].min() >= 0
        index.upsert([ENOUGH], some_vectors(1))  # a change wakes it at once
        wait_for(lambda: any(event.what == "measured" for event in index.history))
        assert index.health().phase == "coded"


def test_work_of_a_thread_is_stopped_from_another() -> None:
    work = _core.BackgroundWork(1.0)
    x = np.random.default_rng(0).standard_normal((65_536, 256)).astype(np.float32)
    ended: list[BaseException | None] = []

    def train() -> None:
        _core.set_own_threads(1)
        work.begin()
        try:
            wf.Codec.train(x, wf.Plan.waterfill(wf.analyze(x), 64), effort="best")
            ended.append(None)
        except KeyboardInterrupt as error:
            ended.append(error)

    thread = threading.Thread(target=train)
    thread.start()
    time.sleep(0.2)
    work.stop()
    thread.join()
    assert work.stopped
    assert isinstance(ended[0], KeyboardInterrupt)
    for share in (0.0, 1.5):
        with pytest.raises(ValueError, match="share"):
            _core.BackgroundWork(share)


MOST = 5 * ENOUGH  # on any machine few enough for a recall that no kill can explain away
# Adds vectors, and from MOST on replaces them by the same again, until it is killed.
WRITER = """
import sys
import numpy as np
from support.managed import open_managed, some_vectors
path, n, most = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
with open_managed(path, background=1.0, flush_bytes=60_000) as index:
    print("open", flush=True)
    while True:
        first = n % most
        index.upsert(np.arange(first, first + 64), some_vectors(64, seed=first))
        n += 64
        print(min(n, most), flush=True)
"""


def test_nothing_acknowledged_is_lost_by_kills(tmp_path: Path) -> None:
    path, n = tmp_path / "a", 0
    rng = random.Random(11)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    for _ in range(ROUNDS):
        command = [sys.executable, "-c", WRITER, str(path), str(n), str(MOST)]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env=environment
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "open\n"
            time.sleep(rng.uniform(0.5, 2.0))
            process.send_signal(signal.SIGKILL)
            lines = process.stdout.read().splitlines()
        acknowledged = int(lines[-1]) if lines else n
        ids = np.sort(wf.open_index(path, verify="full").ids())
        assert len(ids) in (acknowledged, min(acknowledged + 64, MOST))
        np.testing.assert_array_equal(ids, np.arange(len(ids)))
        n = len(ids)
    x = np.concatenate([some_vectors(64, seed=first) for first in range(0, n, 64)])
    with open_managed(path) as index:
        index.maintain()
        assert len(index.codecs) == 1
        np.testing.assert_array_equal(
            index.reconstruct_batch(np.arange(n)), x.astype(np.float16).astype(np.float32)
        )
        assert index.health().phase == ("coded" if n >= ENOUGH else "exact")
        assert recall(index.search(QUERIES, 10)[1], true_ids(x, QUERIES, "ip")) > 0.9
        assert x.shape[1] == D
