"""A directory in which processes leave their numbers: a file each, and one of those that ended.

A process holds a lock on a file of its own for as long as it lives, and the kernel lets go of it
however it ends; so nobody is taken for alive because another process has its number now. What it
counts stands beside, in a file that is replaced by renaming: whoever is killed while writing leaves
the one before. Numbers of the dead are added to ``ended.json``, which also names whose they are:
who is killed between that and deleting their files leaves files that are known to be counted.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from waterfill.metrics.counting import is_counted
from waterfill.metrics.families import FAMILIES
from waterfill.metrics.sample import Histogram, Table, Value, put

MOST_BYTES = 1 << 20  # of one file: some ten thousand series
_FORMAT = 1
_DIRECTORY, _ENDED = "directory.lock", "ended.json"
_LOCK, _NUMBERS = ".lock", ".json"
_POLL = 0.002  # seconds
_PATIENCE = 2.0  # seconds that a scrape waits for another one


class Snapshot(NamedTuple):
    """What a process left: its numbers, and when, since the epoch."""

    table: Table
    at: float


class Found(NamedTuple):
    """What lies in a directory: all counts, gauges of the living; these; what cannot be read."""

    table: Table
    workers: int
    oldest: float | None
    unreadable: int


class Directory:
    """The directory, as one process sees it. Not to be used by two threads at the same time."""

    def __init__(self, path: Path) -> None:
        try:
            import fcntl
        except ImportError as error:
            raise ImportError("Shared needs POSIX file locks, which this system lacks") from error
        self._fcntl = fcntl
        self._path = path
        path.mkdir(parents=True, exist_ok=True)  # a mistake shows now
        self._own: int | None = None  # holds the lock that says that this process lives
        self._name = ""

    # This process.

    def _enter(self) -> None:
        self._path.mkdir(parents=True, exist_ok=True)
        self._name = f"{os.getpid()}-{time.time_ns()}-{os.urandom(4).hex()}"
        with self._held():  # or somebody might find the lock before it is held
            self._own = self._open(self._name + _LOCK)
            self._fcntl.flock(self._own, self._fcntl.LOCK_EX | self._fcntl.LOCK_NB)

    def leave(self) -> None:
        """Give the place up: what was published last is counted among those that ended."""
        if self._own is not None:
            self._fcntl.flock(self._own, self._fcntl.LOCK_UN)
        self.forget()

    def forget(self) -> None:
        """Forget the place: in a forked child it is the parent's, whose lock must outlast this."""
        if self._own is not None:
            os.close(self._own)
        self._own = None

    def __del__(self) -> None:
        if getattr(self, "_own", None) is not None:  # else it was never made
            self.forget()

    def publish(self, snapshot: Snapshot) -> None:
        """Replace what this process left before; the first time, take a place of its own.

        Raises
        ------
        ValueError
            If it is more than `MOST_BYTES`.
        OSError
            As the file system says.
        """
        if self._own is None or os.fstat(self._own).st_nlink == 0:  # somebody cleaned up
            self.forget()
            self._enter()
        self._write(self._name + _NUMBERS, _encoded(snapshot.table, {"at": snapshot.at}))

    # All processes.

    def read(self) -> Found:
        """Add up what all have left, and put the numbers of the dead together.

        Raises
        ------
        OSError, ValueError
            If that cannot be done. Nothing is lost then.
        """
        with self._held():
            names = set(os.listdir(self._path))
            ended, counted, unreadable = self._ended(names)
            living: list[str] = []
            dead: list[str] = []
            for lock in sorted(name for name in names - {_DIRECTORY} if name.endswith(_LOCK)):
                name = lock.removesuffix(_LOCK)
                if name not in counted:
                    (living if self._lives(name) else dead).append(name)
            left = [name for name in counted if name + _LOCK in names]
            if dead or left:
                unreadable += self._fold(ended, dead, left)
            return self._sum(ended, living, unreadable)

    def _sum(self, ended: Table, living: list[str], unreadable: int) -> Found:
        table, times = dict(ended), []
        for name in living:
            try:
                snapshot = self._snapshot(name)
            except (OSError, ValueError):
                unreadable += 1
                continue
            if snapshot is not None:
                put(table, snapshot.table.items())
                times.append(snapshot.at)
        return Found(table, len(times), min(times, default=None), unreadable)

    def _fold(self, ended: Table, dead: list[str], left: list[str]) -> int:
        """Add the dead to those that ended, and delete their files and those that are left.

        Returns how many could not be read. If the sum cannot be written, the files stay, for
        another time.
        """
        unreadable = 0
        for name in dead:
            try:
                snapshot = self._snapshot(name)
            except ValueError:
                snapshot, unreadable = None, unreadable + 1
            if snapshot is not None:
                put(ended, ((k, v) for k, v in snapshot.table.items() if is_counted(k)))
        try:
            if dead:
                self._write(_ENDED, _encoded(ended, {"counted": [*dead, *left]}))
        except (OSError, ValueError):
            return unreadable + 1
        for name in [*dead, *left]:
            for suffix in (_NUMBERS, _temporary(_NUMBERS), _LOCK):  # while it has that, it is known
                with contextlib.suppress(OSError):  # another user's: it is known to be counted
                    os.unlink(self._path / (name + suffix))
        return unreadable

    def _ended(self, names: set[str]) -> tuple[Table, set[str], int]:
        """Return the numbers of those that ended, their names, and whether that is damaged."""
        if _ENDED not in names:
            return {}, set(), 0
        try:
            document = _document((self._path / _ENDED).read_bytes())
            return _decoded(document), set(document["counted"]), 0
        except ValueError:  # as after a loss of power: begin at 0, as all else did
            os.replace(self._path / _ENDED, self._path / (_ENDED + ".damaged"))
            return {}, set(), 1

    def _snapshot(self, name: str) -> Snapshot | None:
        try:
            data = (self._path / (name + _NUMBERS)).read_bytes()
        except FileNotFoundError:  # it has not published yet, or never did
            return None
        document = _document(data)
        return Snapshot(_decoded(document), float(document["at"]))

    def _lives(self, name: str) -> bool:
        if self._own is not None and name == self._name:
            return True
        try:
            handle = os.open(self._path / (name + _LOCK), os.O_RDONLY)
        except FileNotFoundError:
            return False
        try:
            self._fcntl.flock(handle, self._fcntl.LOCK_EX | self._fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        else:
            # By name: closing alone leaves it to a child that was forked meanwhile.
            self._fcntl.flock(handle, self._fcntl.LOCK_UN)
            return False
        finally:
            os.close(handle)

    # Files.

    @contextlib.contextmanager
    def _held(self) -> Iterator[None]:
        """Have the directory alone."""
        handle = self._open(_DIRECTORY)
        try:
            self._wait_for(handle)
            try:
                yield
            finally:
                self._fcntl.flock(handle, self._fcntl.LOCK_UN)
        finally:
            os.close(handle)

    def _wait_for(self, handle: int) -> None:
        end = time.monotonic() + _PATIENCE
        while True:
            try:
                self._fcntl.flock(handle, self._fcntl.LOCK_EX | self._fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() > end:
                    raise
                time.sleep(_POLL)

    def _open(self, name: str) -> int:
        return os.open(self._path / name, os.O_RDONLY | os.O_CREAT, 0o644)

    def _write(self, name: str, data: bytes) -> None:
        """Replace a file; not synced, as what the machine forgets, all its processes do."""
        temporary = self._path / _temporary(name)
        temporary.write_bytes(data)
        os.replace(temporary, self._path / name)


def _temporary(name: str) -> str:
    return name + ".new"


def _encoded(table: Table, more: dict[str, Any]) -> bytes:
    series = [[*key, _plain(value)] for key, value in table.items()]
    document = {"format": _FORMAT, **more, "series": series}
    data = json.dumps(document, separators=(",", ":")).encode()
    if len(data) > MOST_BYTES:
        raise ValueError(
            f"{len(series):,} series take {len(data):,} bytes; {MOST_BYTES:,} are the most"
        )
    return data


def _plain(value: Value) -> Any:
    return [value.nanoseconds, *value.counts] if isinstance(value, Histogram) else value


def _document(data: bytes) -> dict[str, Any]:
    document = json.loads(data)
    if not isinstance(document, dict) or document.get("format") != _FORMAT:
        raise ValueError("not a file of metrics of this version")
    return document


def _decoded(document: dict[str, Any]) -> Table:
    """Return the series; those of a family that is not known here are left out."""
    table: Table = {}
    for *key, value in document["series"]:
        if key[0] in FAMILIES and len(FAMILIES[key[0]].labels) == len(key) - 1:
            is_list = isinstance(value, list)
            table[tuple(key)] = Histogram(tuple(value[1:]), value[0]) if is_list else value
    return table
