"""The container of waterfill files, as FORMAT.md describes it, to take apart and put together."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from waterfill import _core

HEADER, ENTRY = "<8sHHIQII28sI", "<8sQQII"
HEADER_BYTES, ENTRY_BYTES, ALIGNMENT = 64, 32, 64
MAGIC = b"\x89WFL\r\n\x1a\n"


@dataclass
class Section:
    """A section: its tag with padding, contents and flags."""

    tag: bytes
    data: bytearray
    flags: int = 0


@dataclass
class Container:
    """A file as its kind, minor version and sections."""

    kind: int
    minor: int
    sections: list[Section] = field(default_factory=list)

    @classmethod
    def parse(cls, file: bytes) -> Container:
        """Take a valid file apart."""
        _, _, minor, kind, _, count, *_ = struct.unpack_from(HEADER, file)
        result = cls(kind, minor)
        for i in range(count):
            tag, at, size, _, flags = struct.unpack_from(
                ENTRY, file, HEADER_BYTES + i * ENTRY_BYTES
            )
            result.sections.append(Section(tag, bytearray(file[at : at + size]), flags))
        return result

    def __getitem__(self, tag: str) -> Section:
        return next(s for s in self.sections if s.tag.rstrip(b"\0").decode() == tag)

    def to_bytes(self) -> bytes:
        """Put the file together with right checksums."""
        result = bytearray(HEADER_BYTES + ENTRY_BYTES * len(self.sections))
        for i, section in enumerate(self.sections):
            result += bytes(-len(result) % ALIGNMENT)
            entry = (section.tag, len(result), len(section.data), 0, section.flags)
            struct.pack_into(ENTRY, result, HEADER_BYTES + i * ENTRY_BYTES, *entry)
            result += section.data
        head = (MAGIC, 1, self.minor, self.kind, len(result), len(self.sections), 0, bytes(28), 0)
        struct.pack_into(HEADER, result, 0, *head)
        return repaired(result)


def entry_at(file: bytes, tag: str) -> int:
    """Return the offset of a section's entry in the table."""
    count = struct.unpack_from(HEADER, file)[5]
    for at in range(HEADER_BYTES, HEADER_BYTES + ENTRY_BYTES * count, ENTRY_BYTES):
        if bytes(file[at : at + 8]).rstrip(b"\0") == tag.encode():
            return at
    raise KeyError(tag)


def repaired(file: bytes | bytearray) -> bytes:
    """Return a file with the checksums that its bytes have."""
    result = bytearray(file)
    count = struct.unpack_from(HEADER, result)[5]
    table = HEADER_BYTES + ENTRY_BYTES * count
    for at in range(HEADER_BYTES, table, ENTRY_BYTES):
        _, start, size, _, _ = struct.unpack_from(ENTRY, result, at)
        struct.pack_into("<I", result, at + 24, _core.crc32c(bytes(result[start : start + size])))
    struct.pack_into("<I", result, 28, _core.crc32c(bytes(result[HEADER_BYTES:table])))
    struct.pack_into("<I", result, 60, _core.crc32c(bytes(result[:60])))
    return bytes(result)
