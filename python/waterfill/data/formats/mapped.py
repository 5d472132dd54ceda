"""Formats that hold rows as memory would: read through a memory map, whatever their size."""

from __future__ import annotations

import os
import tokenize
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from waterfill._core import FormatError
from waterfill.data.block_source import naming

_MOST_DIMENSIONS = 1 << 20
_LOOKED_AT = 64  # rows whose number of dimensions is compared, the first and the last among them
_ZIP_HEADER = 30  # bytes of a member's own header, before its name
_HEADER_ERRORS = (ValueError, SyntaxError, TypeError, tokenize.TokenError, EOFError, OverflowError)


@dataclass(frozen=True)
class Header:
    """What the header of an array in NumPy's format says.

    Attributes
    ----------
    shape : tuple of int
    fortran : bool
        Whether columns lie together.
    dtype : numpy.dtype
    size : int
        Of the header: where numbers begin.
    """

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]
    size: int


def read_npy(path: Path) -> NDArray[Any]:
    """Map a file of NumPy's format."""
    with open(path, "rb") as file:
        header = _npy_header(file, str(path))
    return _map_npy(path, header, 0, str(path))


def read_npz(path: Path, key: str | None) -> NDArray[Any]:
    """Map an array of NumPy's archive, or read it into memory if it is compressed."""
    with naming(str(path), "an archive of NumPy"), zipfile.ZipFile(path) as archive:
        members = {
            info.filename.removesuffix(".npy"): info
            for info in archive.infolist()
            if info.filename.endswith(".npy")
        }
        headers = {}
        for name, info in members.items():
            with archive.open(info) as file:
                headers[name] = _npy_header(cast(BinaryIO, file), f"{path}, array {name}")
        shapes = {name: header.shape for name, header in headers.items()}
        chosen = choose_array(path, shapes, key, ())
        name, info = f"{path}, array {chosen}", members[chosen]
        if info.compress_type == zipfile.ZIP_STORED:
            return _map_npy(path, headers[chosen], _member_at(path, info), name)
        with archive.open(info) as file:
            return _read_npy_stream(file, name)


def read_vecs(path: Path, dtype: str) -> NDArray[Any]:
    """Map .fvecs, .bvecs or .ivecs: each row its number of dimensions (int32), then the values."""
    size = os.path.getsize(path)
    item = np.dtype(dtype).itemsize
    if size == 0:
        raise FormatError(f"{path}: the file is empty; wanted are rows of a number d and d values")
    d = int.from_bytes(_start(path, 4), "little", signed=True)
    if size < 4 or not 1 <= d <= _MOST_DIMENSIONS:
        raise FormatError(f"{path}: begins with {d}, wanted is the number of dimensions of a row")
    row = 4 + d * item
    if size % row:
        raise FormatError(
            f"{path}: {size} bytes, wanted is a multiple of the {row} of a row with {d} dimensions"
        )
    values = np.memmap(path, dtype=np.uint8, mode="r", shape=(size // row, row))
    looked_at = np.unique(np.linspace(0, len(values) - 1, _LOOKED_AT).astype(np.int64))
    for number in looked_at:
        found = int.from_bytes(values[number, :4].tobytes(), "little", signed=True)
        if found != d:
            raise FormatError(f"{path}: row {number} has {found} dimensions, wanted are {d}")
    return values[:, 4:].view(dtype)


def read_bin(path: Path, dtype: str) -> NDArray[Any]:
    """Map .fbin, .u8bin or .i8bin: numbers of rows and of dimensions (uint32), then the values."""
    size = os.path.getsize(path)
    if size < 8:
        raise FormatError(f"{path}: {size} bytes, wanted are 8 of a header and the values")
    n, d = np.frombuffer(_start(path, 8), dtype="<u4").tolist()
    wanted = 8 + n * d * np.dtype(dtype).itemsize
    if size != wanted:
        raise FormatError(
            f"{path}: {size} bytes, wanted are {wanted} for {n} rows of {d} dimensions, as the "
            "header says"
        )
    return _map(path, dtype, (n, d), 8)


def choose_array(
    path: Path, shapes: dict[str, tuple[int, ...]], key: str | None, usual: tuple[str, ...]
) -> str:
    """Return the name of the array to read: what was asked for, a usual one, or the only matrix."""
    listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items()) or "none"
    if key is not None:
        if key not in shapes:
            raise ValueError(f"{path}: has no array {key!r}; there are: {listed}")
        return key
    for name in usual:
        if name in shapes:
            return name
    matrices = [name for name, shape in shapes.items() if len(shape) == 2]
    if len(matrices) != 1:
        raise ValueError(
            f"{path}: {len(matrices)} arrays of shape (n, d), wanted is 1, or a key that names "
            f"one; there are: {listed}"
        )
    return matrices[0]


def _npy_header(file: BinaryIO, name: str) -> Header:
    try:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            found = np.lib.format.read_array_header_1_0(file)
        elif version == (2, 0):
            found = np.lib.format.read_array_header_2_0(file)
        else:
            raise ValueError(f"version {version} is not known")
    except _HEADER_ERRORS as error:
        reason = str(error).partition("\n")[0]
        raise FormatError(f"{name}: not an array in NumPy's format: {reason}") from None
    shape, fortran, dtype = found
    if dtype.hasobject or min(shape, default=0) < 0:
        raise FormatError(f"{name}: holds {dtype} of shape {shape}, wanted are real numbers")
    return Header(shape, fortran, dtype, file.tell())


def _read_npy_stream(file: Any, name: str) -> NDArray[Any]:
    try:
        return np.asarray(np.lib.format.read_array(file, allow_pickle=False))
    except ValueError as error:
        raise FormatError(f"{name}: not an array in NumPy's format: {error}") from None


def _map_npy(path: Path, header: Header, offset: int, name: str) -> NDArray[Any]:
    offset += header.size
    there = os.path.getsize(path) - offset
    wanted = int(np.prod(header.shape, dtype=object)) * header.dtype.itemsize
    if there < wanted:
        raise FormatError(
            f"{name}: {max(0, there)} bytes of values, wanted are {wanted} for shape "
            f"{header.shape} of {header.dtype}; the file is cut off"
        )
    return _map(path, header.dtype, header.shape, offset, "F" if header.fortran else "C")


def _map(
    path: Path, dtype: Any, shape: tuple[int, ...], offset: int, order: Any = "C"
) -> NDArray[Any]:
    if 0 in shape:  # nothing can be mapped
        return np.empty(shape, dtype=dtype)
    return np.memmap(path, dtype=dtype, mode="r", offset=offset, shape=shape, order=order)


def _member_at(path: Path, info: zipfile.ZipInfo) -> int:
    """Return where the bytes of an archive's member begin."""
    with open(path, "rb") as file:
        file.seek(info.header_offset)
        header = file.read(_ZIP_HEADER)
    lengths = np.frombuffer(header[26:30], dtype="<u2")
    return info.header_offset + _ZIP_HEADER + int(lengths.sum())


def _start(path: Path, n: int) -> bytes:
    with open(path, "rb") as file:
        return file.read(n)
