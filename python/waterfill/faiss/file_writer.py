"""Writer of FAISS's file format, for the types of an exported index.

An object is a four-letter code followed by its fields, little-endian and unpadded. A vector is its
length (64 bits) followed by its elements. The bytes equal those of `faiss.write_index`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

INNER_PRODUCT = 0
L2 = 1
_DUMMY = 1 << 20  # unused; FAISS writes it twice into every header
_FLOAT16 = 4  # ScalarQuantizer::QT_fp16


class Writer:
    """Write FAISS objects to a file in sequence."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file

    def pack(self, layout: str, *values: Any) -> None:
        """Write numbers in a `struct` format, little-endian."""
        self.file.write(struct.pack("<" + layout, *values))

    def code(self, letters: str) -> None:
        """Write the four-letter code of a type."""
        self.file.write(letters.encode("ascii"))

    def vector(self, values: NDArray[Any], dtype: str) -> None:
        """Write a vector: its length, then its elements."""
        flat = np.ascontiguousarray(values, dtype=dtype).reshape(-1)
        self.pack("Q", len(flat))
        self.file.write(flat.data)

    def header(self, letters: str, d: int, n: int, metric: int) -> None:
        """Write the header of an index: type, dimensions, number of vectors, metric."""
        self.code(letters)
        self.pack("iqqqBi", d, n, _DUMMY, _DUMMY, 1, metric)

    def normalization(self, d: int) -> None:
        """Write a NormalizationTransform for Euclidean norm 1."""
        self.code("VNrm")
        self.pack("f", 2.0)
        self.pack("iiB", d, d, 1)

    def linear(self, matrix: NDArray[Any], bias: NDArray[Any]) -> None:
        """Write the linear transform ``matrix @ x + bias``, as a PCAMatrix that is not trained.

        It computes what a LinearTransform does, and FAISS's `reverse_index_factory` has a name for
        it.
        """
        self.code("Pcam")
        self.pack("ffBi", 0, 0, 0, 0)  # eigen_power, epsilon, random_rotation, balanced_bins
        for _ in range(3):  # mean, eigenvalues, PCAMat: only training uses them
            self.vector(np.zeros(0), "<f4")
        self.pack("B", 1)
        self.vector(matrix, "<f4")
        self.vector(bias, "<f4")
        self.pack("iiB", matrix.shape[1], matrix.shape[0], 1)

    def product_quantizer(self, books: Floats) -> None:
        """Write a ProductQuantizer with centroids `books`, float32 (M, 256, width)."""
        groups, _, width = books.shape
        self.pack("QQQ", groups * width, groups, 8)
        self.vector(books, "<f4")

    def flat(self, rows: Floats, metric: int) -> None:
        """Write an IndexFlatL2 or IndexFlatIP. FAISS counts its codes in units of four bytes."""
        self.header("IxF2" if metric == L2 else "IxFI", rows.shape[1], len(rows), metric)
        self.vector(rows, "<f4")

    def rows(self, blocks: Iterable[NDArray[Any]], d: int, n: int, metric: int, dtype: str) -> None:
        """Write rows as an IndexFlat (float32) or an IndexScalarQuantizer (float16)."""
        if dtype == "<f4":
            self.header("IxF2" if metric == L2 else "IxFI", d, n, metric)
            self.pack("Q", n * d)
        else:
            self.header("IxSQ", d, n, metric)
            self.pack("iifQQQ", _FLOAT16, 0, 0.0, d, 2 * d, 0)  # QT_fp16 needs no trained ranges
            self.pack("Q", n * 2 * d)
        for block in blocks:
            self.file.write(np.ascontiguousarray(block, dtype=dtype).data)

    def list_sizes(self, sizes: NDArray[np.int64], code_size: int) -> None:
        """Write the header of ArrayInvertedLists; each list's codes and int64 ids follow."""
        self.code("ilar")
        self.pack("QQ", len(sizes), code_size)
        nonempty = np.flatnonzero(sizes)
        if len(nonempty) > len(sizes) // 2:
            self.code("full")
            self.vector(sizes, "<u8")
        else:
            self.code("sprs")
            self.vector(np.stack([nonempty, sizes[nonempty]], axis=1), "<u8")
