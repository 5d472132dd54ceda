"""Numbers of several processes, in files that any of them may be killed over."""

from __future__ import annotations

import fcntl
import gc
import json
import os
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.metric_values import counted, run, values

import waterfill as wf
from waterfill.metrics import BOUNDS, Histogram, Shared
from waterfill.metrics.files import Directory, Snapshot

ADMITTED = ("waterfill_requests_total", "a", "default", "admitted")
TIMES = ("waterfill_request_seconds", "a")
LIMIT = ("waterfill_limit", "a")


def made(limit=4, count=0):
    """A limiter that has let in so many, and its metrics."""
    limiter = wf.Limiter(limit, name="a")
    for _ in range(count):
        limiter.acquire().release()
    return limiter, wf.Metrics(limiters=limiter)


def test_it_shows_what_metrics_show(tmp_path):
    limiter, metrics = made(4, 3)
    with Shared(metrics, tmp_path, interval=60) as shared:
        limiter.acquire().release()
        found = values(shared)
        assert found.pop(("waterfill_workers",)) == 1
        assert 0 <= found.pop(("waterfill_snapshot_age_seconds",)) < 60
        assert found.pop(("waterfill_scrape_errors_total", "shared")) == 0
        assert found == values(metrics)


def test_those_that_ended_still_count_and_gauges_are_of_the_living(tmp_path):
    reader = Shared(wf.Metrics(), tmp_path)
    for ended in range(3):
        (first, one), (second, other) = made(4, 10), made(5, 1)
        a, b = Shared(one, tmp_path, interval=60), Shared(other, tmp_path, interval=60)
        a.start(), b.start()
        held = first.acquire()
        a.publish()
        found = values(reader)
        assert found["waterfill_workers",] == 2
        assert found[LIMIT] == 9
        assert found["waterfill_in_flight", "a"] == 1
        assert found[ADMITTED] == 12 * (ended + 1)
        assert found[TIMES].count == found[ADMITTED] - 1
        held.release(), a.close(), b.close()
        found = values(reader)
        assert found[ADMITTED] == found[TIMES].count == 12 * (ended + 1)
        assert found["waterfill_workers",] == 0
        assert LIMIT not in found
    assert sorted(each.name for each in tmp_path.iterdir()) == ["directory.lock", "ended.json"]
    assert second.limit == 5


def test_one_that_is_collected_has_ended(tmp_path):
    reader = Shared(wf.Metrics(), tmp_path)
    _, metrics = made(4, 7)
    shared = Shared(metrics, tmp_path, interval=60)
    shared.start()
    stop = shared._stop
    del shared
    gc.collect()
    assert stop.is_set()
    found = values(reader)
    assert (found["waterfill_workers",], found[ADMITTED]) == (0, 7)


def test_a_limiter_that_is_gone_takes_nothing_back(tmp_path):
    limiter, metrics = made(4, 7)
    with Shared(metrics, tmp_path, interval=60) as shared:
        before = counted(shared)
        del limiter
        gc.collect()
        assert counted(shared) == before
        assert LIMIT not in values(shared)
        again = wf.Limiter(4, name="a")
        again.acquire().release()
        metrics.watch(limiters=again)
        assert values(shared)[ADMITTED] == 8


def test_a_number_that_another_process_has_now_does_not_make_one_alive(tmp_path):
    _, metrics = made(4, 7)
    shared = Shared(metrics, tmp_path, interval=60)
    shared.start()
    name = shared._directory._name
    shared._directory.forget()  # as the kernel does when a process is killed
    for suffix in (".lock", ".json"):
        os.rename(tmp_path / (name + suffix), tmp_path / f"{os.getpid()}-1-aaaa{suffix}")
    found = values(Shared(wf.Metrics(), tmp_path))
    assert (found["waterfill_workers",], found[ADMITTED]) == (0, 7)


@pytest.mark.parametrize("spoilt", [b"", b'{"format":1,"series":[["w', b"[]", b'{"format":2}'])
def test_what_cannot_be_read_is_left_out_and_counted(tmp_path, spoilt):
    (_kept, one), (_also, other) = made(4, 7), made(4, 1)
    with Shared(one, tmp_path, interval=60) as a, Shared(other, tmp_path, interval=60) as b:
        (tmp_path / (b._directory._name + ".json")).write_bytes(spoilt)
        found = values(a)
        assert (found["waterfill_workers",], found[ADMITTED]) == (1, 7)
        assert values(a)["waterfill_scrape_errors_total", "shared"] == 1
        b.publish()
        assert values(a)[ADMITTED] == 8


def test_a_damaged_sum_is_put_aside(tmp_path):
    _, metrics = made(4, 7)
    (tmp_path / "ended.json").write_bytes(b"\0" * 100)
    with Shared(metrics, tmp_path, interval=60) as shared:
        assert values(shared)[ADMITTED] == 7
        assert values(shared)["waterfill_scrape_errors_total", "shared"] == 1
    assert (tmp_path / "ended.json.damaged").exists()


def test_a_scrape_that_cannot_have_the_directory_says_what_it_knows(tmp_path, monkeypatch):
    monkeypatch.setattr("waterfill.metrics.files._PATIENCE", 0.05)
    limiter, metrics = made(4, 7)
    with Shared(metrics, tmp_path, interval=60) as shared:
        assert values(shared)[ADMITTED] == 7
        with open(tmp_path / "directory.lock") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            limiter.acquire().release()
            found = values(shared)
            assert found[ADMITTED] == 7
            assert found["waterfill_scrape_errors_total", "shared"] == 1
        assert values(shared)[ADMITTED] == 8


def test_a_directory_that_was_cleaned_up_is_made_again(tmp_path):
    _, metrics = made(4, 7)
    path = tmp_path / "metrics"
    with Shared(metrics, path, interval=60) as shared:
        for each in path.iterdir():
            each.unlink()
        path.rmdir()
        shared.publish()
        assert values(shared)[ADMITTED] == 7


def test_more_than_fits_is_refused_and_counted(tmp_path, monkeypatch):
    monkeypatch.setattr("waterfill.metrics.files.MOST_BYTES", 2000)
    limiters = [wf.Limiter(1, name=f"limiter {i}") for i in range(20)]
    shared = Shared(wf.Metrics(limiters=limiters), tmp_path)
    with pytest.raises(ValueError, match="series take"):
        shared.start()


def test_it_publishes_by_itself(tmp_path):
    limiter, metrics = made(4, 0)
    reader = Shared(wf.Metrics(), tmp_path)
    with Shared(metrics, tmp_path, interval=0.02):
        limiter.acquire().release()
        end = time.monotonic() + 30
        while values(reader)[ADMITTED] == 0:
            assert time.monotonic() < end
            time.sleep(0.01)


def test_arguments(tmp_path):
    with pytest.raises(TypeError, match="metrics must be a waterfill Metrics, got int"):
        Shared(3, tmp_path)
    with pytest.raises(TypeError, match="path must be"):
        Shared(wf.Metrics(), 3)
    with pytest.raises(ValueError, match="interval=0 must be at least"):
        Shared(wf.Metrics(), tmp_path, interval=0)
    shared = Shared(wf.Metrics(), tmp_path)
    assert repr(shared).endswith("not started")
    shared.close()
    with pytest.raises(RuntimeError, match="closed"):
        shared.start()


NUMBERS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 50), st.integers(0, 2**60), st.booleans()),
    max_size=12,
)


@given(steps=NUMBERS)
def test_any_order_of_counting_and_ending_gives_the_sum(tmp_path_factory, steps):
    """Four workers count, publish and end; ones that ended begin again at 0."""
    path = tmp_path_factory.mktemp("directory")
    reader = Directory(path)
    workers, own, total = [Directory(path) for _ in range(4)], [[0, 0] for _ in range(4)], [0, 0]
    for who, count, ns, ends in steps:
        own[who][0] += count
        own[who][1] += ns
        total = [total[0] + count, total[1] + ns]
        histogram = Histogram((own[who][0],) + (0,) * len(BOUNDS), own[who][1])
        table = {ADMITTED: own[who][0], TIMES: histogram, LIMIT: 4}
        workers[who].publish(Snapshot(table, time.time()))
        if ends:
            workers[who].leave()
            own[who] = [0, 0]
        found = reader.read().table
        assert [found[ADMITTED], found[TIMES].nanoseconds] == total
        assert found[TIMES].count == total[0]
    for each in workers:
        each.leave()
    if steps:
        assert reader.read().table[ADMITTED] == total[0]
        assert json.loads((path / "ended.json").read_bytes())["format"] == 1


KILLED = """
import os, signal, sys, time
import random
from pathlib import Path
from waterfill.metrics.files import Directory, Snapshot
path, killed = Path(sys.argv[1]), sys.argv[2]
key = ("waterfill_requests_total", "a", "default", "admitted")
random.seed(0)
reader, least = Directory(path), 0
for round in range(30):
    if killed == "reader":  # there is something to put together
        for _ in range(5):
            ended = Directory(path)
            ended.publish(Snapshot({key: 1}, time.time()))
            ended.leave()
    ready, told = os.pipe()
    child = os.fork()
    if child == 0:
        own, count = Directory(path), 0
        os.write(told, b"x")
        while True:
            if killed == "reader":
                own.read()
            else:
                count += 1
                own.publish(Snapshot({key: count}, time.time()))
    os.read(ready, 1)
    time.sleep(random.random() * 0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    found = reader.read()
    now = found.table.get(key, 0)
    assert found.unreadable == 0 and now >= least, (found.unreadable, now, least)
    least = now
    if killed == "reader":
        assert now == 5 * (round + 1), (now, round)
    assert reader.read().table.get(key, 0) == now
assert not [name for name in os.listdir(path) if name.endswith(".new") and name != "ended.json.new"]
print("done")
"""


@pytest.mark.parametrize("killed", ["writer", "reader"])
def test_who_is_killed_while_writing_spoils_nothing(tmp_path, killed):
    assert run(KILLED, tmp_path, killed).strip() == "done"
