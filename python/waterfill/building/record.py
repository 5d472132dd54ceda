"""What a folder keeps of its build: the record of what is built, and the journal of what is done.

The record says what the folder is built from and how; it stays. The journal has a line for each
step that is done, written and synced after the files of the step; it is removed at the end. A line
that a crash cut off does not count: its step is done again.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict, dataclass, field
from typing import Any

from waterfill import _core
from waterfill._util.atomic_file import atomic_write
from waterfill._util.system import OPEN_FLAGS, sync_directory
from waterfill.data.row_policy import Policy
from waterfill.folder.directory import (
    BUILD_JOURNAL,
    BUILD_RECORD,
    header_checksum,
    segment_name,
)

_VERSION = 1


@dataclass
class Record:
    """What a folder is built from, and how.

    Attributes
    ----------
    source : list
        The identities of the parts.
    ids : object
        How vectors are numbered.
    codec : object
        What the codec is made from.
    settings : dict
        Metric, lists, refine rows and the rest of what changes the folder.
    policy : str
        What is done with rows that cannot be used.
    shard_rows, sample_rows : int
        Most rows of a shard, and of the sample to train on. An earlier run has chosen them.
    """

    source: list[Any]
    ids: Any
    codec: Any
    settings: dict[str, Any]
    policy: Policy
    shard_rows: int
    sample_rows: int
    version: int = _VERSION

    def write(self, path: str) -> None:
        """Write it to a folder, all at once."""
        with atomic_write(os.path.join(path, BUILD_RECORD)) as file:
            file.write(json.dumps(asdict(self), indent=1).encode() + b"\n")


def read_record(path: str) -> Record | None:
    """Return the record in a folder; None if there is none.

    Raises
    ------
    FormatError
        If it is damaged, or of a later version.
    """
    name = os.path.join(path, BUILD_RECORD)
    try:
        with open(name, "rb") as file:
            data = file.read()
    except FileNotFoundError:
        return None
    try:
        found = json.loads(data)
        if found["version"] != _VERSION:
            raise ValueError(f"version {found['version']}, expected {_VERSION}")
        return Record(**found)
    except (ValueError, TypeError, KeyError) as error:
        raise _core.FormatError(f"{name}: damaged: {error}") from None


def differences(old: Record, new: Record) -> list[str]:
    """Return in words what a build would do otherwise than the one before it."""
    found = []
    if old.source != new.source:
        found.append(_source_difference(old.source, new.source))
    for name in ("codec", "ids"):
        if getattr(old, name) != getattr(new, name):
            found.append(f"another {name}" if name == "codec" else "other ids")
    for name in sorted(old.settings.keys() | new.settings.keys()):
        before, now = old.settings.get(name), new.settings.get(name)
        if before != now:
            found.append(f"{name}={now!r} instead of {before!r}")
    if old.policy != new.policy and old.policy != "raise":
        found.append(f"policy={new.policy!r} instead of {old.policy!r}")
    return found


def _source_difference(old: list[Any], new: list[Any]) -> str:
    before = {str(part[0]): part for part in old}
    for part in new:
        if str(part[0]) not in before:
            return f"a source with {part[0]}, which was not part of it"
        if before[str(part[0])] != part:
            return f"another state of {part[0]}, which has changed since"
    left = [name for name in before if name not in {str(part[0]) for part in new}]
    return f"a source without {left[0]}" if left else "the parts of the source in another order"


@dataclass
class FinishedShard:
    """A shard that is finished.

    Attributes
    ----------
    shard : int
    segment : int
        Number of its file.
    vectors, bytes, crc : int
        As in the manifest of the folder. There is no file without vectors.
    next_id : int
        More than any id in it.
    clipped : int
        Vectors whose distance the codec clips.
    left_out : list
        [name, row, reasons] of the first rows that were left out.
    left : int
        Number of rows that were left out.
    rows : int
        Rows that were read.
    checksum : int
        Of the vectors, if they come from an iterator.
    """

    shard: int
    segment: int
    vectors: int
    bytes: int
    crc: int
    next_id: int
    clipped: int = 0
    left: int = 0
    left_out: list[Any] = field(default_factory=list)
    rows: int = 0
    checksum: int = 0


class Journal:
    """The steps of a build that are done.

    Attributes
    ----------
    codec : str
        Fingerprint of the codec that is in the folder; empty before there is one.
    ids : bool
        Whether ids are known to be distinct.
    shards : dict
        What is finished, by number.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._name = os.path.join(path, BUILD_JOURNAL)
        self.codec, self.ids = "", False
        self.shards: dict[int, FinishedShard] = {}
        end = self._read()
        self._file = os.open(self._name, os.O_RDWR | os.O_CREAT | OPEN_FLAGS, 0o666)
        os.ftruncate(self._file, end)
        os.lseek(self._file, end, os.SEEK_SET)

    def _read(self) -> int:
        """Take in the lines that are whole, and return where they end."""
        try:
            with open(self._name, "rb") as file:
                lines = file.read().splitlines(keepends=True)
        except FileNotFoundError:
            return 0
        end = 0
        for line in lines:
            checksum, _, text = line.partition(b" ")
            if checksum != _checksum(text) or not text.endswith(b"\n"):
                break
            self._take(json.loads(text))
            end += len(line)
        return end

    def _take(self, step: dict[str, Any]) -> None:
        if "codec" in step:
            self.codec = step["codec"]
        elif "ids" in step:
            self.ids = True
        else:
            done = FinishedShard(**step)
            self.shards[done.shard] = done

    def write(self, step: dict[str, Any] | FinishedShard) -> None:
        """Add a step whose files are on the disk, and wait until the line is there, too."""
        values = asdict(step) if isinstance(step, FinishedShard) else step
        text = json.dumps(values).encode() + b"\n"
        line = memoryview(_checksum(text) + b" " + text)
        while line:  # the system may write less than it is given
            line = line[os.write(self._file, line) :]
        os.fsync(self._file)
        self._take(values)

    def drop_missing(self) -> None:
        """Forget shards whose file is not what it was when they were finished."""
        self.shards = {number: done for number, done in self.shards.items() if self._is_there(done)}

    def _is_there(self, done: FinishedShard) -> bool:
        if done.vectors == 0:
            return True
        name = os.path.join(self._path, segment_name(done.segment))
        with contextlib.suppress(OSError):
            return os.path.getsize(name) == done.bytes and header_checksum(name) == done.crc
        return False

    def close(self) -> None:
        """Close the file."""
        handle, self._file = self._file, -1
        if handle >= 0:
            os.close(handle)

    def remove(self) -> None:
        """Remove the file, when all is done."""
        self.close()
        remove_journal(self._path)


def remove_journal(path: str) -> None:
    """Remove the journal of a folder whose build is finished, if a crash has left it."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(os.path.join(path, BUILD_JOURNAL))
        sync_directory(path)


def _checksum(text: bytes) -> bytes:
    return b"%08x" % _core.crc32c(text)
