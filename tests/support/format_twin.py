"""The second reader of files: cpp/format.ksy, compiled, and what FORMAT.md says beyond layout."""

from __future__ import annotations

from typing import Any

import numpy as np
from support.waterfill_format import WaterfillFormat

Kind = WaterfillFormat.Kind


def _crc_table() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


_TABLE = _crc_table()


def crc32c(data: bytes) -> int:
    """Return the checksum, computed as FORMAT.md defines it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _TABLE[(crc ^ byte) & 255]
    return crc ^ 0xFFFFFFFF


def read_container(data: bytes) -> Any:
    """Return the container of a file after checking that nothing of it is left unread."""
    container = WaterfillFormat.from_bytes(data).container
    assert container.header_crc == crc32c(data[:60])
    assert container.table_crc == crc32c(data[64 : container.end_of_table])
    end = container.end_of_table
    for section in container.sections:
        assert section.end_before == end <= section.offset
        assert not any(section.padding)
        assert section.crc == crc32c(section.bytes), section.tag
        assert section.flags == 0
        section.body._fetch_instances()
        assert section.body._io.is_eof(), f"bytes of {section.tag} are left"
        end = section.end
    assert end == len(data) == container.len_file
    return container


def bodies_of(container: Any) -> dict[str, Any]:
    """Return the decoded sections by tag."""
    bodies = {section.tag: section.body for section in container.sections}
    assert len(bodies) == container.num_sections
    return bodies


def read_log(data: bytes) -> Any:
    """Return a write-ahead log after checking its checksums and that nothing is left unread."""
    twin = WaterfillFormat.from_bytes(data)
    assert twin.log.header_crc == crc32c(data[:60])
    at = 64
    for number, record in enumerate(twin.log.records if len(data) > 64 else [], 1):
        assert record.start == at
        if record.is_torn:
            at = len(data)
            break
        assert record.sequence == number
        assert record.header_crc == crc32c(data[at : at + 28])
        contents = data[at + 32 : at + 32 + record.len_contents]
        assert record.contents_crc == crc32c(contents)
        at += 32 + record.len_contents + 4
    assert at == len(data)
    return twin.log


def matrix(body: Any, dtype: str = "f4") -> np.ndarray:
    """Return a section of rows of numbers."""
    return np.array([row.values for row in body.rows], dtype=dtype)


def lists_of(bodies: dict[str, Any], lists: int) -> list[np.ndarray]:
    """Return the numbers of the vectors of each list, by section LISTOF."""
    n = bodies["INDEX"].num_vectors
    assert len(bodies["SCALE"].values) == n
    if "LISTOF" not in bodies:
        return [np.arange(n)]
    numbers = np.array(bodies["LISTOF"].values, dtype=int)
    assert numbers.shape == (n,)
    return [np.flatnonzero(numbers == i) for i in range(lists)]


def codes_of(bodies: dict[str, Any], lists: list[np.ndarray], groups: int) -> np.ndarray:
    """Return bytes of groups and scales in the order of insertion; padding must be zero."""
    n, even = bodies["INDEX"].num_vectors, groups + groups % 2
    blocks = np.frombuffer(b"".join(bodies["HIGH"].blocks), np.uint8).reshape(-1, even, 16)
    # Vectors of a block: j in low halves, j + 16 in high halves.
    high = np.concatenate([blocks & 15, blocks >> 4], axis=2).transpose(0, 2, 1)
    low = np.frombuffer(b"".join(bodies["LOW"].rows), np.uint8).reshape(n, even // 2)
    scale = np.frombuffer(bodies["SCALE"].values, np.uint8)
    nibbles = np.stack([low & 15, low >> 4], axis=2).reshape(n, even)
    codes = np.empty((n, even + 1), np.uint8)
    block = row = 0
    for numbers in lists:
        size = len(numbers)
        used = -(-size // 32)
        own = high[block : block + used].reshape(-1, even)
        assert not own[size:].any()
        codes[numbers, :even] = own[:size] << 4 | nibbles[row : row + size]
        codes[numbers, even] = scale[row : row + size]
        block, row = block + used, row + size
    assert (block, row) == (len(blocks), n)
    assert not codes[:, groups:even].any()
    return np.delete(codes, np.arange(groups, even), axis=1)


def rows_of(bodies: dict[str, Any]) -> np.ndarray:
    """Return the refine rows as float32."""
    kind = bodies["REFINE"].kind.name
    rows = bodies["ROWS"].rows
    if kind == "float32":
        return matrix(bodies["ROWS"])
    if kind == "float16":
        return matrix(bodies["ROWS"], "u2").view(np.float16).astype("f4")
    middle, step = np.array([(row.middle, row.step) for row in rows], "f4").reshape(-1, 2).T
    return middle[:, None] + step[:, None] * matrix(bodies["ROWS"])
