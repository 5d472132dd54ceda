"""Lists of one length in a Parquet file, page by page, without decoding their levels.

Parquet stores a list as values and levels: for each value, whether it starts a list, and whether it
is null. Libraries decode these value by value, which takes seven times as long as reading the
values. If all lists have the same length and there are no nulls, levels repeat themselves from
page to page, so it is enough to compare them with those of a page that has been decoded. Whatever
is not like that is left to the library: `PlainPages` then raises `NotPlain`.

Format: https://github.com/apache/parquet-format (Apache Parquet), with headers in Thrift's compact
protocol.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from waterfill._util.optional import require

_TYPES = {"FLOAT": "<f4", "DOUBLE": "<f8", "INT32": "<i4", "INT64": "<i8"}
_DATA_PAGE, _DICTIONARY_PAGE, _DATA_PAGE_V2 = 0, 2, 3
_PLAIN, _RLE = 0, 3
_DICTIONARY = (2, 8)  # encodings
_HEADER_BYTES = 1 << 10
_MOST_KNOWN = 64  # levels that are remembered
_PARSE_ERRORS = (IndexError, KeyError, ValueError, TypeError, OverflowError, OSError)


class NotPlain(Exception):  # noqa: N818 - no error: the library reads what follows
    """The next page has to be read by the library."""


@dataclass(frozen=True)
class Column:
    """A column of lists in a file, whose values are stored as they are.

    Attributes
    ----------
    number : int
        Of the leaf, in the metadata.
    dtype : numpy.dtype
    definition : int
        Definition level of a value that is there.
    """

    number: int
    dtype: np.dtype[Any]
    definition: int


def plain_column(schema: Any, name: str, dtype: np.dtype[Any]) -> Column | None:
    """Return a column of lists; None if it is nested otherwise or of another type.

    Parameters
    ----------
    schema : pyarrow.parquet.ParquetSchema
    name : str
        The column, with dots between it and fields of structs.
    dtype : numpy.dtype
        What the library makes of the values.
    """
    leaves = [i for i in range(len(schema)) if schema.column(i).path.startswith(f"{name}.")]
    if len(leaves) != 1:
        return None
    leaf = schema.column(leaves[0])
    stored = _TYPES.get(leaf.physical_type)
    if leaf.max_repetition_level != 1 or stored is None or np.dtype(stored) != dtype:
        return None
    return Column(leaves[0], np.dtype(stored), leaf.max_definition_level)


class RawFile:
    """A file whose bytes are read at any place; it is closed with the object."""

    def __init__(self, path: str) -> None:
        self._handle = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))

    def read(self, at: int, n: int) -> bytes:
        """Return n bytes, or fewer at the end of the file."""
        return os.pread(self._handle, n, at)

    def close(self) -> None:
        """Close it."""
        handle, self._handle = self._handle, -1
        if handle >= 0:
            os.close(handle)

    def __del__(self) -> None:
        if hasattr(self, "_handle"):
            self.close()


class PlainPages:
    """The lists of a row group.

    Parameters
    ----------
    file : RawFile
    chunk : pyarrow.parquet.ColumnChunkMetaData
    column : Column
    d : int
        Length of the lists.
    known : set of bytes
        Levels of pages that have been decoded and found to be those of full lists; kept between row
        groups.
    """

    def __init__(
        self, file: RawFile, chunk: Any, column: Column, d: int, known: set[bytes]
    ) -> None:
        self._file, self._column, self._d, self._known = file, column, d, known
        self._total = chunk.num_values
        start = chunk.data_page_offset
        if chunk.dictionary_page_offset:
            start = min(start, chunk.dictionary_page_offset)
        self._at, self._end = start, start + chunk.total_compressed_size
        self._codec = _decompressor(chunk.compression)
        self._values = 0  # of the pages that were read
        self._rest: NDArray[Any] = np.empty(0, column.dtype)  # of a list that the next page ends

    def __iter__(self) -> Iterator[NDArray[Any] | int]:
        """Yield the lists of each page, (n, d), or how many the library has to read in its place.

        Raises
        ------
        NotPlain
            If it has to read all that follow.
        """
        try:
            while self._at < self._end:
                found = self._next_page()
                if found is not None:
                    yield found
        except _PARSE_ERRORS:
            raise NotPlain from None
        if self._values % self._d:
            raise NotPlain

    def _next_page(self) -> NDArray[Any] | int | None:
        header, size = self._header()
        data = self._file.read(self._at + size, header[3])
        self._at += size + header[3]
        if header[1] == _DICTIONARY_PAGE:
            return None
        if header[1] not in (_DATA_PAGE, _DATA_PAGE_V2) or len(data) != header[3]:
            raise NotPlain
        read = self._page if header[1] == _DATA_PAGE else self._page_v2
        n, encoding, levels, values = read(header, data)
        if self._values + n > self._total:
            raise NotPlain
        self._check(levels, n)
        before, self._values = self._values, self._values + n
        if encoding in _DICTIONARY and before % self._d == 0 and n % self._d == 0:
            return n // self._d
        if encoding != _PLAIN or len(values) != n * self._column.dtype.itemsize:
            raise NotPlain
        return self._lists(np.frombuffer(values, self._column.dtype))

    def _header(self) -> tuple[dict[int, Any], int]:
        """Return the header of the next page, and its size."""
        for size in (_HEADER_BYTES, self._end - self._at):
            reader = _Compact(self._file.read(self._at, min(size, self._end - self._at)))
            try:
                return reader.struct(), reader.at
            except IndexError:
                continue  # it is longer
        raise NotPlain

    def _page(self, header: dict[int, Any], data: bytes) -> tuple[int, int, list[Any], Any]:
        """Return the number of values, their encoding, the levels, and the values of a page."""
        page = header[5]
        if page[3] != _RLE or page[4] != _RLE:
            raise NotPlain
        view = memoryview(self._codec(data, header[2]))
        levels = []
        for _ in range(2):
            size = int.from_bytes(view[:4], "little")
            if 4 + size > len(view):
                raise NotPlain
            levels.append(view[4 : 4 + size])
            view = view[4 + size :]
        return page[1], page[2], levels, view

    def _page_v2(self, header: dict[int, Any], data: bytes) -> tuple[int, int, list[Any], Any]:
        page, view = header[8], memoryview(data)
        definition, repetition = page[5], page[6]
        if min(definition, repetition) < 0 or definition + repetition > len(view):
            raise NotPlain
        levels = [view[:repetition], view[repetition : repetition + definition]]
        view = view[repetition + definition :]
        if page.get(7, True):
            view = memoryview(self._codec(view, header[2] - repetition - definition))
        return page[1], page[4], levels, view

    def _check(self, levels: list[Any], n: int) -> None:
        """Raise NotPlain unless the levels of a page are those of full lists without nulls."""
        phase = self._values % self._d
        key = b"%d %d %d " % (n, phase, len(levels[0])) + bytes(levels[0]) + bytes(levels[1])
        if key in self._known:
            return
        starts = (np.arange(phase, phase + n) % self._d == 0).astype(np.int64)
        top = self._column.definition
        if not (
            np.array_equal(_levels(levels[0], 1, n), 1 - starts)
            and np.array_equal(_levels(levels[1], top.bit_length(), n), np.full(n, top))
        ):
            raise NotPlain
        if len(self._known) < _MOST_KNOWN:
            self._known.add(key)

    def _lists(self, values: NDArray[Any]) -> NDArray[Any]:
        if len(self._rest):
            values = np.concatenate([self._rest, values])
        whole = len(values) // self._d * self._d
        self._rest = values[whole:]
        return values[:whole].reshape(-1, self._d)


def _decompressor(name: str) -> Any:
    """Return a function of data and size."""
    if name == "UNCOMPRESSED":
        return lambda data, size: data
    pyarrow = require("pyarrow", "Parquet", "parquet")
    kind = {"LZ4": None, "LZO": None, "LZ4_RAW": "lz4_raw"}.get(name, name.lower())
    if kind is None or not pyarrow.Codec.is_available(kind):
        raise NotPlain
    codec = pyarrow.Codec(kind)
    return lambda data, size: codec.decompress(data, size, asbytes=True)


def _levels(data: Any, width: int, n: int) -> NDArray[np.int64]:
    """Decode n levels: runs of one value, and groups of eight of `width` bits."""
    parts: list[NDArray[np.int64]] = []
    reader, left, size = _Compact(bytes(data)), n, -(-width // 8)
    while left > 0:
        run = reader.varint()
        if run & 1:
            count = 8 * (run >> 1)
            packed = np.frombuffer(reader.bytes(count * width // 8), np.uint8)
            bits = np.unpackbits(packed, bitorder="little").reshape(count, width)
            part = (bits.astype(np.int64) << np.arange(width)).sum(axis=1)
        else:
            value = int.from_bytes(reader.bytes(size), "little")
            part = np.full(min(run >> 1, left), value, np.int64)
        if len(part) == 0:
            raise NotPlain
        parts.append(part[:left])
        left -= len(parts[-1])
    return np.concatenate([np.empty(0, np.int64), *parts])


class _Compact:
    """Reads Thrift's compact protocol; IndexError at the end of the data."""

    def __init__(self, data: bytes) -> None:
        self._data, self.at = data, 0

    def bytes(self, n: int) -> bytes:
        if n < 0 or self.at + n > len(self._data):
            raise IndexError
        self.at += n
        return self._data[self.at - n : self.at]

    def varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._data[self.at]
            self.at += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7
            if shift > 63:
                raise ValueError

    def struct(self, depth: int = 0) -> dict[int, Any]:
        """Return the fields of a struct, by their numbers."""
        if depth > 8:
            raise ValueError
        fields: dict[int, Any] = {}
        number = 0
        while True:
            byte = self._data[self.at]
            self.at += 1
            if byte == 0:
                return fields
            number = number + (byte >> 4) if byte >> 4 else _unzigzag(self.varint())
            fields[number] = self._value(byte & 15, depth)

    def _value(self, kind: int, depth: int) -> Any:
        if kind in (1, 2):
            return kind == 1
        if kind == 3:
            return self.bytes(1)[0]
        if kind in (4, 5, 6):
            return _unzigzag(self.varint())
        if kind == 7:
            return self.bytes(8)
        if kind == 8:
            return self.bytes(self.varint())
        if kind == 12:
            return self.struct(depth + 1)
        raise ValueError  # headers of pages have no other types


def _unzigzag(value: int) -> int:
    return (value >> 1) ^ -(value & 1)
