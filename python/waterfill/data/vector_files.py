"""Files of vectors, opened so that blocks of them can be read."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from waterfill.data.block_source import FileSource, Joined
from waterfill.data.formats.hdf5 import Hdf5Source
from waterfill.data.formats.mapped import read_bin, read_npy, read_npz, read_vecs
from waterfill.data.formats.parquet import ArrowSource, ParquetSource
from waterfill.data.rows import as_source

Vectors = NDArray[Any] | FileSource

# The names that ann-benchmarks gives to what is stored and to what is asked.
STORED = ("train",)
ASKED = ("test", "queries", "query")

_Opener = Callable[[Path, str | None, tuple[str, ...]], Vectors]
_FORMATS: dict[str, _Opener] = {
    ".npy": lambda path, key, usual: read_npy(path),
    ".npz": lambda path, key, usual: read_npz(path, key),
    ".fvecs": lambda path, key, usual: read_vecs(path, "<f4"),
    ".ivecs": lambda path, key, usual: read_vecs(path, "<i4"),
    ".bvecs": lambda path, key, usual: read_vecs(path, "u1"),
    ".fbin": lambda path, key, usual: read_bin(path, "<f4"),
    ".u8bin": lambda path, key, usual: read_bin(path, "u1"),
    ".i8bin": lambda path, key, usual: read_bin(path, "i1"),
    ".h5": Hdf5Source,
    ".hdf5": Hdf5Source,
    ".parquet": lambda path, key, usual: ParquetSource(path, key),
    ".arrow": lambda path, key, usual: ArrowSource(path, key),
    ".feather": lambda path, key, usual: ArrowSource(path, key),
}
_KEYED = (".npz", ".h5", ".hdf5", ".parquet", ".arrow", ".feather")


def open_vectors(
    path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], *, key: str | None = None
) -> Vectors:
    """Open a file of vectors, larger than memory if need be.

    What is returned goes wherever waterfill takes vectors: ``wf.analyze(wf.open_vectors(path))``.
    Rows are read a block at a time when they are asked for.

    Parameters
    ----------
    path : str, path-like, or a sequence of them
        The ending names the format: ``.npy``; ``.npz``; ``.fvecs``, ``.bvecs``, ``.ivecs``;
        ``.fbin``, ``.u8bin``, ``.i8bin``; ``.h5``, ``.hdf5`` (``pip install "waterfill[hdf5]"``);
        ``.parquet``, ``.arrow``, ``.feather`` (``"waterfill[parquet]"``). Of several files the rows
        of each follow those of the one before.
    key : str, optional
        Array of an ``.npz``, dataset of an HDF5 file, or column of a table. By default the dataset
        ``train`` of HDF5, and otherwise the only one that holds vectors: an array of shape (n, d),
        a column of lists of numbers, all as long.

    Returns
    -------
    numpy.memmap or FileSource, shape (n, d)
        A read-only memory map, where the format allows it; a compressed array of an ``.npz`` in
        memory. Of HDF5, Parquet and Arrow a `waterfill.data.FileSource`, which has ``shape`` and
        ``dtype``, and whose slices are arrays.

    Raises
    ------
    FormatError
        If the file is damaged, or not of the format that its name says.
    ValueError
        For an unknown ending, a key that is not there, or none where one is needed; for vectors
        that are not of shape (n, d), or of another number of dimensions in another file.
    ImportError
        If the format needs a package that is not installed; it says which.
    OSError
        If the file cannot be opened.
    """
    if isinstance(path, str | os.PathLike):
        return open_file(path, key, STORED)
    opened = [open_file(each, key, STORED) for each in path]
    if not opened:
        raise ValueError("path is an empty sequence; at least 1 file is needed")
    if len(opened) == 1:
        return opened[0]
    return Joined([as_source(each) for each in opened], [os.fspath(each) for each in path])


def open_file(path: str | os.PathLike[str], key: str | None, usual: tuple[str, ...]) -> Vectors:
    """Open one file; of an HDF5 file the first of the usual datasets that it has."""
    where = Path(path)
    suffix = where.suffix.lower()
    if suffix not in _FORMATS:
        raise ValueError(
            f"{where}: ending {suffix!r} is not known; wanted is one of {', '.join(_FORMATS)}"
        )
    if key is not None and suffix not in _KEYED:
        raise ValueError(
            f"{where}: a {suffix} file has one array and no names; leave out key={key!r}"
        )
    with open(where, "rb"):  # so that a file that is not there gets Python's own error
        pass
    vectors = _FORMATS[suffix](where, key, usual)
    if vectors.ndim != 2 or vectors.dtype.kind not in "fiub":
        raise ValueError(
            f"{where}: shape {vectors.shape} of {vectors.dtype}, wanted are real numbers of shape "
            "(n, d)"
        )
    return vectors
