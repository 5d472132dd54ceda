"""Formats that are read through a memory map: .npy, .npz, .fvecs, .fbin and their kin."""

from __future__ import annotations

import io
import os
import tokenize
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from waterfill._core import FormatError
from waterfill.data.block_source import NoRowsError, raising_format_errors

if TYPE_CHECKING:
    import zipfile

REAL = "fiub"
"""Kinds of NumPy dtypes that are real numbers."""

Available = tuple[tuple[int, ...], np.dtype[Any] | None]
"""Shape and dtype of an array in a file; no dtype where it was not read."""

_MAX_DIMENSIONS = 1 << 20
_CHECKED_ROWS = 64  # evenly spaced, the first and the last included
_ZIP_HEADER_BYTES = 30  # of a member's local header, before its name
_HEADER_ERRORS = (ValueError, SyntaxError, TypeError, tokenize.TokenError, EOFError, OverflowError)


@dataclass(frozen=True)
class Header:
    """The header of an array in NumPy's format.

    Attributes
    ----------
    shape : tuple of int
    fortran : bool
        Whether the values are in column-major order.
    dtype : numpy.dtype
    size : int
        Bytes of the header: the offset of the values.
    """

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]
    size: int


def read_npy(path: Path) -> NDArray[Any]:
    """Map a .npy file."""
    with open(path, "rb") as file:
        header = _npy_header(file, str(path))
    require_matrix(str(path), header.dtype, header.shape)
    return _map_npy(path, header, 0, str(path))


def read_npz(path: Path, key: str | None) -> NDArray[Any]:
    """Map an array of a .npz archive, or read it into memory if it is compressed."""
    import zipfile  # slow to import: it loads all compression modules

    errors = raising_format_errors(str(path), "a NumPy archive", zipfile.BadZipFile)
    with errors, zipfile.ZipFile(path) as archive:
        members = {
            info.filename.removesuffix(".npy"): info
            for info in archive.infolist()
            if info.filename.endswith(".npy")
        }
        headers = {}
        for name, info in members.items():
            if key in (None, name):  # another member may be of objects, or damaged
                with archive.open(info) as file:
                    headers[name] = _npy_header(cast(BinaryIO, file), f"{path}, array {name}")
        key = choose_array(path, _available(members, headers), key, ())
        require_matrix(f"{path}, array {key}", headers[key].dtype, headers[key].shape)
        name, info = f"{path}, array {key}", members[key]
        if info.compress_type == zipfile.ZIP_STORED:
            return _map_npy(path, headers[key], _member_offset(path, info), name)
        with archive.open(info) as file:
            return _read_npy_stream(file, name)


def read_vecs(path: Path, dtype: str) -> NDArray[Any]:
    """Map .fvecs, .bvecs or .ivecs: each row is an int32, its dimensions, and then its values."""
    size = os.path.getsize(path)
    item = np.dtype(dtype).itemsize
    if size == 0:
        raise NoRowsError(f"{path}: the file is empty")
    d = int.from_bytes(_read_start(path, 4), "little", signed=True)
    if size < 4 or not 1 <= d <= _MAX_DIMENSIONS:
        raise FormatError(
            f"{path}: expected the number of dimensions (1 to {_MAX_DIMENSIONS}) at the start, "
            f"got {d}"
        )
    row = 4 + d * item
    if size % row:
        raise FormatError(
            f"{path}: expected a multiple of {row} bytes, a row of {d} dimensions, got {size}"
        )
    values = np.memmap(path, dtype=np.uint8, mode="r", shape=(size // row, row))
    checked = np.unique(np.linspace(0, len(values) - 1, _CHECKED_ROWS).astype(np.int64))
    for number in checked:
        row_d = int.from_bytes(values[number, :4].tobytes(), "little", signed=True)
        if row_d != d:
            raise FormatError(f"{path}: row {number}: expected {d} dimensions, got {row_d}")
    return values[:, 4:].view(dtype)


def read_bin(path: Path, dtype: str, crop: int | None = None) -> NDArray[Any]:
    """Map .fbin and its kin: rows and dimensions as uint32, and then the values.

    Parameters
    ----------
    path : path
    dtype : str
    crop : int, optional
        The rows that a crop has, by its name. Its header may be that of the whole file.
    """
    size = os.path.getsize(path)
    if size < 8:
        raise FormatError(f"{path}: expected a header of 8 bytes, got {size}")
    n, d = np.frombuffer(_read_start(path, 8), dtype="<u4").tolist()
    item = np.dtype(dtype).itemsize
    if crop is not None and crop < n and size == 8 + crop * d * item:
        n = crop
    expected = 8 + n * d * item
    if size != expected:
        raise FormatError(
            f"{path}: expected {expected} bytes for {n} rows of {d} dimensions, as in the header, "
            f"got {size}{_other_reading(size - 8, n, d, item)}"
        )
    return _map(path, dtype, (n, d), 8)


def _other_reading(size: int, n: int, d: int, item: int) -> str:
    """Return what values of another size or number than in the header can be, as a hint."""
    values = n * d
    if values and size == 2 * 4 * values and item == 4:
        return "; ids followed by distances are a ground truth, no vectors; or format='dbin'"
    names = [name for name, dtype in BIN_DTYPES.items() if _size(dtype) * values == size]
    if names:
        return f"; the size is that of format={names[0]!r}"
    row = d * item
    if size >= values * item or not row:
        return ""
    rows = size // row
    crop = f", or is a crop whose name lacks .crop_nb_{rows}" if size == rows * row else ""
    return f", which is {rows} rows; the file is truncated{crop}"


def _size(dtype: str) -> int:
    return int(np.dtype(dtype).itemsize)


BIN_DTYPES = {
    "fbin": "<f4",
    "u8bin": "u1",
    "i8bin": "i1",
    "ibin": "<i4",
    "f16bin": "<f2",
    "hbin": "<f2",
    "dbin": "<f8",
}
"""Types of the values after the header of a .fbin and its kin (big-ann-benchmarks, USearch)."""


def require_matrix(name: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    """Raise ValueError unless an array holds real numbers of shape (n, d)."""
    if len(shape) == 2 and dtype.kind in REAL:
        return
    hint = "; objects are not unpickled" if dtype.hasobject else ""
    kind = NoRowsError if shape[:1] == (0,) else ValueError
    raise kind(f"{name}: expected real numbers of shape (n, d), got {dtype} of shape {shape}{hint}")


def _available(members: dict[str, Any], headers: dict[str, Header]) -> dict[str, Available]:
    return {
        name: (headers[name].shape, headers[name].dtype) if name in headers else ((), None)
        for name in members
    }


def choose_array(
    path: Path, arrays: dict[str, Available], key: str | None, preferred: tuple[str, ...]
) -> str:
    """Return the name of the array to read: `key`, the first preferred one, or the only matrix.

    Parameters
    ----------
    path : path
    arrays : dict
        Shape and dtype of each array.
    key : str, optional
    preferred : tuple of str
    """
    available = ", ".join(_listed(name, *array) for name, array in arrays.items()) or "none"
    if key is not None:
        if key not in arrays:
            raise ValueError(f"{path}: no array {key!r}; available: {available}")
        return key
    for name in preferred:
        if name in arrays:
            return name
    matrices = [
        name
        for name, (shape, dtype) in arrays.items()
        if len(shape) == 2 and dtype is not None and dtype.kind in REAL
    ]
    if len(matrices) != 1:
        empty = arrays and all(shape[:1] == (0,) for shape, _ in arrays.values())
        kind = NoRowsError if empty else ValueError
        raise kind(
            f"{path}: expected one array of shape (n, d), got {len(matrices)}; choose one by key; "
            f"available: {available}"
        )
    return matrices[0]


def _listed(name: str, shape: tuple[int, ...], dtype: np.dtype[Any] | None) -> str:
    if dtype is None:
        return name
    return f"{name} {shape}" if dtype.kind in REAL else f"{name} {shape} of {dtype}"


def _npy_header(file: BinaryIO, name: str) -> Header:
    try:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            fields = np.lib.format.read_array_header_1_0(file)
        elif version == (2, 0):
            fields = np.lib.format.read_array_header_2_0(file)
        elif version == (3, 0):
            fields = _header_3_0(file)
        else:
            raise ValueError(f"unknown version {version}")
    except _HEADER_ERRORS as error:
        reason = str(error).partition("\n")[0]
        raise FormatError(f"{name}: not an array in NumPy's format: {reason}") from None
    shape, fortran, dtype = fields
    if min(shape, default=0) < 0:
        raise FormatError(f"{name}: expected real numbers, got {dtype} of shape {shape}")
    return Header(shape, fortran, dtype, file.tell())


def _header_3_0(file: BinaryIO) -> Any:
    """Read a header of version 3.0, which is one of 2.0 in UTF-8."""
    start = file.read(4)
    text = file.read(int.from_bytes(start, "little"))
    latin = text.decode("utf-8").encode("latin-1", "backslashreplace")
    return np.lib.format.read_array_header_2_0(io.BytesIO(len(latin).to_bytes(4, "little") + latin))


def _read_npy_stream(file: Any, name: str) -> NDArray[Any]:
    try:
        return np.asarray(np.lib.format.read_array(file, allow_pickle=False))
    except ValueError as error:
        raise FormatError(f"{name}: not an array in NumPy's format: {error}") from None


def _map_npy(path: Path, header: Header, offset: int, name: str) -> NDArray[Any]:
    offset += header.size
    available = os.path.getsize(path) - offset
    expected = int(np.prod(header.shape, dtype=object)) * header.dtype.itemsize
    if available < expected:
        raise FormatError(
            f"{name}: expected {expected} bytes of values for {header.dtype} of shape "
            f"{header.shape}, got {max(0, available)}; the file is truncated"
        )
    return _map(path, header.dtype, header.shape, offset, "F" if header.fortran else "C")


def _map(
    path: Path, dtype: Any, shape: tuple[int, ...], offset: int, order: Any = "C"
) -> NDArray[Any]:
    if 0 in shape:  # an empty file cannot be mapped
        return np.empty(shape, dtype=dtype)
    return np.memmap(path, dtype=dtype, mode="r", offset=offset, shape=shape, order=order)


def _member_offset(path: Path, info: zipfile.ZipInfo) -> int:
    """Return the offset of the content of an uncompressed member."""
    with open(path, "rb") as file:
        file.seek(info.header_offset)
        header = file.read(_ZIP_HEADER_BYTES)
    lengths = np.frombuffer(header[26:30], dtype="<u2")
    return info.header_offset + _ZIP_HEADER_BYTES + int(lengths.sum())


def _read_start(path: Path, n: int) -> bytes:
    with open(path, "rb") as file:
        return file.read(n)
