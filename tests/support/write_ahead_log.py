"""The write-ahead log as FORMAT.md describes it, to put logs together with any fault."""

from __future__ import annotations

import struct

import numpy as np

from waterfill import _core

HEADER, RECORD = "<8sHHIIIQ16s12sI", "<IIQQII"
HEADER_BYTES, RECORD_BYTES, SECTOR = 64, 32, 512
MAGIC, END_MARK = b"\x89WFA\r\n\x1a\n", b"END\n"
KINDS = {"append": 1, "upsert": 2, "remove": 3}
FINGERPRINT = bytes(range(200, 216))

Record = tuple[str, np.ndarray, np.ndarray | None, np.ndarray | None]


def with_checksum(data: bytes) -> bytes:
    """Replace the last four bytes by the checksum of those before."""
    return data[:-4] + struct.pack("<I", _core.crc32c(data[:-4]))


def header_bytes(
    *,
    magic: bytes = MAGIC,
    version: tuple[int, int] = (1, 0),
    code_size: int = 3,
    row_bytes: int = 5,
    reserved: int = 0,
    number: int = 12,
    padding: bytes = bytes(12),
) -> bytes:
    fields = (*version, code_size, row_bytes, reserved, number, FINGERPRINT, padding, 0)
    return with_checksum(struct.pack(HEADER, magic, *fields))


def record_bytes(
    kind: int, sequence: int, n: int, payload: bytes, *, size: int | None = None
) -> bytes:
    """A record with right checksums; `size`: what its header says instead of the payload's."""
    size = len(payload) if size is None else size
    fields = (kind, n, sequence, size, _core.crc32c(payload), 0)
    return with_checksum(struct.pack(RECORD, *fields)) + payload + END_MARK


def payload_of(record: Record) -> bytes:
    return b"".join(array.tobytes() for array in record[1:] if array is not None)


def assert_equal_records(got: list[Record], expected: list[Record]) -> None:
    assert [record[0] for record in got] == [record[0] for record in expected]
    for one, other in zip(got, expected, strict=True):
        for a, b in zip(one[1:], other[1:], strict=True):
            assert (a is None) == (b is None)
            if a is not None:
                assert a.dtype == b.dtype
                np.testing.assert_array_equal(a, b)
