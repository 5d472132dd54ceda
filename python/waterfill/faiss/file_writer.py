"""FAISS's file format, as far as exported indexes need it: what `faiss.write_index` would write.

Every object opens with a code of four letters, then its fields follow, little-endian and without
gaps; a vector is its number of elements (64 bits) and the elements.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

INNER_PRODUCT = 0
L2 = 1
_DUMMY = 1 << 20  # FAISS writes it twice into every header
_FLOAT16 = 4  # QT_fp16 of ScalarQuantizer


class Writer:
    """Writes FAISS objects to a file, one after the other."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file

    def pack(self, layout: str, *values: Any) -> None:
        """Write numbers, as `struct` has them."""
        self.file.write(struct.pack("<" + layout, *values))

    def code(self, letters: str) -> None:
        """Write the four letters that name a type."""
        self.file.write(letters.encode("ascii"))

    def vector(self, values: NDArray[Any], dtype: str) -> None:
        """Write a vector: its length and its elements."""
        flat = np.ascontiguousarray(values, dtype=dtype).reshape(-1)
        self.pack("Q", len(flat))
        self.file.write(flat.data)

    def header(self, letters: str, d: int, n: int, metric: int) -> None:
        """Open an index: its type, dimensions, number of vectors, metric."""
        self.code(letters)
        self.pack("iqqqBi", d, n, _DUMMY, _DUMMY, 1, metric)

    def normalization(self, d: int) -> None:
        """Write a NormalizationTransform to Euclidean norm 1."""
        self.code("VNrm")
        self.pack("f", 2.0)
        self.pack("iiB", d, d, 1)

    def remap(self, d: int, slots: Sequence[int] | NDArray[np.int64]) -> None:
        """Write a RemapDimensionsTransform; slot j takes dimension slots[j], 0 where that is -1."""
        self.code("RmDT")
        self.vector(np.asarray(slots), "<i4")
        self.pack("iiB", d, len(slots), 1)

    def linear(self, matrix: NDArray[Any], bias: NDArray[Any]) -> None:
        """Write the LinearTransform ``matrix @ x + bias``."""
        self.code("LTra")
        self.pack("B", 1)
        self.vector(matrix, "<f4")
        self.vector(bias, "<f4")
        self.pack("iiB", matrix.shape[1], matrix.shape[0], 1)

    def product_quantizer(self, books: Floats) -> None:
        """Write a ProductQuantizer with the centroids `books`, (M, 256, width)."""
        groups, _, width = books.shape
        self.pack("QQQ", groups * width, groups, 8)
        self.vector(books, "<f4")

    def flat(self, rows: Floats) -> None:
        """Write an IndexFlatL2. Its rows count as bytes in fours."""
        self.header("IxF2", rows.shape[1], len(rows), L2)
        self.vector(rows, "<f4")

    def rows(self, blocks: Iterable[NDArray[Any]], d: int, n: int, metric: int, dtype: str) -> None:
        """Write an IndexFlat of rows (float32), or an IndexScalarQuantizer (float16)."""
        if dtype == "<f4":
            self.header("IxF2" if metric == L2 else "IxFI", d, n, metric)
            self.pack("Q", n * d)
        else:
            self.header("IxSQ", d, n, metric)
            self.pack("iifQQQ", _FLOAT16, 0, 0.0, d, 2 * d, 0)  # no ranges
            self.pack("Q", n * 2 * d)
        for block in blocks:
            self.file.write(np.ascontiguousarray(block, dtype=dtype).data)

    def list_sizes(self, sizes: NDArray[np.int64], code_size: int) -> None:
        """Open ArrayInvertedLists; codes and ids (int64) of one list after the other follow."""
        self.code("ilar")
        self.pack("QQ", len(sizes), code_size)
        used = np.flatnonzero(sizes)
        if len(used) > len(sizes) // 2:
            self.code("full")
            self.vector(sizes, "<u8")
        else:
            self.code("sprs")
            self.vector(np.stack([used, sizes[used]], axis=1), "<u8")
