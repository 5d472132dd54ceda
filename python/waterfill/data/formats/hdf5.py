"""Datasets of HDF5 files, such as those of ann-benchmarks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from waterfill._util.optional import require
from waterfill.data.block_source import FileSource, RowNumbers, naming, take_by_runs
from waterfill.data.formats.mapped import choose_array

_NEAR = 64  # rows so far apart are read together
_CACHE = 1 << 20  # bytes: what HDF5 keeps of decompressed chunks by default
_MOST_CACHE = 256 << 20
_WHAT = "an HDF5 file"


class Hdf5Source(FileSource):
    """A dataset, read as slices."""

    def __init__(self, path: Path, key: str | None, usual: tuple[str, ...]) -> None:
        h5py = require("h5py", f"reading {path.name}", "hdf5")
        with naming(str(path), _WHAT):
            self._open(h5py, path, key, usual)

    def _open(self, h5py: Any, path: Path, key: str | None, usual: tuple[str, ...]) -> None:
        file = h5py.File(path, "r", rdcc_nbytes=_CACHE)
        chosen = choose_array(path, _shapes(h5py, file), key, usual)
        dataset = file[chosen]
        name = f"{path}, dataset {chosen}"
        if dataset.ndim != 2 or dataset.dtype.kind not in "fiu":
            raise ValueError(
                f"{name}: shape {dataset.shape} of {dataset.dtype}, wanted are real numbers of "
                "shape (n, d)"
            )
        self._near = _NEAR
        if dataset.chunks is not None:
            self._near = max(_NEAR, dataset.chunks[0])
            # A row of chunks that does not fit is decompressed for every block that touches it.
            row = dataset.chunks[0] * dataset.shape[1] * dataset.dtype.itemsize
            if 2 * row > _CACHE:
                file.close()
                file = h5py.File(path, "r", rdcc_nbytes=min(2 * row, _MOST_CACHE))
                dataset = file[chosen]
        self._file, self._dataset = file, dataset
        FileSource.__init__(self, name, dataset.shape, dataset.dtype)

    def read(self, first: int, n: int) -> NDArray[Any]:
        """Return the rows from `first` to ``first + n - 1``, shape (n, d)."""
        with naming(f"{self.name}, rows {first} to {first + n - 1}", "readable"):
            return np.asarray(self._dataset[first : first + n])

    def take(self, rows: RowNumbers) -> NDArray[Any]:
        """Return the rows with these ascending numbers, shape (len(rows), d)."""
        empty = np.empty((0, self.shape[1]), dtype=self.dtype)
        return np.concatenate([empty, *take_by_runs(self.read, rows, self._near)])


def _shapes(h5py: Any, file: Any) -> dict[str, tuple[int, ...]]:
    """Return the shapes of all datasets by name."""
    found: dict[str, tuple[int, ...]] = {}

    def visit(name: str, thing: Any) -> None:
        if isinstance(thing, h5py.Dataset) and thing.shape is not None:
            found[name] = thing.shape

    file.visititems(visit)
    return found
