"""A folder that Ray actors search: right or marked as partial, whatever happens to them."""

from __future__ import annotations

import os
import signal
import threading
import time

import numpy as np
import pytest

import waterfill as wf
from waterfill.scale import replicas

PATIENCE = 60.0  # seconds until what must happen has happened, on a busy machine
SMALL = {"num_cpus": 0.05}  # of two, which other tests use, too


def wait_for(happened) -> None:
    end = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.05)


def same(found, expected) -> bool:
    return all(np.array_equal(*pair) for pair in zip(found[:2], expected, strict=True))


def kill(process: int) -> None:
    os.kill(process, signal.SIGKILL)


@pytest.fixture(scope="module")
def folder(base_64, codec_64, tmp_path_factory):
    """Eight segments, vectors in the log, and removed ones."""
    path = tmp_path_factory.mktemp("folder") / "a.wfx"
    wf.build(lambda: iter([base_64[:4000]]), path, codec_64, shard_rows=500)
    with wf.open_index(path, "a", compaction="off") as index:
        index.add(base_64[4000:])
        index.remove_ids(np.arange(50, 3000, 7))
    return path


@pytest.fixture(scope="module")
def expected(folder, queries_64):
    """The answers of one process."""
    return wf.open_index(folder).search(queries_64, 10)


@pytest.fixture(scope="module")
def index(ray, folder):
    """Two shares with two replicas."""
    with wf.scale.ShardedIndex.open(folder, shards=2, replicas=2, **SMALL) as index:
        yield index


def test_the_answers_are_those_of_one_process(index, folder, expected, queries_64, base_64):
    found = index.search(queries_64, 10)
    assert same(found, expected)
    assert (found.searched, found.partial) == (1.0, False)
    assert (index.ntotal, index.d, index.metric) == (wf.open_index(folder).ntotal, 64, "ip")
    assert index.path == str(folder)
    chosen = wf.SearchParameters(sel=wf.IDSelectorRange(100, 900))
    one = wf.open_index(folder).search(queries_64[:5], 7, params=chosen)
    assert same(index.search(queries_64[:5], 7, params=chosen), one)


def test_lists_rows_and_cosine(ray, base_64, queries_64, tmp_path):
    recipe = wf.Recipe(64, 12, effort="fast")
    wf.build(
        [base_64[:2000], base_64[2000:]], tmp_path / "a.wfx", recipe, metric="cosine", nlist=32,
        nprobe=4, refine="float16", shard_rows=700,
    )  # fmt: skip
    one = wf.open_index(tmp_path / "a.wfx", nprobe=8)
    with wf.scale.ShardedIndex.open(tmp_path / "a.wfx", shards=3, nprobe=8, **SMALL) as index:
        assert same(index.search(3 * queries_64, 10), one.search(3 * queries_64, 10))
        params = wf.SearchParameters(nprobe=2, k_factor=1)
        expected = one.search(queries_64, 3, params=params)
        assert same(index.search(queries_64, 3, params=params), expected)


def test_actors_that_are_killed_during_searches(index, expected, queries_64):
    """From several threads, at any time, while one actor after the other is killed."""
    stop, wrong, done = threading.Event(), [], []

    def search(thread: int) -> None:
        i = thread
        while not stop.is_set():
            row = slice(i % 200, i % 200 + 1)
            found = index.search(queries_64[row], 10, timeout=PATIENCE)
            if not found.partial and not same(found, [part[row] for part in expected]):
                wrong.append(i)
            done.append(found.partial)
            i += 3

    threads = [threading.Thread(target=search, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    before = index.processes
    for process in before:
        answered = len(done)
        kill(process)
        wait_for(lambda answered=answered: len(done) > answered + 20)
    wait_for(lambda: not set(index.processes) & set(before))
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(done) > 80
    assert not any(done)


def test_all_actors_are_killed_at_once(index, expected, queries_64):
    """Without a time limit the search waits for those that Ray starts again."""
    for process in index.processes:
        kill(process)
    assert same(index.search(queries_64, 10), expected)


def test_others_step_in_for_an_actor_that_does_not_answer(ray, folder, expected, queries_64):
    """It is stopped, not killed, so that Ray does not see it."""
    with wf.scale.ShardedIndex.open(folder, shards=2, **SMALL) as index:
        first, second = index.processes
        os.kill(second, signal.SIGSTOP)
        try:
            assert same(index.search(queries_64, 10, timeout=10), expected)
            os.kill(first, signal.SIGSTOP)
            nothing = index.search(queries_64[:2], 10, timeout=0.2)
            assert (nothing.searched, nothing.partial) == (0.0, True)
            assert (nothing.I == -1).all()
        finally:
            for process in (first, second):
                os.kill(process, signal.SIGCONT)
        wait_for(lambda: same(index.search(queries_64, 10, timeout=1.0), expected))


@pytest.mark.parametrize("cause", ["stopped", "never started"])
def test_a_search_without_a_deadline_ends_where_no_actor_answers(
    ray, folder, queries_64, monkeypatch, cause
):
    monkeypatch.setattr(replicas, "_PATIENCE", 1.0)
    monkeypatch.setattr(replicas, "_PING", 1.0)
    num_cpus = 0.25 if cause == "stopped" else 1000
    with wf.scale.ShardedIndex.open(folder, shards=2, num_cpus=num_cpus) as index:
        processes = index.processes if cause == "stopped" else []
        for process in processes:
            os.kill(process, signal.SIGSTOP)
        try:
            with pytest.raises(TimeoutError, match=r"from one of 2 actors.*timeout= returns"):
                index.search(queries_64, 10)
        finally:
            for process in processes:
                os.kill(process, signal.SIGCONT)


def test_a_long_search_is_no_sign_of_death(ray, folder, expected, queries_64, monkeypatch):
    """An actor that searches for longer than the patience answers pings."""
    monkeypatch.setattr(replicas, "_PATIENCE", 0.0)
    with wf.scale.ShardedIndex.open(folder, shards=2, **SMALL) as index:
        for _ in range(5):
            assert same(index.search(queries_64, 10), expected)


def test_what_is_found_before_a_deadline(ray, base_64, queries_64, tmp_path, monkeypatch):
    """Half of the vectors, and the answers of these."""
    monkeypatch.setattr(replicas, "_LATE_SHARE", float("inf"))
    plan = wf.Plan.waterfill(wf.analyze(base_64), 12)
    codec = wf.Codec.train(base_64, plan, cells=0, effort="fast")
    wf.build(base_64[:2000], tmp_path / "a.wfx", codec, shard_rows=1000)
    with wf.scale.ShardedIndex.open(tmp_path / "a.wfx", **SMALL) as index:
        _, second = index.processes
        os.kill(second, signal.SIGSTOP)
        try:
            found = index.search(queries_64, 10, timeout=5)
        finally:
            os.kill(second, signal.SIGCONT)
    assert (found.searched, found.partial) == (0.5, True)
    half = wf.SearchParameters(sel=wf.IDSelectorRange(0, 1000))
    assert same(found, wf.open_index(tmp_path / "a.wfx").search(queries_64, 10, params=half))


def test_generations_do_not_mix(ray, folder, base_64, queries_64, tmp_path):
    """Each answer is that of one state of the folder, while it changes and is swapped."""
    path = tmp_path / "a.wfx"
    wf.open_index(folder).snapshot(path)
    states = [wf.open_index(path).search(queries_64, 10)]
    with wf.scale.ShardedIndex.open(path, shards=2, **SMALL) as index:
        stop, seen, strange = threading.Event(), set(), []

        def search() -> None:
            while not stop.is_set():
                known = len(states)
                found = index.search(queries_64, 10)
                number = next((i for i, one in enumerate(states) if same(found, one)), None)
                seen.add(number)
                if number is None or number < known - 2:
                    strange.append((number, known))

        thread = threading.Thread(target=search)
        thread.start()
        wait_for(lambda: 0 in seen)  # before that state is gone
        with wf.open_index(path, "a", compaction="off") as writer:
            for step in range(3):
                assert not index.refresh()
                writer.upsert(np.arange(40 * step, 40 * step + 40), base_64[-40:])
                if step == 1:
                    writer.flush()
                if step == 2:
                    writer.compact()
                states.append(wf.open_index(path).search(queries_64, 10))
                assert index.refresh()
                wait_for(lambda step=step: step + 1 in seen)
        stop.set()
        thread.join()
        assert not strange
        assert seen == {0, 1, 2, 3}


def test_an_actor_is_back_when_its_files_are_gone(ray, folder, base_64, queries_64, tmp_path):
    """It cannot open the generation of before, so the index goes on to the new one by itself."""
    path = tmp_path / "a.wfx"
    wf.open_index(folder).snapshot(path)
    with wf.scale.ShardedIndex.open(path, shards=2, **SMALL) as index:
        with wf.open_index(path, "a") as writer:
            writer.remove_ids(np.arange(1000))
            writer.compact()
        old = index.search(queries_64, 10)  # mapped files stay until the last process closes them
        assert old.I.min() < 1000
        processes = index.processes
        for process in processes:
            kill(process)
        expected = wf.open_index(path).search(queries_64, 10)
        assert same(index.search(queries_64, 10), expected)


def test_errors(index, ray, folder, base_64, codec_64, queries_64, tmp_path):
    with pytest.raises(FileNotFoundError):
        wf.scale.ShardedIndex.open(tmp_path / "none.wfx")
    with pytest.raises(ValueError, match=r"folder='s3://bucket/a\.wfx': expected a folder on a"):
        wf.scale.ShardedIndex.open("s3://bucket/a.wfx")
    with pytest.raises(ValueError, match="replicas=0"):
        wf.scale.ShardedIndex.open(folder, replicas=0)
    with pytest.raises(ValueError, match="row 1 has a NaN"):
        index.search(np.array([[0.0] * 64, [np.nan] * 64], np.float32), 5)
    with pytest.raises(ValueError, match="x has 3 dimensions, expected 64"):
        index.search(np.zeros((1, 3)), 5)
    with pytest.raises(ValueError, match="k=0"):
        index.search(queries_64, 0)
    with pytest.raises(ValueError, match="timeout=-1"):
        index.search(queries_64, 5, timeout=-1)
    with wf.open_index(tmp_path / "b.wfx", "w", codec=codec_64, compaction="off") as writer:
        writer.add(base_64[:100])
        writer.flush()
        writer.change_codec(wf.Codec.train(base_64, codec_64.plan, 1))
        writer.add(base_64[:100])
        with pytest.raises(ValueError, match="codes of an older codec; call recode"):
            wf.scale.ShardedIndex.open(tmp_path / "b.wfx", **SMALL)


def test_what_it_does_not_have_is_said(index):
    with pytest.raises(AttributeError, match=r"waterfill\.open_index\(folder\)"):
        index.range_search(np.zeros((1, 64), np.float32), 1.0)
    with pytest.raises(AttributeError, match=r"nprobe= to ShardedIndex\.open"):
        index.nprobe = 8
