"""Files of several processes, merged by prometheus_client."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.metric_values import counts, merged, run, values

import waterfill as wf
from waterfill.metrics import BOUNDS, Histogram, multiprocess
from waterfill.metrics.multiprocess import Publisher, mark_process_dead

client = pytest.importorskip("prometheus_client")

ADMITTED = ("waterfill_requests_total", "a", "default", "admitted")
COUNT, SUM = ("waterfill_request_seconds_count", "a"), ("waterfill_request_seconds_sum", "a")
ERRORS = ("waterfill_scrape_errors_total", "publisher")
LIMIT, WORKERS = ("waterfill_limit", "a"), ("waterfill_workers",)


def limiter_and_metrics(limit=4, admitted=0):
    limiter = wf.Limiter(limit, name="a")
    for _ in range(admitted):
        limiter.acquire().release()
    return limiter, wf.Metrics(limiters=limiter)


def test_one_process_exports_its_metrics(tmp_path, flat):
    limiter, metrics = limiter_and_metrics(4, 3)
    metrics.watch(indexes=wf.SwapIndex(flat))
    with Publisher(metrics, tmp_path) as publisher:
        limiter.acquire().release()
        publisher.publish()
        found = merged(tmp_path)
        assert found.pop(WORKERS) == 1
        assert 0 <= time.time() - found.pop(("waterfill_snapshot_timestamp_seconds",)) < 60
        assert found.pop(ERRORS) == 0
        expected = values(metrics)
        histogram = expected.pop(("waterfill_request_seconds", "a"))
        assert found.pop(COUNT) == histogram.count == 4
        assert histogram.sum - 2**-20 <= found.pop(SUM) <= histogram.sum
        for le, count in histogram.cumulative():
            assert found.pop(("waterfill_request_seconds_bucket", "a", le)) == count
        assert found == expected


def test_ended_processes_keep_counts_and_lose_gauges(tmp_path):
    for ended in range(3):
        (first, one), (second, other) = limiter_and_metrics(4, 10), limiter_and_metrics(5, 1)
        a, b = Publisher(one, tmp_path), Publisher(other, tmp_path)
        held = first.acquire()
        a.publish(), b.publish()
        found = merged(tmp_path)
        assert (found[WORKERS], found[LIMIT]) == (2, 9)
        assert found["waterfill_in_flight", "a"] == 1
        assert found[ADMITTED] == 12 * (ended + 1)
        assert found[COUNT] == found[ADMITTED] - 1
        held.release(), a.close(), b.close()
        found = merged(tmp_path)
        assert found[ADMITTED] == found[COUNT] == 12 * (ended + 1)
        assert WORKERS not in found
        assert LIMIT not in found
        assert second.limit == 5
    kinds = [each.name.partition("_")[0] for each in sorted(tmp_path.iterdir())]
    assert kinds == ["counter"] * 6 + ["histogram"] * 6


def test_deleted_limiter_loses_gauges_but_not_counts(tmp_path):
    limiter, metrics = limiter_and_metrics(4, 7)
    publisher = Publisher(metrics, tmp_path)
    publisher.publish()
    before = counts(merged(tmp_path))
    del limiter
    gc.collect()
    publisher.publish()
    assert counts(merged(tmp_path)) == before
    assert LIMIT not in merged(tmp_path)
    second = wf.Limiter(4, name="a")
    second.acquire().release()
    metrics.watch(limiters=second)
    publisher.publish()
    assert merged(tmp_path)[ADMITTED] == 8


def test_series_of_a_replaced_index_end(tmp_path, flat, codec_64, base_64):
    live = wf.SwapIndex(flat)
    publisher = Publisher(wf.Metrics(indexes=live), tmp_path)
    publisher.publish()
    other = wf.IndexFlat(codec_64)
    other.add(base_64[:700])
    live.swap(other, same_ids=False)
    publisher.publish()
    found = merged(tmp_path)
    assert found["waterfill_index_vectors", "default"] == 700
    assert sum(key[0] == "waterfill_index_info" for key in found) == 1
    assert found["waterfill_index_swaps_total", "default", "swap"] == 1


def test_gauges_are_merged_by_family(tmp_path):
    for limit, generation in ((3, 5), (4, 2)):
        publisher = Publisher(wf.Metrics(), tmp_path)
        publisher._metrics._table = lambda limit=limit, generation=generation: {
            LIMIT: limit,
            ("waterfill_index_generation", "i"): generation,
            ("waterfill_index_generation_oldest", "i"): generation,
        }
        publisher.publish()
    found = merged(tmp_path)
    assert found[LIMIT] == 7
    assert found["waterfill_index_generation", "i"] == 5
    assert found["waterfill_index_generation_oldest", "i"] == 2


def test_directory_is_shared_with_prometheus_client(tmp_path):
    """Values of prometheus_client's own API are merged and marked dead, too."""
    script = """
import os, sys
import prometheus_client, waterfill as wf
from prometheus_client.multiprocess import MultiProcessCollector
from waterfill.metrics.multiprocess import Publisher, mark_process_dead
limiter = wf.Limiter(4, name="a")
prometheus_client.Gauge("own", "Own.", multiprocess_mode="livesum").set(3)
prometheus_client.Counter("uses", "Own.").inc()
publisher = Publisher(wf.Metrics(limiters=limiter))
publisher.publish()
registry = prometheus_client.CollectorRegistry()
MultiProcessCollector(registry)
get = registry.get_sample_value
assert (get("own"), get("uses_total"), get("waterfill_limit", {"limiter": "a"})) == (3, 1, 4)
mark_process_dead(os.getpid())
found = (get("own"), get("uses_total"), get("waterfill_limit", {"limiter": "a"}))
assert found == (None, 1, None), found
"""
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    environment["PYTHONPATH"] = os.pathsep.join(os.path.abspath(each) for each in sys.path)
    subprocess.run([sys.executable, "-c", script], env=environment, check=True, timeout=60)


def stale_copy(tmp_path, pid, age):
    """Write the files of a process whose last publication is `age` seconds ago."""
    _, metrics = limiter_and_metrics(4, 7)
    publisher = Publisher(metrics, tmp_path)
    publisher._process = f"{pid}-0badcafe"
    publisher.publish()
    at = time.time() - age
    for path in tmp_path.glob(f"*_{pid}-*"):
        os.utime(path, (at, at))
    (tmp_path / f"counter_{pid}-0badcafe.db.new").touch()
    os.utime(tmp_path / f"counter_{pid}-0badcafe.db.new", (at, at))
    return publisher


@pytest.mark.parametrize(
    ("running", "age", "live"),
    [(False, 30, 0), (False, 1, 1), (True, 30, 1), (True, 1000, 0)],
    ids=["dead", "just published", "stopped", "another process has its pid"],
)
def test_gauges_of_killed_processes_are_removed(tmp_path, running, age, live):
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    stale_copy(tmp_path, os.getppid() if running else child.pid, age)
    Publisher(wf.Metrics(), tmp_path).publish()
    found = merged(tmp_path)
    assert found[ADMITTED] == 7
    assert found[WORKERS] == 1 + live
    assert (LIMIT in found) == bool(live)
    assert len(list(tmp_path.glob("*.new"))) == live


def test_marking_one_process_dead_leaves_the_others(tmp_path):
    stale_copy(tmp_path, 12, 0)
    stale_copy(tmp_path, 123, 0)
    mark_process_dead(12, tmp_path)
    found = merged(tmp_path)
    assert (found[WORKERS], found[LIMIT], found[ADMITTED]) == (1, 4, 14)


def test_emptied_directory_is_written_again(tmp_path):
    _, metrics = limiter_and_metrics(4, 7)
    publisher = Publisher(metrics, tmp_path)
    publisher.publish()
    for path in tmp_path.iterdir():
        path.unlink()
    assert merged(tmp_path) == {}
    publisher.publish()
    assert merged(tmp_path)[ADMITTED] == 7


def wait_for(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_a_failed_publication_is_counted_and_repeated(tmp_path, monkeypatch):
    limiter, metrics = limiter_and_metrics(4, 7)
    with Publisher(metrics, tmp_path, interval=0.01) as publisher:
        with monkeypatch.context() as patch:
            patch.setattr(publisher, "_replace", lambda *_: 1 // 0)
            wait_for(lambda: publisher._errors)
            limiter.acquire().release()
        wait_for(lambda: merged(tmp_path)[ADMITTED] == 8)
        assert merged(tmp_path)[ERRORS] >= 1


def test_a_full_disk_raises_and_keeps_what_was_published(tmp_path, monkeypatch):
    """It raises before a page is mapped, because a write to such a page kills the process."""
    _, metrics = limiter_and_metrics(4, 7)
    publisher = Publisher(metrics, tmp_path)
    publisher.publish()
    before = merged(tmp_path)

    def write_bytes(path, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(tmp_path), "write_bytes", write_bytes)
    monkeypatch.setattr(publisher._files, "MmapedDict", None)
    with pytest.raises(OSError, match="No space left"):
        publisher.publish()
    assert merged(tmp_path) == before


def test_files_are_allocated_before_they_are_mapped(tmp_path, flat):
    """Files are neither sparse nor grown later, with names of any length."""
    limiters = [wf.Limiter(1, name="ü" * n) for n in range(1, 200, 7)]
    metrics = wf.Metrics(limiters=limiters, indexes=flat)
    Publisher(metrics, tmp_path).publish()
    for path in tmp_path.iterdir():
        used = int.from_bytes(path.read_bytes()[:4], sys.byteorder)
        assert used <= path.stat().st_size <= path.stat().st_blocks * 512
        assert path.stat().st_size < used + 20 * (used // 60 + 1)


def test_publisher_publishes_until_closed(tmp_path):
    limiter, metrics = limiter_and_metrics()
    publisher = Publisher(metrics, tmp_path, interval=0.02)
    with publisher:
        limiter.acquire().release()
        wait_for(lambda: merged(tmp_path)[ADMITTED] == 1)
    limiter.acquire().release()
    publisher._thread.join(60)
    assert not publisher._thread.is_alive()
    publisher.publish()
    assert merged(tmp_path)[ADMITTED] == 1


def test_arguments(tmp_path, monkeypatch):
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    with pytest.raises(TypeError, match=r"metrics: expected wf\.Metrics, got int"):
        Publisher(3, tmp_path)
    with pytest.raises(ValueError, match="PROMETHEUS_MULTIPROC_DIR is not set"):
        Publisher(wf.Metrics())
    with pytest.raises(ValueError, match="expected an existing directory, got '/nowhere/at all'"):
        mark_process_dead(1, "/nowhere/at all")
    with pytest.raises(ValueError, match="interval"):
        Publisher(wf.Metrics(), tmp_path, interval=0)
    with pytest.raises(ValueError, match="interval: expected at most 60 seconds, got 61"):
        Publisher(wf.Metrics(), tmp_path, interval=61)
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    publisher = Publisher(wf.Metrics())
    assert repr(publisher) == f"Publisher({str(tmp_path)!r}, not started)"
    publisher.close()
    with pytest.raises(RuntimeError, match="closed"):
        publisher.start()
    assert list(tmp_path.iterdir()) == []


STEPS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 50), st.integers(0, 2**60), st.booleans()),
    max_size=12,
)


@given(steps=STEPS)
def test_merged_counts_are_exact_and_never_decrease(tmp_path_factory, steps):
    """Four processes count, publish and end; those that ended start second at 0."""
    path, metrics = tmp_path_factory.mktemp("files"), wf.Metrics()
    processes, own = [None] * 4, [[0, 0] for _ in range(4)]
    admitted, ended_ticks, last_sum = 0, 0, 0.0
    for who, count, ns, ends in steps:
        own[who][0] += count
        own[who][1] += ns
        admitted += count
        histogram = Histogram((own[who][0],) + (0,) * len(BOUNDS), own[who][1])
        table = {ADMITTED: own[who][0], ("waterfill_request_seconds", "a"): histogram, LIMIT: 4}
        publisher = processes[who] = processes[who] or Publisher(metrics, path)
        publisher._metrics = type("Fixed", (), {"_table": lambda _, table=table: dict(table)})()
        publisher.publish()
        if ends:
            publisher.close()
            ended_ticks += own[who][1] * 2**20 // 10**9
            processes[who], own[who] = None, [0, 0]
        found = merged(path)
        assert found[ADMITTED] == found[COUNT] == admitted
        ticks = ended_ticks + sum(ns * 2**20 // 10**9 for _, ns in own)
        assert found[SUM] == ticks / 2**20
        assert found[SUM] >= last_sum
        last_sum = found[SUM]


@given(st.lists(st.one_of(st.none(), st.lists(st.integers(0, 5), max_size=6)), max_size=8))
def test_counts_include_replaced_objects(tmp_path_factory, lives):
    """Each life is a limiter that counts in steps; None is a time without one."""
    path, table, ended = tmp_path_factory.mktemp("files"), {}, 0
    publisher = Publisher(wf.Metrics(), path)
    publisher._metrics = type("Fixed", (), {"_table": lambda _: dict(table)})()
    for life in lives:
        own = 0
        for step in life or ():
            own += step
            table = {ADMITTED: own}
            publisher.publish()
            assert merged(path)[ADMITTED] == ended + own
        ended += own
        table = {}
        publisher.publish()
        assert merged(path).get(ADMITTED, 0) == ended


KILLED = """
import os, random, signal, sys, time
import waterfill as wf
from support.metric_values import counts, merged
from waterfill.metrics.multiprocess import Publisher, mark_process_dead
path, random_ = sys.argv[1], random.Random(0)
limiter = wf.Limiter(4, name="a")
publisher, before = Publisher(wf.Metrics(limiters=limiter), path), {}
for round in range(30):
    ready_read, ready_write = os.pipe()
    child = os.fork()
    if child == 0:
        publisher.publish()
        os.write(ready_write, b"x")
        while True:
            limiter.acquire().release()
            publisher.publish()
    os.read(ready_read, 1)
    end = time.monotonic() + random_.random() * 0.01
    while time.monotonic() < end:
        found = merged(path)  # complete at any time
        assert found["waterfill_limit", "a"] == found["waterfill_workers",] * 4 == 4, found
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    mark_process_dead(child, path)
    found = merged(path)
    now = counts(found)
    assert len(found) == len(now), found
    assert all(now[key] >= value for key, value in before.items())
    before = now
assert before["waterfill_requests_total", "a", "default", "admitted"] > 0
print("done")
"""


def test_killed_process_leaves_complete_files(tmp_path):
    assert run(KILLED, tmp_path).strip() == "done"


SPAWNED = """
import multiprocessing, sys
import waterfill as wf
from support.metric_values import merged
from waterfill.metrics.multiprocess import Publisher

limiter = wf.Limiter(4, name="a")

def work(path):
    Publisher(wf.Metrics(limiters=limiter), path).start()
    limiter.acquire().release()  # published at exit

if __name__ == "__main__":
    workers = [multiprocessing.get_context("spawn").Process(target=work, args=sys.argv[1:])
               for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    found = merged(sys.argv[1])
    assert found["waterfill_requests_total", "a", "default", "admitted"] == 2, found
    assert ("waterfill_workers",) not in found
    print("done")
"""


def test_spawned_processes_publish_at_exit(tmp_path):
    (tmp_path / "files").mkdir()
    script = tmp_path / "spawned.py"
    script.write_text(SPAWNED)
    run_script = f"import runpy, sys; sys.argv[1:] = {[str(tmp_path / 'files')]!r}\n"
    assert run(run_script + f"runpy.run_path({str(script)!r}, run_name='__main__')").strip() == (
        "done"
    )


def test_interval_is_below_the_age_of_stale_files():
    assert multiprocess._MAX_INTERVAL * 3 < multiprocess._STALE
