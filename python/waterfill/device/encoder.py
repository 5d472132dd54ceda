"""Encoding on a device: the same bytes as `_core.Codec.encode`."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from waterfill import _core
from waterfill.device.backend import Device, Memory, blocks, f32, u32, upload
from waterfill.device.cell_assignment import CellAssignment
from waterfill.device.rotation import Rotation

CHUNK_ROWS = 1 << 16
"""Rows that are encoded together: enough to fill a device, and little scratch memory."""

_THREADS = 256
_NEAREST_THREADS = 128  # each with two rows, and many registers
_PARTS = 16  # lanes that share a row in `quantize`
_WARP = 32


class _Books:
    """The codebooks of all groups, and the order in which groups can be encoded.

    A group with the second byte of a dimension waits for that with the first.
    """

    def __init__(self, device: Device, tables: dict[str, Any]) -> None:
        offsets, widths, words, norms = zip(*tables["books"], strict=True)
        self.count = len(offsets)
        self.starts = np.cumsum([0, *(len(w) // 2 for w in words)]).astype(np.uint32)
        self.offsets = upload(device, np.array(offsets, np.uint32))
        self.widths = upload(device, np.array(widths, np.uint32))
        self.pairs = upload(device, (np.array(widths, np.uint32) + 1) // 2)
        self.first_words = upload(device, self.starts[:-1])
        self.words = upload(device, np.concatenate(words))
        self.half_norms = upload(device, np.concatenate(norms))
        ends = np.array(offsets) + np.array(widths)
        group_of = {
            column: int(np.searchsorted(ends, column, "right")) for column in range(ends[-1])
        }
        wave = [0] * self.count
        self.seconds: dict[int, list[tuple[int, int, int, float]]] = {}
        for first, column, factor in tables["seconds"]:  # by ascending first column
            source, target = group_of[first], group_of[column]
            wave[target] = max(wave[target], wave[source] + 1)
            self.seconds.setdefault(wave[source], []).append((source, first, column, factor))
        self.waves = [
            np.array([g for g in range(self.count) if wave[g] == w], np.uint32)
            for w in range(max(wave) + 1)
        ]
        self.wave_groups = [upload(device, groups) for groups in self.waves]


class Status(NamedTuple):
    """What encoding found.

    Attributes
    ----------
    first_bad : int
        The number of the first row with a NaN or an infinity, or the number of rows. Codes of such
        rows have no meaning.
    near, far : int
        Rows with the lowest and with the highest scale byte.
    """

    first_bad: int
    near: int
    far: int


class DeviceEncoder:
    """A codec on a device; its methods may be given other streams of the same device.

    Parameters
    ----------
    device : Device
    codec : _core.Codec
    """

    def __init__(self, device: Device, codec: _core.Codec) -> None:
        tables = _core.encoding_tables(codec)
        self._code_size, self._d = codec.code_size, codec.d
        self._normalize = bool(tables["normalize"])
        self._rotation = Rotation(device, tables["rotation"])
        self._uses_int8 = bool(tables["uses_int8"])
        self._mean = upload(device, tables["mean"])
        self._books = _Books(device, tables)
        self._scales = upload(device, tables["scales"])
        self._alpha = int(tables["alpha"])
        self._scale_values = upload(device, tables["scale"]["values"])
        self._thresholds = upload(device, tables["scale"]["thresholds"])
        self._squared_cells = upload(device, tables["squared_cells"])
        self._cell_bytes = int(tables["cell_bytes"])
        self._centers = self._mean
        self._cells: CellAssignment | None = None
        if tables["assignment"] is not None:
            self._cells = CellAssignment(device, tables["assignment"], self._mean, codec.d)
            self._centers = upload(device, tables["centroids"])
        self._joint: tuple[Memory, ...] | None = None
        if tables["joint"] is not None:
            names = ("factors", "lengths", "weighted")
            books = codec.arrays["books"]
            self._joint = (
                upload(device, books),
                *(upload(device, tables["joint"][name]) for name in names),
            )

        device.synchronize()

    @property
    def code_size(self) -> int:
        """Bytes per code."""
        return self._code_size

    @property
    def d(self) -> int:
        """Dimensions of the rows."""
        return self._d

    def encode(
        self, device: Device, rows: Memory, n: int, codes: Memory, *, normalize: bool = False
    ) -> Status:
        """Encode rows in the memory of a device, and wait for the codes; see `start`."""
        status = self.start(device, rows, n, codes, normalize=normalize)
        return Status(*map(int, device.read(status, np.uint32, 3)))

    def start(
        self, device: Device, rows: Memory, n: int, codes: Memory, *, normalize: bool = False
    ) -> Memory:
        """Start to encode rows in the memory of a device.

        Parameters
        ----------
        device : Device
        rows : Memory
            float32 (n, d).
        n : int
            At least 1.
        codes : Memory
            Receives uint8 (n, code_size).
        normalize : bool
            Divide rows by their norms first, as an index of metric ``cosine`` does.

        Returns
        -------
        Memory
            Receives the `Status`, three uint32.
        """
        status = upload(device, np.array([n, 0, 0], np.uint32))
        # Twice if both do, as on the CPU: the norm of a normalized row is not quite 1.
        for _ in range(int(normalize) + int(self._normalize)):
            normal = device.allocate(n * self._d * 4)
            device.launch(
                "normalize_rows", (blocks(n, _THREADS), 1), _THREADS, rows, u32(n), u32(self._d),
                normal,
            )  # fmt: skip
            rows = normal
        cells = None if self._cells is None else self._cells.assign(device, rows, n)
        y, rho = self._rotate(device, rows, n, cells)
        self._choose_bytes(device, y, n, codes)
        device.launch(
            "finish_codes", (blocks(n, _THREADS), 1), _THREADS, rows, u32(n), u32(self._d), rho,
            u32(self._books.count), self._squared_cells, u32(self._alpha), self._thresholds,
            cells, u32(self._cell_bytes), codes, u32(self._code_size), status,
        )  # fmt: skip
        return status

    def _rotate(
        self, device: Device, rows: Memory, n: int, cells: Memory | None
    ) -> tuple[Memory, Memory]:
        """Return the coordinates of directions, int16, and the distances from the centers."""
        width = self._rotation.width
        rho = device.allocate(n * 4)
        bytes7 = device.allocate(n * width) if self._uses_int8 else None
        units = device.allocate(n * 4) if self._uses_int8 else None
        words16 = None if self._uses_int8 else device.allocate(n * width * 2)
        rounds = self._alpha == 0
        device.launch(
            "quantize_directions", (blocks(n * _PARTS, _THREADS), 1), _THREADS, rows, u32(n),
            u32(self._d), self._centers, cells, self._scale_values if rounds else None,
            self._thresholds if rounds else None, u32(width), bytes7, units, words16, rho,
        )  # fmt: skip
        y = device.allocate((n * self._rotation.stride + 1) * 2)  # a group of odd width reads on
        quantized = bytes7 if words16 is None else words16
        assert quantized is not None
        self._rotation.multiply(device, quantized, units, n, y)
        return y, rho

    def _choose_bytes(self, device: Device, y: Memory, n: int, codes: Memory) -> None:
        books = self._books
        stride, size = u32(self._rotation.stride), u32(self._code_size)
        for wave, groups in enumerate(books.waves):
            device.launch(
                "nearest_centroids", (blocks(n, 2 * _NEAREST_THREADS), len(groups)),
                _NEAREST_THREADS, y, u32(n), stride, books.wave_groups[wave], books.offsets,
                books.pairs, books.first_words, books.words, books.half_norms, codes, size,
            )  # fmt: skip
            for source, first, column, factor in books.seconds.get(wave, ()):
                device.launch(
                    "second_coordinates", (blocks(n, _THREADS), 1), _THREADS, y, u32(n), stride,
                    u32(first), u32(column), books.words, u32(int(books.starts[source])),
                    f32(factor), codes, size, u32(source),
                )  # fmt: skip
        if self._joint is not None:
            own_books, factors, lengths, weighted = self._joint
            device.launch(
                "encode_jointly", (blocks(n * _WARP, _THREADS), 1), _THREADS, y, u32(n), stride,
                u32(books.count), books.offsets, books.widths, self._scales, factors, own_books,
                lengths, weighted, codes, size,
            )  # fmt: skip
