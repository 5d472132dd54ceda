"""Encoding of rows in host memory: the next rows are copied while those before are encoded."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from waterfill.device.backend import Device, Memory
from waterfill.device.encoder import DeviceEncoder, Status

_LANES = 3  # one is filled by the CPU, one copied, one encoded
_COPY_THREADS = 4  # one copies from memory to memory more slowly than the bus does
_LEAST_SHARE = 1 << 20  # bytes for each of them


class _Lane:
    """A stream with memory for some rows, on the device and page-locked on the host."""

    def __init__(self, device: Device, rows: int, d: int, code_size: int) -> None:
        self.device = device.fork()
        self.rows = self.device.allocate(rows * d * 4)
        self.codes = self.device.allocate(rows * code_size)
        self.staged_rows = self.device.staging(rows * d * 4).view(np.float32)
        self.staged_codes = self.device.staging(rows * code_size)
        self.staged_status = self.device.staging(12).view(np.uint32)
        self._status: Memory | None = None  # kept until the work is done
        self._first = 0
        self._codes = np.empty((0, code_size), np.uint8)  # where they go

    def start(
        self, encoder: DeviceEncoder, first: int, codes: NDArray[np.uint8], normalize: bool
    ) -> None:
        """Start to encode the staged rows, as many as there is room for codes."""
        n = len(codes)
        self._first, self._codes = first, codes
        self.device.write(self.rows, self.staged_rows[: n * encoder.d])
        self._status = encoder.start(self.device, self.rows, n, self.codes, normalize=normalize)
        self.device.start_read(self.codes, self.staged_codes[: codes.size])
        self.device.start_read(self._status, self.staged_status)

    def finish(self) -> int | None:
        """Wait for the codes; return the number of the first row that is not finite, if any."""
        self.device.synchronize()
        self._status = None
        status = Status(*map(int, self.staged_status))
        if status.first_bad < len(self._codes):
            return self._first + status.first_bad
        self._codes[:] = self.staged_codes[: self._codes.size].reshape(self._codes.shape)
        return None


class RowPipeline:
    """Encodes blocks of rows in host memory.

    Parameters
    ----------
    device : Device
    encoder : DeviceEncoder
    capacity : int
        Rows of a block at most.

    Attributes
    ----------
    capacity : int
    """

    def __init__(self, device: Device, encoder: DeviceEncoder, capacity: int) -> None:
        self._encoder, self.capacity = encoder, capacity
        self._lanes = [_Lane(device, capacity, encoder.d, encoder.code_size) for _ in range(_LANES)]

    def encode(
        self,
        blocks: Iterable[tuple[int, NDArray[np.float32]]],
        codes: NDArray[np.uint8],
        *,
        normalize: bool = False,
    ) -> int | None:
        """Encode blocks, each with the number of its first row, in order.

        Returns
        -------
        int or None
            The number of the first row with a NaN or an infinity, if there is one. Then the codes
            have no meaning.
        """
        idle, busy = deque(self._lanes), deque[_Lane]()
        bad: int | None = None
        try:
            with ThreadPoolExecutor(_COPY_THREADS) as pool:
                for first, block in blocks:
                    if not idle:
                        bad = busy[0].finish()
                        idle.append(busy.popleft())
                    if bad is not None:
                        return bad
                    if len(block):
                        lane = idle.popleft()
                        busy.append(lane)
                        _copy(block, lane.staged_rows, pool)
                        lane.start(
                            self._encoder, first, codes[first : first + len(block)], normalize
                        )
            while busy and bad is None:
                bad = busy[0].finish()
                busy.popleft()
            return bad
        finally:
            for lane in busy:  # after an error: nothing writes to the codes any more
                lane.device.synchronize()


def _copy(block: NDArray[np.float32], to: NDArray[np.float32], pool: ThreadPoolExecutor) -> None:
    """Copy rows with several threads."""
    values = np.ascontiguousarray(block).reshape(-1)
    shares = max(1, min(_COPY_THREADS, values.nbytes // _LEAST_SHARE))
    limits = [len(values) * i // shares for i in range(shares + 1)]
    copies = [
        pool.submit(np.copyto, to[low:high], values[low:high]) for low, high in pairwise(limits)
    ]
    for copy in copies:
        copy.result()
