"""The write-ahead log: what is written is read, a crash leaves a torn tail, damage is refused."""

from __future__ import annotations

import mmap
import struct
from itertools import accumulate
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.write_ahead_log import (
    END_MARK,
    FINGERPRINT,
    HEADER,
    HEADER_BYTES,
    KINDS,
    MAGIC,
    RECORD,
    RECORD_BYTES,
    SECTOR,
    Record,
    assert_equal_records,
    header_bytes,
    payload_of,
    record_bytes,
)

import waterfill as wf
from waterfill import _core

CODE_SIZE, ROW_BYTES, NUMBER = 3, 5, 12


def made(
    kind: str, n: int, rng: np.random.Generator, code_size: int = CODE_SIZE, row: int = ROW_BYTES
) -> Record:
    """Random contents, of which one byte in three is zero."""

    def some_bytes(width: int) -> np.ndarray:
        return rng.integers(0, 256, (n, width), np.uint8) * (rng.random((n, width)) < 2 / 3)

    ids = rng.integers(0, 2**62, n)
    if kind == "remove":
        return kind, ids, None, None
    return kind, ids, some_bytes(code_size), some_bytes(row) if row else None


def parts_of(
    records: list[Record], code_size: int = CODE_SIZE, row: int = ROW_BYTES
) -> list[bytes]:
    """The header of a log and its records."""
    return [
        _core.log_header(NUMBER, code_size, row, FINGERPRINT),
        *(
            _core.log_record(kind, i + 1, *rest).tobytes()
            for i, (kind, *rest) in enumerate(records)
        ),
    ]


def ends_of(parts: list[bytes]) -> list[int]:
    return list(accumulate(len(part) for part in parts))


@pytest.fixture(scope="module")
def records() -> list[Record]:
    """Records in several sectors; the last one fills two more than that it starts in."""
    rng = np.random.default_rng(3)
    sizes = [("append", 4), ("remove", 3), ("upsert", 0), ("upsert", 20), ("remove", 0)]
    return [made(kind, n, rng) for kind, n in [*sizes, ("append", 75)]]


@pytest.fixture(scope="module")
def parts(records: list[Record]) -> list[bytes]:
    return parts_of(records)


@pytest.fixture(scope="module")
def log(parts: list[bytes]) -> bytes:
    return b"".join(parts)


@given(
    st.lists(st.tuples(st.sampled_from(sorted(KINDS)), st.integers(0, 40)), max_size=8),
    st.integers(1, 9),
    st.integers(0, 9),
    st.integers(0, 2**32),
)
def test_reading_gives_what_was_written(sizes, code_size, row, seed):
    rng = np.random.default_rng(seed)
    records = [made(kind, n, rng, code_size, row) for kind, n in sizes]
    parts = parts_of(records, code_size, row)
    log, ends = b"".join(parts), ends_of(parts)
    assert _core.read_log_header(log) == (NUMBER, code_size, row, FINGERPRINT)
    got, end, sequence, torn = _core.read_log(log)
    assert_equal_records(got, records)
    assert (end, sequence, torn) == (len(log), len(records) + 1, False)
    for i, start in enumerate(ends):  # a reader can go on anywhere
        got, *rest = _core.read_log(log, start, i + 1)
        assert_equal_records(got, records[i:])
        assert rest == [len(log), len(records) + 1, False]


def test_the_log_is_what_the_format_page_says(records, log, parts):
    magic, *fields, crc = struct.unpack(HEADER, parts[0])
    assert magic == MAGIC == bytes([0x89, 0x57, 0x46, 0x41, 0x0D, 0x0A, 0x1A, 0x0A])
    assert fields == [1, 0, CODE_SIZE, ROW_BYTES, 0, NUMBER, FINGERPRINT, bytes(12)]
    assert crc == _core.crc32c(parts[0][:60])
    for i, (part, record) in enumerate(zip(parts[1:], records, strict=True)):
        payload = payload_of(record)
        assert part[RECORD_BYTES:] == payload + END_MARK
        kind, n, sequence, size, payload_crc, crc = struct.unpack_from(RECORD, part)
        assert (kind, n, sequence) == (KINDS[record[0]], len(record[1]), i + 1)
        assert (size, payload_crc) == (len(payload), _core.crc32c(payload))
        assert crc == _core.crc32c(part[:28])
        assert part == record_bytes(kind, i + 1, n, payload)
    assert parts[0] == header_bytes()


def test_a_memory_map_is_read_in_place(records, log, tmp_path):
    path = tmp_path / "log-000012.wfl"
    path.write_bytes(log)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        assert_equal_records(_core.read_log(data)[0], records)
        assert _core.read_log_header(memoryview(data))[0] == NUMBER


def test_every_truncation_gives_the_records_before_it(records, parts, log):
    ends = ends_of(parts)
    for size in range(len(log)):
        if size < HEADER_BYTES:
            with pytest.raises(wf.FormatError, match="fewer than a header"):
                _core.read_log(log[:size])
            continue
        complete = sum(end <= size for end in ends) - 1
        got, *rest = _core.read_log(log[:size])
        assert_equal_records(got, records[:complete])
        assert rest == [ends[complete], complete + 1, size not in ends]


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def test_every_flipped_bit_is_damage(log):
    for bit in range(8 * len(log)):
        with pytest.raises(wf.FormatError):
            _core.read_log(flipped(log, bit))


@pytest.mark.parametrize("behind", [1, 2, 4, 100], ids=lambda n: f"{n} bytes in the last sector")
def test_every_flipped_bit_is_damage_if_the_last_record_ends_in_zeros(behind):
    """The contents are zeros from one sector to their end, as if a crash had left them."""
    row = 2 * SECTOR + behind - HEADER_BYTES - RECORD_BYTES - 8 - CODE_SIZE - len(END_MARK)
    codes, rows = np.ones((1, CODE_SIZE), np.uint8), np.zeros((1, row), np.uint8)
    log = b"".join(parts_of([("append", np.array([7]), codes, rows)], CODE_SIZE, row))
    assert len(log) == 2 * SECTOR + behind
    assert not _core.read_log(log)[3]
    for bit in range(8 * len(log)):
        for zeros in (b"", bytes(700)):
            with pytest.raises(wf.FormatError):
                _core.read_log(flipped(log, bit) + zeros)


@pytest.mark.parametrize("zeros", [1, 31, 32, 33, 511, 512, 513, 5000])
def test_zeros_behind_the_last_record_are_a_torn_tail(records, log, zeros):
    got, *rest = _core.read_log(log + bytes(zeros))
    assert_equal_records(got, records)
    assert rest == [len(log), len(records) + 1, True]
    assert _core.read_log(log + bytes(zeros), len(log), len(records) + 1) == ([], *rest)


def test_sectors_that_were_not_written_are_a_torn_tail(records, parts, log):
    ends = ends_of(parts)
    for cut in range(HEADER_BYTES, len(log)):
        for extent in (len(log), len(log) + 1000):
            data = log[:cut] + bytes(extent - cut)
            complete = sum(end <= cut for end in ends) - 1
            zeros = max(ends[complete], len(data.rstrip(b"\0")))  # where they start
            if zeros == ends[complete] or -(-zeros // SECTOR) * SECTOR < extent:
                got, *rest = _core.read_log(data)
                assert_equal_records(got, records[:complete])
                assert rest == [ends[complete], complete + 1, True]
            else:
                with pytest.raises(wf.FormatError):
                    _core.read_log(data)


def test_records_before_zeros_are_checked(log, parts):
    """Zeros at the end of the file excuse the record that they are in, and no other."""
    for bit in range(8 * HEADER_BYTES, 8 * len(log), 7):
        with pytest.raises(wf.FormatError):
            _core.read_log(flipped(log, bit) + bytes(2 * SECTOR))
    start = ends_of(parts)[-2]
    hole = -(-start // SECTOR) * SECTOR
    with pytest.raises(wf.FormatError):  # written again behind it
        _core.read_log(log[:hole] + bytes(SECTOR) + log[hole + SECTOR :])


def with_record(kind: int, sequence: int, n: int, payload: bytes, size: int | None = None) -> bytes:
    return header_bytes() + record_bytes(kind, sequence, n, payload, size=size)


IDS = np.arange(2).tobytes()
FULL = IDS + bytes(2 * (CODE_SIZE + ROW_BYTES))
BAD_RECORDS = {
    "kind 0": (with_record(0, 1, 2, FULL), "unknown kind"),
    "kind 4": (with_record(4, 1, 2, IDS), "unknown kind"),
    "sequence 0": (with_record(1, 0, 2, FULL), "number 0, expected 1"),
    "sequence 2": (with_record(3, 2, 2, IDS), "number 2, expected 1"),
    "more vectors": (with_record(1, 1, 3, FULL), "32 bytes of contents, expected 48"),
    "fewer vectors": (with_record(1, 1, 0, FULL), "32 bytes of contents, expected 0"),
    "codes of a removal": (with_record(3, 1, 2, FULL), "32 bytes of contents, expected 16"),
    "no codes": (with_record(2, 1, 2, IDS), "16 bytes of contents, expected 32"),
    "largest size": (with_record(3, 1, 2, IDS, 2**64 - 1), "expected 16"),
    "size that wraps": (with_record(3, 1, 2, IDS, 2**64 - 16), "expected 16"),
    "most vectors": (with_record(1, 1, 2**32 - 1, FULL), f"expected {(2**32 - 1) * 16}"),
    "id -1": (with_record(1, 1, 2, np.array([3, -1]).tobytes() + FULL[16:]), "id of -1"),
    "no end mark": (with_record(3, 1, 2, IDS)[:-4] + b"IDS\n", "no end mark"),
    "checksum of contents": (with_record(3, 1, 2, IDS)[:-5] + b"\1END\n", "contents whose check"),
}


@pytest.mark.parametrize("name", BAD_RECORDS)
def test_records_with_right_checksums_are_refused_by_what_they_say(name):
    log, message = BAD_RECORDS[name]
    with pytest.raises(wf.FormatError, match=f"record at byte 64 of the log .*{message}"):
        _core.read_log(log)
    with pytest.raises(wf.FormatError, match=message):  # also with a sector that is not written
        _core.read_log(log + bytes(1000))


def test_a_record_that_is_larger_than_any_file_is_torn_and_takes_no_memory():
    n = 2**32 - 1
    size = n * (8 + 2**19)
    log = header_bytes(code_size=2, row_bytes=2**19 - 2) + record_bytes(1, 1, n, b"", size=size)
    assert _core.read_log(log) == ([], HEADER_BYTES, 1, True)


BAD_HEADERS = {
    "magic": (header_bytes(magic=b"\x89WFL\r\n\x1a\n"), "the first bytes differ"),
    "major": (header_bytes(version=(2, 0)), r"log version 2\.0 is not known"),
    "minor": (header_bytes(version=(1, 1)), r"log version 1\.1 is not known"),
    "no codes": (header_bytes(code_size=0), "code size"),
    "large codes": (header_bytes(code_size=2**18 + 4), "code size"),
    "large rows": (header_bytes(row_bytes=2**19 + 1), "refine rows"),
    "number": (header_bytes(number=0), "number 0"),
    "reserved": (header_bytes(reserved=1), "reserved byte"),
    "padding": (header_bytes(padding=bytes(11) + b"\1"), "reserved byte"),
    "checksum": (header_bytes()[:-1] + b"\0", "checksum of the log's header"),
    "empty": (b"", "0 bytes are fewer"),
}


@pytest.mark.parametrize("name", BAD_HEADERS)
def test_headers_that_are_refused(name):
    header, message = BAD_HEADERS[name]
    for read in (_core.read_log, _core.read_log_header):
        with pytest.raises(wf.FormatError, match=message):
            read(header)
    if len(header) == HEADER_BYTES:
        with pytest.raises(wf.FormatError, match=message):
            _core.read_log(header, HEADER_BYTES, 1)


def test_a_reader_that_goes_on_in_the_wrong_place_is_refused(log, parts):
    second = ends_of(parts)[1]
    with pytest.raises(wf.FormatError, match="number 2, expected 3"):
        _core.read_log(log, second, 3)
    with pytest.raises(wf.FormatError, match="checksum does not match"):
        _core.read_log(log, second + 1, 2)
    for offset in (1, HEADER_BYTES - 1, len(log) + 1, 2**64 - 1):
        with pytest.raises(wf.FormatError, match=f"no record can start at byte {offset}"):
            _core.read_log(log, offset, 1)
    with pytest.raises(ValueError, match="sequence must be 1"):
        _core.read_log(log, 0, 2)
    assert _core.read_log(log, len(log), 7) == ([], len(log), 7, False)


@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_are_refused_or_torn(tail, repair):
    """Behind a header, also as the contents of a record with right checksums."""
    data = header_bytes() + (record_bytes(1, 1, len(tail) // 16, tail) if repair else tail)
    try:
        got, end, sequence, _ = _core.read_log(data)
    except wf.FormatError:
        return
    assert sequence == len(got) + 1
    assert HEADER_BYTES <= end <= len(data)


def test_arguments_that_are_refused():
    ids, codes, rows = np.arange(2), np.zeros((2, 3), np.uint8), np.zeros((2, 5), np.uint8)
    for message, kind, *arguments in (
        ("kind: expected 'append', .* got 'add'", "add", 1, ids, codes),
        ("codes are missing", "append", 1, ids),
        ("must be None for removals", "remove", 1, ids, codes),
        ("must be None for removals", "remove", 1, ids, None, rows),
        ("codes: 1 rows for 2 ids", "upsert", 1, ids, codes[:1]),
        ("rows: 1 rows for 2 ids", "upsert", 1, ids, codes, rows[:1]),
        ("ids must not be -1", "remove", 1, np.array([4, -1])),
        ("sequence must be 1", "remove", 0, ids),
        ("at most 262147 and 524288 bytes", "append", 1, ids, np.zeros((2, 2**19), np.uint8)),
    ):
        with pytest.raises(ValueError, match=message):
            _core.log_record(kind, *arguments)
    for message, *arguments in (
        ("ids must be int64", ids.astype("i4"), codes),
        ("codes must be uint8", ids, codes.astype("i1")),
        ("rows must be uint8", ids, codes, rows[0]),
    ):
        with pytest.raises(TypeError, match=message):
            _core.log_record("append", 1, *arguments)
    with pytest.raises(ValueError, match="expected the first 16 bytes, got 32"):
        _core.log_header(1, 3, 0, bytes(32))
    with pytest.raises(ValueError, match="number 0"):
        _core.log_header(0, 3, 0, FINGERPRINT)
    with pytest.raises(TypeError, match="contiguous bytes"):
        _core.read_log(memoryview(bytes(200))[::2])


def test_the_golden_log():
    """Logs of this version stay readable, and the writer's bytes stay the same."""
    data = (Path(__file__).parents[1] / "golden/folder/1.5-log.wf").read_bytes()
    records, end, _, torn = _core.read_log(data)
    assert _core.read_log_header(data) == (7, 4, 12, FINGERPRINT)
    assert [(kind, len(ids)) for kind, ids, *_ in records] == [
        *(("append", 3), ("upsert", 2), ("remove", 4), ("append", 40))
    ]
    assert (end, torn) == (len(data), False)
    assert data == _core.log_header(7, 4, 12, FINGERPRINT) + b"".join(
        _core.log_record(kind, i + 1, *rest).tobytes() for i, (kind, *rest) in enumerate(records)
    )
