"""Opening files of vectors: `open_vectors`, and the formats by file extension."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from waterfill._util.input_file import open_input
from waterfill.data.block_source import ConcatenatedSource, FileSource, NoRowsError
from waterfill.data.formats.hdf5 import Hdf5Source
from waterfill.data.formats.mapped import BIN_DTYPES, read_bin, read_npy, read_npz, read_vecs
from waterfill.data.formats.parquet import ArrowSource, ParquetSource
from waterfill.data.rows import as_source

_LOG = logging.getLogger("waterfill.data")

Vectors = NDArray[Any] | FileSource

# Names of HDF5 datasets in the layout of ann-benchmarks, in order of preference.
BASE_DATASETS = ("train",)
QUERY_DATASETS = ("test", "queries", "query")

_Opener = Callable[[Path, str | None, tuple[str, ...]], Vectors]


def _bin_opener(dtype: str) -> _Opener:
    return lambda path, key, datasets: read_bin(path, dtype, _crop(path))


_FORMATS: dict[str, _Opener] = {
    "npy": lambda path, key, datasets: read_npy(path),
    "npz": lambda path, key, datasets: read_npz(path, key),
    "fvecs": lambda path, key, datasets: read_vecs(path, "<f4"),
    "ivecs": lambda path, key, datasets: read_vecs(path, "<i4"),
    "bvecs": lambda path, key, datasets: read_vecs(path, "u1"),
    **{name: _bin_opener(dtype) for name, dtype in BIN_DTYPES.items()},
    "h5": Hdf5Source,
    "hdf5": Hdf5Source,
    "parquet": lambda path, key, datasets: ParquetSource(path, key),
    "arrow": lambda path, key, datasets: ArrowSource(path, key),
    "feather": lambda path, key, datasets: ArrowSource(path, key),
}
_KEYED = ("npz", "h5", "hdf5", "parquet", "arrow", "feather")

FORMATS = tuple(_FORMATS)
"""Names of the formats, which are also the extensions of their files."""

# Formats that are known and not read, with the way out.
_REFUSED = {
    "bbin": "a .bbin file holds packed bits; its bytes as numbers: format='u8bin'",
    **{
        name: "it is compressed; decompress it first"
        for name in ("gz", "bz2", "xz", "zst", "lz4", "zip", "tar", "tgz")
    },
}


def _crop(path: Path) -> int | None:
    """Return the number of rows in a name such as base.1B.fbin.crop_nb_10000000."""
    found = re.search(r"\.crop_nb_(\d{1,18})$", path.name)
    return int(found[1]) if found else None


def format_of(path: Path, name: str | None) -> str:
    """Return the format of a file: the one named, or by the last extension that is known."""
    expected = ", ".join(FORMATS)
    if name is not None:
        if not isinstance(name, str):
            raise TypeError(f"format must be a str, got {type(name).__name__}")
        chosen = name.lower().removeprefix(".")
        if chosen not in _FORMATS:
            reason = _REFUSED.get(chosen) or f"expected one of {expected}"
            raise ValueError(f"format={name!r} is not readable: {reason}")
        return chosen
    suffixes = [suffix[1:].lower() for suffix in path.suffixes]
    for suffix in reversed(suffixes):  # base.1B.fbin.crop_nb_10000000 is an fbin
        if suffix in _REFUSED:
            raise ValueError(f"{path}: {_REFUSED[suffix]}")
        if suffix in _FORMATS:
            return suffix
    raise ValueError(
        f"{path}: unknown extension {path.suffix!r}; expected one of {expected}; or name the "
        "format: format="
    )


def open_vectors(
    path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    key: str | None = None,
    format: str | None = None,
) -> Vectors:
    """Open one or more files of vectors, which may be larger than memory.

    Every function that takes vectors accepts the result: ``wf.analyze(wf.open_vectors(path))``.
    Rows are read on demand, a block at a time.

    Parameters
    ----------
    path : str, path-like, or a sequence of them
        The last extension that is known selects the format: ``.npy``; ``.npz``; ``.fvecs``,
        ``.bvecs``, ``.ivecs``; ``.fbin``, ``.u8bin``, ``.i8bin``, ``.ibin``, ``.f16bin`` (or
        ``.hbin``), ``.dbin``; ``.h5``, ``.hdf5`` (``pip install ".[hdf5]"``); ``.parquet``,
        ``.arrow``, ``.feather`` (``".[parquet]"``). ``base.1B.fbin.crop_nb_1000`` is an
        fbin, with the 1,000 rows that are there. Several files are concatenated; those
        without rows are skipped, which the logger ``waterfill.data`` says at level INFO.
    key : str, optional
        Array of an ``.npz``, dataset of an HDF5 file, or column of a table (``column.field`` for a
        field of a struct). By default the dataset ``train`` of HDF5, otherwise the only array of
        shape (n, d) or the only column of equal-length lists of numbers.
    format : str, optional
        The format, such as ``"fbin"``, whatever the extension.

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
        If the extension, the format or the key is unknown, if a key is needed and missing, if the
        vectors do not have shape (n, d), or if several files differ in d or have no rows at all.
    ImportError
        If the format needs a package that is not installed.
    OSError
        If the file cannot be opened, or is a pipe, a device or another special file.
    """
    if isinstance(path, str | os.PathLike):
        return open_file(path, key, BASE_DATASETS, format)
    opened, skipped = open_files(list(path), key, format)
    for each in skipped:
        _LOG.info("%s has no rows, and is skipped", each)
    if len(opened) == 1:
        return opened[0][1]
    sources = [as_source(vectors) for _, vectors in opened]
    return ConcatenatedSource(sources, [name for name, _ in opened])


def open_files(
    paths: Sequence[str | os.PathLike[str]], key: str | None, format: str | None
) -> tuple[list[tuple[str, Vectors]], list[str]]:
    """Open the files of one collection, of which some may have no rows.

    Returns
    -------
    opened : list of (str, Vectors)
        Names and vectors of the files, in order. A single one may be empty.
    skipped : list of str
        Names of files without rows.

    Raises
    ------
    ValueError
        If there are no files, none of several has rows, or they differ in the number of dimensions.
    """
    if not paths:
        raise ValueError("path is an empty sequence; at least 1 file is needed")
    if len(paths) == 1:
        return [(os.fspath(paths[0]), open_file(paths[0], key, BASE_DATASETS, format))], []
    opened: list[tuple[str, Vectors]] = []
    skipped: list[str] = []
    widths: dict[int, str] = {}  # the first file of each
    for path in paths:
        name = os.fspath(path)
        try:
            vectors = open_file(path, key, BASE_DATASETS, format)
        except NoRowsError:
            skipped.append(name)
            continue
        n, d = vectors.shape
        if n == 0:
            skipped.append(name)
        else:
            opened.append((name, vectors))
        if d:
            widths.setdefault(d, name)
    if not opened:
        raise ValueError(
            f"{skipped[0]} and {len(skipped) - 1} more: expected at least 1 row, got 0"
        )
    if len(widths) > 1:
        (d, name), (other, other_name) = list(widths.items())[:2]
        raise ValueError(
            f"{other_name} has {other} dimensions, but {name} has {d}; files that are opened "
            "together must agree"
        )
    return opened, skipped


def open_file(
    path: str | os.PathLike[str],
    key: str | None,
    datasets: tuple[str, ...],
    format: str | None = None,
) -> Vectors:
    """Open one file; without a key, an HDF5 file's first dataset among `datasets`."""
    file = Path(path)
    chosen = format_of(file, format)
    if key is not None and chosen not in _KEYED:
        raise ValueError(f"{file}: a .{chosen} file has one unnamed array; leave out key={key!r}")
    with open_input(file):  # a missing file raises FileNotFoundError, whatever the format
        pass
    return _FORMATS[chosen](file, key, datasets)
