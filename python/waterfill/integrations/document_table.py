"""The documents of a store: ids, texts and metadata, in a file of SQLite beside the vectors."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import threading
import urllib.parse
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from waterfill import _core

Numbers = NDArray[np.int64]

FILE = "documents.sqlite3"

_APPLICATION = 0x57464453  # "WFDS"
_VERSION = 2  # 1 kept vectors, too, until there was an index
_AT_ONCE = 500  # parameters of a statement; SQLite takes at least 999
_WAIT = 30.0  # seconds for a reader that holds the file

# Metadata come before the content: SQLite then reads them without the pages of long contents.
_SCHEMA = """
CREATE TABLE documents (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    parent TEXT,
    embedded INTEGER NOT NULL,
    metadata TEXT NOT NULL,
    content TEXT NOT NULL,
    norm REAL NOT NULL
);
CREATE INDEX embedded ON documents (number) WHERE embedded;
CREATE INDEX parents ON documents (parent) WHERE parent IS NOT NULL;
CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""
_COLUMNS = "number, id, content, metadata, parent, embedded, norm"


@dataclass
class StoredDocument:
    """A document as a host gave it.

    Attributes
    ----------
    id : str
        What the host knows it by.
    content : str
        Its text, or all that the host needs to make it again.
    metadata : dict
        What filters see: values that JSON holds.
    parent : str, optional
        The document that this one is a part of.
    number : int
        The id of its vector; another one after each change of the vector, and never given twice.
    embedded : bool
        Whether it has a vector.
    norm : float
        By which the index has divided the vector.
    """

    id: str
    content: str
    metadata: dict[str, Any] = field(default_factory=dict)
    parent: str | None = None
    number: int = -1
    embedded: bool = False
    norm: float = 1.0


class DocumentTable:
    """Documents by id and by number.

    A change is one transaction, on the disk when the call returns. Calls may come from any thread.

    Parameters
    ----------
    folder : str
        Has the file, or gets it.
    writes : bool
        Otherwise the file must exist.

    Raises
    ------
    FormatError
        If the file is damaged, or is none of this kind.
    FileNotFoundError
        If there is no file to read.
    """

    def __init__(self, folder: str, writes: bool) -> None:
        self._name = os.path.join(folder, FILE)
        self._lock = threading.RLock()
        self._changes = 0
        if not writes and not os.path.exists(self._name):
            raise FileNotFoundError(2, "no documents in this folder; open it with mode='a'", folder)
        self._rows = self._connect(writes)
        try:
            self._prepare(writes)
        except sqlite3.DatabaseError as error:
            self.close()
            raise _core.FormatError(f"{self._name}: damaged: {error}") from None
        except BaseException:
            self.close()
            raise

    def _connect(self, writes: bool) -> sqlite3.Connection:
        mode = "rwc" if writes else "ro"
        if not writes and not os.access(os.path.dirname(self._name), os.W_OK):
            log = f"{self._name}-wal"
            if os.path.exists(log) and os.path.getsize(log):
                raise PermissionError(
                    13, "a crash has left changes; open it once where it can be written", log
                )
            mode += "&immutable=1"  # SQLite cannot make the files that it shares with a writer
        return sqlite3.connect(
            f"file:{urllib.parse.quote(self._name)}?mode={mode}",
            uri=True,
            timeout=_WAIT,
            isolation_level=None,
            check_same_thread=False,
        )

    def _prepare(self, writes: bool) -> None:
        application = self._value("PRAGMA application_id")
        if application == 0 and writes and self._value("SELECT count(*) FROM sqlite_master") == 0:
            self._rows.execute("PRAGMA journal_mode = WAL")
            self._rows.executescript(
                f"BEGIN; {_SCHEMA} PRAGMA application_id = {_APPLICATION};"
                f"PRAGMA user_version = {_VERSION}; COMMIT"
            )
        elif application != _APPLICATION:
            raise _core.FormatError(f"{self._name}: expected documents of waterfill")
        version = self._value("PRAGMA user_version")
        if version != _VERSION:
            way = "update waterfill" if version > _VERSION else "make the folder anew"
            raise _core.FormatError(f"{self._name}: version {version}, expected {_VERSION}; {way}")
        self._rows.execute("PRAGMA synchronous = FULL")
        # Not every build of SQLite overwrites what is deleted unless it is told to.
        self._rows.execute("PRAGMA secure_delete = ON")

    def _value(self, statement: str, *parameters: Any) -> Any:
        with self._lock:
            row = self._rows.execute(statement, parameters).fetchone()
        return None if row is None else row[0]

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._rows.close()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._rows.execute("BEGIN IMMEDIATE")
            try:
                yield self._rows
                self._rows.execute("COMMIT")
            except BaseException:
                if self._rows.in_transaction:
                    self._rows.execute("ROLLBACK")
                raise
            self._changes += 1

    # What it holds.

    @property
    def version(self) -> tuple[int, int]:
        """Equal only if nothing has changed in between, here or in another process."""
        return self._changes, self._value("PRAGMA data_version")

    def settings(self) -> dict[str, Any]:
        """Return the settings of the store."""
        with self._lock:
            return {
                name: json.loads(value)
                for name, value in self._rows.execute("SELECT name, value FROM settings")
            }

    def count(self) -> int:
        """Return the number of documents."""
        return int(self._value("SELECT count(*) FROM documents"))

    def count_embedded(self) -> int:
        """Return the number of documents that have a vector."""
        return int(self._value("SELECT count(*) FROM documents WHERE embedded"))

    def next_number(self) -> int:
        """Return the number after all that were ever given."""
        last = self._value("SELECT seq FROM sqlite_sequence WHERE name = 'documents'")
        return 0 if last is None else int(last) + 1

    def embedded_numbers(self) -> Numbers:
        """Return the numbers of the documents that have a vector, ascending."""
        with self._lock:
            rows = self._rows.execute("SELECT number FROM documents WHERE embedded ORDER BY number")
            return np.fromiter((number for (number,) in rows), np.int64)

    def by_number(self, numbers: Iterable[int]) -> dict[int, StoredDocument]:
        """Return the documents that have some numbers, by number."""
        return {one.number: one for one in self._find("number", [int(n) for n in numbers])}

    def by_id(self, ids: Iterable[str]) -> dict[str, StoredDocument]:
        """Return the documents that have some ids, by id."""
        return {one.id: one for one in self._find("id", [require_text("ids", i) for i in ids])}

    def ids_of_parent(self, parent: str) -> list[str]:
        """Return the ids of the parts of a document."""
        with self._lock:
            rows = self._rows.execute("SELECT id FROM documents WHERE parent = ?", (parent,))
            return [id for (id,) in rows]

    def _find(self, column: str, values: Sequence[Any]) -> Iterator[StoredDocument]:
        for some in _parts(values):
            marks = ", ".join("?" * len(some))
            statement = f"SELECT {_COLUMNS} FROM documents WHERE {column} IN ({marks})"
            with self._lock:
                rows = self._rows.execute(statement, some).fetchall()
            yield from map(_read, rows)

    def scan(self, contents: bool = True) -> Iterator[StoredDocument]:
        """Return all documents in order of their numbers.

        contents: read them, too; otherwise they are empty.
        """
        columns = _COLUMNS if contents else _COLUMNS.replace("content", "''")
        last = -1
        while True:
            with self._lock:
                rows = self._rows.execute(
                    f"SELECT {columns} FROM documents WHERE number > ? ORDER BY number LIMIT ?",
                    (last, _AT_ONCE),
                ).fetchall()
            if not rows:
                return
            yield from map(_read, rows)
            last = rows[-1][0]

    # Changes.

    def change_settings(self, settings: dict[str, Any]) -> None:
        """Set settings of the store."""
        with self._transaction() as rows:
            _set(rows, settings)

    def put(self, documents: Sequence[StoredDocument], settings: dict[str, Any]) -> Numbers:
        """Store documents in place of those with their ids, and set settings.

        Returns
        -------
        int64 (m,)
            Numbers of vectors that belong to no document any more.
        """
        records = [_record(document) for document in documents]
        with self._transaction() as rows:
            replaced = _take_out(rows, [document.id for document in documents])
            rows.executemany(
                "INSERT INTO documents (number, id, parent, embedded, metadata, content, norm) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                records,
            )
            _set(rows, settings)
        return replaced

    def rewrite(self, documents: Sequence[StoredDocument]) -> None:
        """Replace content, metadata and parent of documents, found by number."""
        records = [
            (one.parent, metadata, one.content, one.number)
            for one in documents
            for metadata in [_record(one)[4]]
        ]
        with self._transaction() as rows:
            rows.executemany(
                "UPDATE documents SET parent = ?, metadata = ?, content = ? WHERE number = ?",
                records,
            )

    def remove(self, ids: Sequence[str]) -> tuple[int, Numbers]:
        """Remove documents; return how many there were, and the numbers of their vectors."""
        with self._transaction() as rows:
            before = rows.total_changes
            numbers = _take_out(rows, [require_text("ids", id) for id in ids])
            removed = rows.total_changes - before
        return removed, numbers

    def clear(self, settings: dict[str, Any]) -> None:
        """Remove all documents, and set settings."""
        with self._transaction() as rows:
            rows.execute("DELETE FROM documents")
            _set(rows, settings)

    def copy_to(self, folder: str) -> None:
        """Write the present state to another folder."""
        with self._lock, contextlib.closing(sqlite3.connect(os.path.join(folder, FILE))) as copy:
            self._rows.backup(copy)


def _set(rows: sqlite3.Connection, settings: dict[str, Any]) -> None:
    rows.executemany(
        "INSERT OR REPLACE INTO settings VALUES (?, ?)",
        [(name, json.dumps(value)) for name, value in settings.items()],
    )


def _take_out(rows: sqlite3.Connection, ids: Sequence[str]) -> Numbers:
    """Remove documents; return the numbers of their vectors."""
    numbers: list[int] = []
    for some in _parts(ids):
        marks = ", ".join("?" * len(some))
        query = f"SELECT number FROM documents WHERE embedded AND id IN ({marks})"
        numbers += [number for (number,) in rows.execute(query, some)]
        rows.execute(f"DELETE FROM documents WHERE id IN ({marks})", some)
    return np.array(sorted(numbers), np.int64)


def _parts(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for first in range(0, len(values), _AT_ONCE):
        yield values[first : first + _AT_ONCE]


def _read(row: tuple[Any, ...]) -> StoredDocument:
    number, id, content, metadata, parent, embedded, norm = row
    return StoredDocument(id, content, json.loads(metadata), parent, number, bool(embedded), norm)


def _record(document: StoredDocument) -> tuple[Any, ...]:
    id = require_text("ids", document.id)
    content = require_text("texts", document.content)
    metadata = _as_json(document.metadata, id)
    parent = None if document.parent is None else require_text("parent", document.parent)
    return document.number, id, parent, document.embedded, metadata, content, document.norm


def _as_json(metadata: Any, id: str) -> str:
    """Return metadata as JSON; an error unless they come back as they are."""
    if not isinstance(metadata, dict):
        raise TypeError(f"metadata: expected a dict, got {type(metadata).__name__} for id {id!r}")
    for key, value in metadata.items():
        try:
            same = isinstance(key, str) and json.loads(json.dumps(value, allow_nan=False)) == value
        except (TypeError, ValueError):
            same = False
        if not same:
            raise ValueError(
                f"metadata: expected values that JSON holds, got {key!r}: {value!r} for id {id!r}; "
                "store text or numbers, such as date.isoformat()"
            )
    return json.dumps(metadata)


def require_text(name: str, value: Any) -> str:
    """Return a str that can be stored; a TypeError or ValueError for anything else."""
    if not isinstance(value, str):
        raise TypeError(f"{name}: expected str, got {type(value).__name__} ({value!r})")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(
            f"{name}: expected text of Unicode, got half of a surrogate pair in {value!r}; "
            "replace it: text.encode(errors='replace').decode()"
        ) from None
    return value
