"""Datasets of HDF5 files, such as those of ann-benchmarks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from waterfill._util.optional import require
from waterfill.data.block_source import (
    FileSource,
    RowNumbers,
    raising_format_errors,
    take_by_runs,
)
from waterfill.data.formats.mapped import Available, choose_array, require_matrix

_MIN_GAP = 64  # rows; nearer ones are read in one run
_CHUNK_CACHE_BYTES = 1 << 20  # HDF5's default
_MAX_CHUNK_CACHE_BYTES = 256 << 20


class Hdf5Source(FileSource):
    """A dataset, read in slices."""

    def __init__(self, path: Path, key: str | None, datasets: tuple[str, ...]) -> None:
        h5py = require("h5py", f"reading {path.name}", "hdf5")
        with raising_format_errors(str(path), "an HDF5 file"):
            self._open(h5py, path, key, datasets)

    def _open(self, h5py: Any, path: Path, key: str | None, datasets: tuple[str, ...]) -> None:
        file = h5py.File(path, "r", rdcc_nbytes=_CHUNK_CACHE_BYTES)
        key = choose_array(path, _arrays(h5py, file), key, datasets)
        dataset = file[key]
        name = f"{path}, dataset {key}"
        require_matrix(name, dataset.dtype, dataset.shape)
        self._gap = _MIN_GAP
        if dataset.chunks is not None:
            self._gap = max(_MIN_GAP, dataset.chunks[0])
            # A row of chunks that exceeds the cache is decompressed again for every block in it.
            chunk_row = dataset.chunks[0] * dataset.shape[1] * dataset.dtype.itemsize
            if 2 * chunk_row > _CHUNK_CACHE_BYTES:
                file.close()
                cache = min(2 * chunk_row, _MAX_CHUNK_CACHE_BYTES)
                file = h5py.File(path, "r", rdcc_nbytes=cache)
                dataset = file[key]
        self._file, self._dataset = file, dataset
        FileSource.__init__(self, name, dataset.shape, dataset.dtype)

    def read(self, first: int, n: int) -> NDArray[Any]:
        """Return the rows from `first` to ``first + n - 1``, shape (n, d)."""
        with raising_format_errors(f"{self.name}, rows {first} to {first + n - 1}", "readable"):
            return np.asarray(self._dataset[first : first + n])

    def take(self, rows: RowNumbers) -> NDArray[Any]:
        """Return the rows with these ascending numbers, shape (len(rows), d)."""
        empty = np.empty((0, self.shape[1]), dtype=self.dtype)
        return np.concatenate([empty, *take_by_runs(self.read, rows, self._gap)])


def _arrays(h5py: Any, file: Any) -> dict[str, Available]:
    """Return the shapes and dtypes of all datasets by name."""
    arrays: dict[str, Available] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.shape is not None:
            arrays[name] = item.shape, item.dtype

    file.visititems(visit)
    return arrays
