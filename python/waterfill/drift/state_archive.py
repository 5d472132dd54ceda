"""Reading the archive of a monitor: no array is unpacked before its size is known to be right."""

from __future__ import annotations

import io
import math
import zipfile
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

MAGIC = b"PK\x03\x04"
_MAX_MEMBERS = 64
_MAX_BYTES = 32 << 20  # of a member whose size is not known, or
_MAX_RATIO = 8  # times the size of the archive: codecs hardly compress
_MAX_HEADER = 10_000  # characters


class StateArchive:
    """The members of an .npz archive.

    Sizes in the table of contents are not trusted: they only bound what is read of a member.

    Parameters
    ----------
    data : bytes

    Raises
    ------
    ValueError, zipfile.BadZipFile
        If `data` is no archive, or has too many members.
    """

    def __init__(self, data: bytes) -> None:
        if not data.startswith(MAGIC):  # zipfile skips what is before the archive
            raise ValueError("expected a zip archive")
        self._file = zipfile.ZipFile(io.BytesIO(data))
        members = self._file.infolist()
        if len(members) > _MAX_MEMBERS:
            raise ValueError(f"expected at most {_MAX_MEMBERS} arrays, got {len(members)}")
        self._members = {member.filename: member for member in members}
        if len(self._members) < len(members):
            raise ValueError("an array is there twice")
        self._unread = set(self._members)
        self._max_bytes = max(_MAX_BYTES, _MAX_RATIO * len(data))

    def __contains__(self, name: str) -> bool:
        return f"{name}.npy" in self._members

    def layout(self, name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
        """Return shape and dtype of an array, without reading its values."""
        with self._open(name) as file:
            return _header(file)

    def array(self, name: str, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """Return an array; ValueError unless it has this shape and dtype."""
        self._unread.discard(f"{name}.npy")
        with self._open(name) as file:
            actual = _header(file)
            if actual != (shape, np.dtype(dtype)):
                raise ValueError(
                    f"{name}: expected shape {shape} and dtype {np.dtype(dtype)}, got {actual[0]} "
                    f"and {actual[1]}"
                )
            expected = math.prod(shape) * np.dtype(dtype).itemsize
            values = file.read(expected + 1)  # the end is read, too, which checks the checksum
        if len(values) != expected:
            raise ValueError(f"{name}: expected {expected} bytes of values, got {len(values)}")
        return np.frombuffer(values, dtype).reshape(shape).copy()

    def text(self, name: str) -> bytes:
        """Return an array of bytes, of bounded size."""
        shape, _ = self.layout(name)
        if len(shape) != 1 or shape[0] > self._max_bytes:
            raise ValueError(
                f"{name}: expected shape (n,) with n up to {self._max_bytes}, got {shape}"
            )
        return self.array(name, shape, np.uint8).tobytes()

    def require_all_read(self) -> None:
        """Raise ValueError if the archive has arrays that a monitor does not."""
        if self._unread:
            raise ValueError(f"unknown array {min(self._unread)}")

    def _open(self, name: str) -> BinaryIO:
        return cast(BinaryIO, self._file.open(self._members[f"{name}.npy"]))


def _header(file: BinaryIO) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Read the header of an array in NumPy's format, as `numpy.savez` writes it."""
    version = np.lib.format.read_magic(file)
    if version != (1, 0):
        raise ValueError(f"expected NumPy's format 1.0, got {version}")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(file, _MAX_HEADER)
    if fortran and len(shape) > 1:
        raise ValueError("expected an array in row-major order")
    return shape, dtype
