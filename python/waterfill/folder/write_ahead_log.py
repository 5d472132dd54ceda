"""The write-ahead log: changes since the last segment, on the disk before they are acknowledged."""

from __future__ import annotations

import os
import threading
import time
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from waterfill import _core
from waterfill._util.system import OPEN_FLAGS, sync_directory, write_at
from waterfill.folder.directory import log_name

Sync = Literal["commit", "interval", "none"]
SYNCS: tuple[Sync, ...] = ("commit", "interval", "none")

Change = tuple[str, NDArray[np.int64], NDArray[np.uint8] | None, NDArray[np.uint8] | None]
"""Kind ('append', 'upsert' or 'remove'), ids, codes, and refine rows of some vectors."""

_INTERVAL = 1.0  # seconds between syncs

_sync_data = getattr(os, "fdatasync", os.fsync)


class LogFormat:
    """What the header of a log says: the sizes of its records, and the codec of the codes."""

    def __init__(self, code_size: int, row_bytes: int, mark: bytes) -> None:
        self.code_size = code_size
        self.row_bytes = row_bytes
        self.mark = mark


def create_log(path: str, number: int, form: LogFormat) -> None:
    """Write an empty log and sync it; the caller syncs the directory."""
    header = _core.log_header(number, form.code_size, form.row_bytes, form.mark)
    name = os.path.join(path, log_name(number))
    handle = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | OPEN_FLAGS, 0o666)
    try:
        write_at(handle, header, 0)
        os.fsync(handle)
    finally:
        os.close(handle)


class LogReader:
    """Reads the records of a log, and those that a writer appends later."""

    def __init__(self, path: str, number: int, form: LogFormat) -> None:
        self._name = os.path.join(path, log_name(number))
        self._number, self._form = number, form
        self.offset, self.sequence = 0, 1
        self.torn = False

    def read(self) -> list[Change]:
        """Return the changes since the last call.

        Raises
        ------
        FormatError
            If the log is damaged, or shorter than before.
        """
        with open(self._name, "rb") as file:
            # Of the open file: Windows is late to tell the size of one by its name.
            if self.offset and os.fstat(file.fileno()).st_size == self.offset:
                return []
            data = file.read()
        if len(data) < self.offset:
            raise _core.FormatError(f"{self._name}: damaged: the log has become shorter")
        try:
            if self.offset == 0:
                self._check_header(data)
            changes, offset, sequence, self.torn = _core.read_log(data, self.offset, self.sequence)
        except _core.FormatError as error:
            raise _core.FormatError(f"{self._name}: {error}") from None
        self.offset, self.sequence = offset, sequence
        return changes

    def _check_header(self, data: bytes) -> None:
        found = _core.read_log_header(data)
        form = self._form
        if found != (self._number, form.code_size, form.row_bytes, form.mark):
            raise _core.FormatError("damaged: the log belongs to another folder or codec")


class WriteAheadLog:
    """Appends records to a log. The caller holds a lock during each call.

    Parameters
    ----------
    reader : LogReader
        At the end of the log. Bytes behind it, of a record that a crash cut off, are dropped.
    sync : {'commit', 'interval', 'none'}
        When records reach the disk: before `append` returns, within a second, or when the system
        writes them.
    """

    def __init__(self, path: str, number: int, reader: LogReader, sync: Sync) -> None:
        self._path, self._sync = path, sync
        self._handle = os.open(os.path.join(path, log_name(number)), os.O_RDWR | OPEN_FLAGS)
        self.size, self._sequence = reader.offset, reader.sequence
        self._failed = False
        self._dirty_since: float | None = None
        self._timer: threading.Timer | None = None
        self._state = threading.Lock()
        try:
            self.truncate((self.size, self._sequence))
            sync_directory(path)
        except BaseException:
            self.close(sync=False)
            raise

    def append(
        self,
        kind: str,
        ids: NDArray[np.int64],
        codes: NDArray[np.uint8] | None = None,
        rows: _core.RefineRows | None = None,
    ) -> None:
        """Write a record, and wait until it is on the disk with ``sync="commit"``.

        Raises
        ------
        OSError
            If it cannot be written; the log is as before. If that cannot be had either, this and
            all later calls raise, and the folder must be opened again.
        """
        self.require_sound()
        record = _core.log_record(kind, self._sequence, ids, codes, rows)
        before = self.position
        try:
            write_at(self._handle, record, self.size)
            if self._sync == "commit":
                _sync_data(self._handle)
        except BaseException:
            self.truncate(before)
            raise
        self.size += len(record)
        self._sequence += 1
        if self._sync == "interval":
            self._sync_soon()

    @property
    def position(self) -> tuple[int, int]:
        """The end of the log: its size, and the number of the next record."""
        return self.size, self._sequence

    def truncate(self, position: tuple[int, int]) -> None:
        """Drop the records behind a position."""
        size, sequence = position
        try:
            os.ftruncate(self._handle, size)
            os.fsync(self._handle)
        except BaseException:
            # Unknown: a failed sync may have dropped the pages of earlier records, too.
            self.fail()
            raise
        self.size, self._sequence = size, sequence

    def require_sound(self) -> None:
        """Raise OSError after an error that left the state of the log unknown."""
        if self._failed:
            raise OSError(
                5, "an earlier write failed; close the folder and open it again", self._path
            )

    def fail(self) -> None:
        """Let all later calls raise: what is on the disk is not known."""
        self._failed = True

    def sync(self) -> None:
        """Wait until all records are on the disk."""
        with self._state:
            if self._handle >= 0:
                _sync_data(self._handle)
            self._dirty_since = None

    def _sync_soon(self) -> None:
        with self._state:
            if self._dirty_since is not None:
                return
            self._dirty_since = time.monotonic()
            self._timer = threading.Timer(_INTERVAL, self._sync_late)
            self._timer.daemon = True
            self._timer.start()

    def _sync_late(self) -> None:
        try:
            self.sync()
        except OSError:
            self._failed = True  # the next call raises

    def close(self, *, sync: bool = True) -> None:
        """Close the file; without `sync` the log is about to be removed."""
        if self._timer is not None:
            self._timer.cancel()
        try:
            if sync and not self._failed:
                self.sync()
        finally:
            with self._state:
                handle, self._handle = self._handle, -1
            if handle >= 0:
                os.close(handle)

    def __del__(self) -> None:
        if hasattr(self, "_state"):
            self.close(sync=False)
