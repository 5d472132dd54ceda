"""The codes of an index in the memory of a device, all of them or a piece at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from waterfill import _core
from waterfill.device.backend import Device, Memory, upload

BLOCK = 32
"""Vectors of a block."""

_STAGED_BYTES = 1 << 26  # of blocks that are copied together


@dataclass(frozen=True)
class Layout:
    """Bytes of a block of codes."""

    high: int
    low: int
    extra: bool

    @classmethod
    def of(cls, index: _core.Index) -> Layout:
        """Return the layout of the codes of an index."""
        padded = -(-index.codec.groups // 2) * 2
        return cls(padded * 16, padded // 2, index.keeps_extra)

    @property
    def block_bytes(self) -> int:
        """All that a device keeps of a block."""
        return self.high + BLOCK * (self.low + 1 + int(self.extra)) + 5


@dataclass(frozen=True)
class Piece:
    """Consecutive blocks in the memory of a device.

    Attributes
    ----------
    first, count : int
        The blocks.
    high, low, scale, extra : Memory
        Their nibbles and side bytes; `extra` is None if the index keeps no second byte.
    lists, sizes : Memory
        The list of each block, uint32, and its number of vectors, uint8.
    """

    first: int
    count: int
    high: Memory
    low: Memory
    scale: Memory
    extra: Memory | None
    lists: Memory
    sizes: Memory


class DeviceCodes:
    """The codes of one state of an index.

    Parameters
    ----------
    device : Device
    index : _core.Index
    memory : int
        Bytes that codes may take on the device. With less than all codes take, each search copies
        them to the device piece by piece.

    Raises
    ------
    MemoryError
        If not even a few blocks fit.
    """

    def __init__(self, device: Device, index: _core.Index, memory: int) -> None:
        self._device, self._index, self.layout = device, index, Layout.of(index)
        self.lists, self.slots, self.sizes = index.block_table()
        self.blocks = len(self.lists)
        # Of each list, the first block, and the end of the last list.
        cells = max(index.codec.cells, 1)
        self.list_starts = np.searchsorted(self.lists, np.arange(cells + 1)).astype(np.int64)
        room = memory // self.layout.block_bytes
        if room < min(self.blocks, 1):
            raise MemoryError(
                f"{device.name}: {memory:,} bytes are too few for a block of codes, of "
                f"{self.layout.block_bytes:,}; give the index more memory"
            )
        self.resident = room >= self.blocks
        self._piece_blocks = self.blocks if self.resident else room
        self._piece = self._allocate() if self.blocks else None
        if self.resident and self._piece is not None:
            self._fill(self._piece)

    @property
    def nbytes(self) -> int:
        """Bytes on the device."""
        return self._piece_blocks * self.layout.block_bytes

    def pieces(self) -> Iterator[Piece]:
        """Yield all blocks, in pieces that are valid until the next one."""
        if self._piece is None:
            return
        for first in range(0, self.blocks, self._piece_blocks):
            count = min(self._piece_blocks, self.blocks - first)
            piece = Piece(first, count, *(getattr(self._piece, name) for name in _MEMORY))
            if not self.resident:
                self._device.synchronize()  # kernels may still read the last piece
                self._fill(piece)
            yield piece

    def _allocate(self) -> Piece:
        device, layout, blocks = self._device, self.layout, self._piece_blocks
        return Piece(
            first=0,
            count=blocks,
            high=device.allocate(blocks * layout.high),
            low=device.allocate(blocks * BLOCK * layout.low),
            scale=device.allocate(blocks * BLOCK),
            extra=device.allocate(blocks * BLOCK) if layout.extra else None,
            lists=device.allocate(blocks * 4),
            sizes=device.allocate(blocks),
        )

    def _fill(self, piece: Piece) -> None:
        """Copy blocks from the index, a part after the other."""
        device, layout = self._device, self.layout
        step = max(1, min(piece.count, _STAGED_BYTES // layout.block_bytes))
        high = np.empty(step * layout.high, np.uint8)
        low = np.empty(step * BLOCK * layout.low, np.uint8)
        scale = np.empty(step * BLOCK, np.uint8)
        extra = np.empty(step * BLOCK if layout.extra else 0, np.uint8)
        for done in range(0, piece.count, step):
            n = min(step, piece.count - done)
            parts = (
                high[: n * layout.high],
                low[: n * BLOCK * layout.low],
                scale[: n * BLOCK],
                extra[: n * BLOCK],
            )
            self._index.copy_blocks(piece.first + done, n, *parts)
            device.write(piece.high, parts[0], done * layout.high)
            device.write(piece.low, parts[1], done * BLOCK * layout.low)
            device.write(piece.scale, parts[2], done * BLOCK)
            if piece.extra is not None:
                device.write(piece.extra, parts[3], done * BLOCK)
            device.synchronize()  # the arrays are used again
        end = piece.first + piece.count
        device.write(piece.lists, self.lists[piece.first : end])
        device.write(piece.sizes, self.sizes[piece.first : end])
        device.synchronize()

    def slots_of(self, positions: np.ndarray) -> np.ndarray:
        """Return the slots of vectors, given their positions: block * 32 + lane."""
        result: np.ndarray = self.slots[positions // BLOCK] + positions % BLOCK
        return result.astype(np.uint32)

    def masks_of(self, masks: np.ndarray, piece: Piece) -> Memory | None:
        """Return the masks of the blocks of a piece on the device; None for all vectors."""
        if not len(masks):
            return None
        return upload(self._device, masks[piece.first : piece.first + piece.count])


_MEMORY = ("high", "low", "scale", "extra", "lists", "sizes")
