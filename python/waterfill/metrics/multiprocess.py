"""Publishes a process's metrics in the files of prometheus_client's multiprocess mode."""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from waterfill._util.optional import require
from waterfill._util.system import is_running, replace
from waterfill._util.validation import as_file_name, as_number
from waterfill.metrics.families import FAMILIES, Family
from waterfill.metrics.registry import Metrics, as_metrics
from waterfill.metrics.sample import BOUND_NAMES, Histogram, Table

if TYPE_CHECKING:
    from typing_extensions import Self

_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
_QUIET = 5.0  # seconds without a publication after which the pid is checked
_STALE = 600.0  # the same, after which a process counts as dead, even if its pid is in use again
_MAX_INTERVAL = 60.0  # seconds, well below _STALE
_TICKS = 1 << 20  # per second; sums of integral ticks are exact in any order
_NEW = ".new"

Series = tuple[str, str, tuple[str, ...], tuple[str, ...]]  # family, sample name, labels, values


class Publisher:
    """Publishes this process's metrics for ``prometheus_client.multiprocess``.

    A thread writes what `metrics` reads to ``PROMETHEUS_MULTIPROC_DIR`` every `interval` seconds,
    and once more at exit. ``prometheus_client.multiprocess.MultiProcessCollector`` merges the files
    of all processes: counters and histograms of processes that ended stay in the sum, gauges are
    those of living processes, merged as `FAMILIES` says.

    Call `start` in each process that serves. A process forked from a started one starts by itself,
    with counts from 0. Safe to use from several threads.

    Parameters
    ----------
    metrics : Metrics
        What is published.
    directory : str or path-like, optional
        By default that of the environment variable ``PROMETHEUS_MULTIPROC_DIR``. It must exist, be
        empty when the service starts, and be on a local disk or in memory.
    interval : float, default 1.0
        Seconds between publications, between 0.01 and 60.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If `interval` is out of range, or the directory is not set or does not exist.
    ImportError
        Without prometheus_client: the extra ``prometheus``.
    """

    def __init__(self, metrics: Metrics, directory: Any = None, *, interval: float = 1.0) -> None:
        self._interval = as_number("interval", interval, 0.01, finite=True)
        if interval > _MAX_INTERVAL:
            raise ValueError(
                f"interval: expected at most {_MAX_INTERVAL:g} seconds, got {interval}"
            )
        self._directory = _as_directory(directory)
        self._metrics = as_metrics(metrics)
        self._files = require("prometheus_client.mmap_dict", "Publisher", "prometheus")
        self._closed = False
        self._reset()
        _publishers.add(self)

    def _reset(self) -> None:
        """Prepare a process that has published nothing yet."""
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        # prometheus_client's own values use the pid alone, and pids are reused.
        self._process = f"{os.getpid()}-{os.urandom(4).hex()}"
        self._errors = 0
        self._last: dict[Series, float] = {}  # counts of the last read
        self._totals: dict[Series, float] = {}  # counts to publish

    def start(self) -> None:
        """Publish now, then every `interval` seconds until `close` or exit.

        Raises
        ------
        RuntimeError
            If it is closed.
        OSError
            If the directory cannot be written to.
        """
        if self._closed:
            raise RuntimeError("Publisher is closed; make a new one")
        if self._thread is None:
            self.publish()
            self._start_thread()

    def _start_thread(self) -> None:
        self._thread = threading.Thread(target=self._run, daemon=True, name="waterfill-metrics")
        self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                self.publish()
            except Exception:  # a full disk, for instance; the next publication may succeed
                self._errors += 1
            if self._stop.wait(self._interval):
                return

    def publish(self) -> None:
        """Publish now, for example before a scrape that this process answers.

        Raises
        ------
        OSError
            If the directory cannot be written to. What was published before is still there.
        """
        with self._lock:
            if not self._closed:
                self._write()
                self._remove_stale()

    def close(self) -> None:
        """Publish the counts for the last time and remove the gauges."""
        self._stop.set()
        with self._lock:
            if self._closed:
                return
            self._closed = True
            try:
                if self._totals:  # it has published
                    self._write()
            finally:
                mark_process_dead(self._process, self._directory)

    def _write(self) -> None:
        table = self._metrics._table()
        table["waterfill_workers",] = 1
        table["waterfill_snapshot_timestamp_seconds",] = time.time()
        table["waterfill_scrape_errors_total", "publisher"] = self._errors
        counts, files = _flatten(table)
        for series, count in counts.items():
            last = self._last.get(series, 0)
            added = count - last if count >= last else count  # it fell: another object began at 0
            self._totals[series] = self._totals.get(series, 0) + added
        self._last = counts
        for series, count in self._totals.items():
            files.setdefault(FAMILIES[series[0]].kind, {})[series] = count
        for prefix, values in files.items():
            self._replace(prefix, values)

    def _replace(self, prefix: str, values: dict[Series, float]) -> None:
        """Replace a file by renaming, so that a reader sees all of it, and series can go."""
        keys = {self._key(series): value for series, value in values.items()}
        path = self._directory / f"{prefix}_{self._process}.db"
        new = path.with_name(path.name + _NEW)
        # Allocated before it is mapped: a write to a mapped page of a full disk kills the process.
        new.write_bytes(bytes(8 + sum(len(key.encode()) + 32 for key in keys)))
        file = self._files.MmapedDict(str(new))
        try:
            for key, value in keys.items():
                file.write_value(key, value, 0.0)
        finally:
            file.close()
        replace(str(new), str(path))

    def _key(self, series: Series) -> str:
        family, name, labels, values = series
        key: str = self._files.mmap_key(
            family.removesuffix("_total"), name, labels, values, FAMILIES[family].meaning
        )
        return key

    def _remove_stale(self) -> None:
        """Remove gauges of killed processes for which `mark_process_dead` was not called."""
        now, quiet = time.time(), max(_QUIET, 3 * self._interval)
        for pattern in ("gauge_live*_*-*.db", f"*_*-*.db{_NEW}"):
            for path in self._directory.glob(pattern):
                with contextlib.suppress(FileNotFoundError):  # another process removed it
                    age = now - path.stat().st_mtime
                    # Pids of other containers are not known here, but their files are recent.
                    if age > _STALE or (age > quiet and not _is_running(path)):
                        path.unlink()

    def _after_fork(self) -> None:
        started = self._thread is not None and not self._closed
        self._reset()
        if started:
            self._start_thread()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._closed else "started" if self._thread else "not started"
        return f"Publisher({str(self._directory)!r}, {state})"

    def __reduce__(self) -> Any:
        raise TypeError("Publisher cannot be copied or pickled: each process makes its own")


def mark_process_dead(pid: int | str, directory: Any = None) -> None:
    """Remove the gauges of a process that ended; its counts stay.

    Call it from a hook of the process that starts the workers, such as gunicorn's ``child_exit``,
    instead of ``prometheus_client.multiprocess.mark_process_dead``, which it calls. Without it, the
    gauges of a killed process stay for some seconds, or for ten minutes if another process has its
    pid.

    Parameters
    ----------
    pid : int
        Number of the process.
    directory : str or path-like, optional
        As of `Publisher`.

    Raises
    ------
    ValueError
        If the directory is not set or does not exist.
    ImportError
        Without prometheus_client: the extra ``prometheus``.
    """
    client = require("prometheus_client.multiprocess", "mark_process_dead", "prometheus")
    path = _as_directory(directory)
    for name in (pid, f"{pid}-*"):  # files of prometheus_client, and of a Publisher
        client.mark_process_dead(name, str(path))


def _is_running(path: Path) -> bool:
    """Return whether the process that wrote a file is running."""
    pid = path.name.rpartition("_")[2].partition("-")[0]
    return is_running(int(pid))


def _as_directory(directory: Any) -> Path:
    if directory is None:
        directory = os.environ.get(_VARIABLE)
        if not directory:
            raise ValueError(f"directory: not given, and {_VARIABLE} is not set")
    path = Path(os.fsdecode(as_file_name(directory)))
    if not path.is_dir():
        raise ValueError(f"directory: expected an existing directory, got {str(path)!r}")
    return path


def _flatten(table: Table) -> tuple[dict[Series, float], dict[str, dict[Series, float]]]:
    """Return counts by series, and gauges by the prefix of their file.

    Every prefix of gauges is present, so that an empty file replaces one that had series.
    """
    counts: dict[Series, float] = {}
    gauges: dict[str, dict[Series, float]] = {f"gauge_live{m}": {} for m in ("sum", "max", "min")}
    for (name, *rest), value in table.items():
        family, values = FAMILIES[name], tuple(rest)
        if isinstance(value, Histogram):
            counts.update(_buckets(family, values, value))
        elif family.kind == "counter":
            counts[name, name, family.labels, values] = value
        else:
            gauges[f"gauge_live{family.merge}"][name, name, family.labels, values] = value
    return counts, gauges


def _buckets(family: Family, values: tuple[str, ...], histogram: Histogram) -> dict[Series, float]:
    name, labels = family.name, family.labels
    series: dict[Series, float] = {
        (name, f"{name}_bucket", (*labels, "le"), (*values, bound)): count
        for bound, count in zip(BOUND_NAMES, histogram.counts, strict=True)
    }
    ticks = histogram.nanoseconds * _TICKS // 10**9
    series[name, f"{name}_sum", labels, values] = ticks / _TICKS
    return series


_publishers: WeakSet[Publisher] = WeakSet()


def _after_fork_in_child() -> None:
    for publisher in list(_publishers):
        publisher._after_fork()


def _close_all() -> None:
    for publisher in list(_publishers):
        with contextlib.suppress(Exception):  # at exit, the directory may be gone
            publisher.close()


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
