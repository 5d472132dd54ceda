"""Opening files of vectors: `open_vectors`, and the formats by file extension."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from waterfill.data.block_source import ConcatenatedSource, FileSource
from waterfill.data.formats.hdf5 import Hdf5Source
from waterfill.data.formats.mapped import read_bin, read_npy, read_npz, read_vecs
from waterfill.data.formats.parquet import ArrowSource, ParquetSource
from waterfill.data.rows import as_source

Vectors = NDArray[Any] | FileSource

# Names of HDF5 datasets in the layout of ann-benchmarks, in order of preference.
BASE_DATASETS = ("train",)
QUERY_DATASETS = ("test", "queries", "query")

_Opener = Callable[[Path, str | None, tuple[str, ...]], Vectors]
_FORMATS: dict[str, _Opener] = {
    ".npy": lambda path, key, datasets: read_npy(path),
    ".npz": lambda path, key, datasets: read_npz(path, key),
    ".fvecs": lambda path, key, datasets: read_vecs(path, "<f4"),
    ".ivecs": lambda path, key, datasets: read_vecs(path, "<i4"),
    ".bvecs": lambda path, key, datasets: read_vecs(path, "u1"),
    ".fbin": lambda path, key, datasets: read_bin(path, "<f4"),
    ".u8bin": lambda path, key, datasets: read_bin(path, "u1"),
    ".i8bin": lambda path, key, datasets: read_bin(path, "i1"),
    ".h5": Hdf5Source,
    ".hdf5": Hdf5Source,
    ".parquet": lambda path, key, datasets: ParquetSource(path, key),
    ".arrow": lambda path, key, datasets: ArrowSource(path, key),
    ".feather": lambda path, key, datasets: ArrowSource(path, key),
}
_KEYED = (".npz", ".h5", ".hdf5", ".parquet", ".arrow", ".feather")


def open_vectors(
    path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], *, key: str | None = None
) -> Vectors:
    """Open one or more files of vectors, which may be larger than memory.

    Every function that takes vectors accepts the result: ``wf.analyze(wf.open_vectors(path))``.
    Rows are read on demand, a block at a time.

    Parameters
    ----------
    path : str, path-like, or a sequence of them
        The extension selects the format: ``.npy``; ``.npz``; ``.fvecs``, ``.bvecs``, ``.ivecs``;
        ``.fbin``, ``.u8bin``, ``.i8bin``; ``.h5``, ``.hdf5`` (``pip install "waterfill[hdf5]"``);
        ``.parquet``, ``.arrow``, ``.feather`` (``"waterfill[parquet]"``). Several files
        are concatenated.
    key : str, optional
        Array of an ``.npz``, dataset of an HDF5 file, or column of a table. By default the dataset
        ``train`` of HDF5, otherwise the only array of shape (n, d) or the only column of
        equal-length lists of numbers.

    Returns
    -------
    numpy.memmap or FileSource, shape (n, d)
        A read-only memory map where the format allows it, an array in memory for a compressed
        ``.npz``, and a `waterfill.data.FileSource` for HDF5, Parquet, Arrow and several files: it
        has ``shape`` and ``dtype``, and its slices are arrays.

    Raises
    ------
    FormatError
        If the file is damaged, or not of the format of its extension.
    ValueError
        If the extension or the key is unknown, if a key is needed and missing, if the vectors do
        not have shape (n, d), or if several files differ in d.
    ImportError
        If the format needs a package that is not installed.
    OSError
        If the file cannot be opened.
    """
    if isinstance(path, str | os.PathLike):
        return open_file(path, key, BASE_DATASETS)
    opened = [open_file(each, key, BASE_DATASETS) for each in path]
    if not opened:
        raise ValueError("path is an empty sequence; at least 1 file is needed")
    if len(opened) == 1:
        return opened[0]
    return ConcatenatedSource(
        [as_source(each) for each in opened], [os.fspath(each) for each in path]
    )


def open_file(path: str | os.PathLike[str], key: str | None, datasets: tuple[str, ...]) -> Vectors:
    """Open one file; without a key, an HDF5 file's first dataset among `datasets`."""
    file = Path(path)
    suffix = file.suffix.lower()
    if suffix not in _FORMATS:
        raise ValueError(
            f"{file}: unknown extension {suffix!r}; expected one of {', '.join(_FORMATS)}"
        )
    if key is not None and suffix not in _KEYED:
        raise ValueError(f"{file}: a {suffix} file has one unnamed array; leave out key={key!r}")
    with open(file, "rb"):  # a missing file raises FileNotFoundError, whatever the format
        pass
    vectors = _FORMATS[suffix](file, key, datasets)
    if vectors.ndim != 2 or vectors.dtype.kind not in "fiub":
        raise ValueError(
            f"{file}: expected real numbers of shape (n, d), got {vectors.dtype} of shape "
            f"{vectors.shape}"
        )
    return vectors
