"""Encoding of rows in host memory: the next rows are copied while those before are encoded.

The caller's thread and those of the core copy rows to page-locked memory, which bounds all. A
second thread starts the work of the device and takes the codes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from waterfill import _core
from waterfill.device.backend import Device, Memory
from waterfill.device.encoder import CHUNK_ROWS, DeviceEncoder, Status

_LANES = 3  # one is filled by the CPU, one copied, one encoded
_LANE_BYTES = 1 << 26  # of rows: to launch kernels takes a small part of the time of their copy


class _Lane:
    """A stream with memory for some rows, on the device and page-locked on the host."""

    def __init__(self, device: Device, rows: int, d: int, code_size: int) -> None:
        self.device = device.fork()
        self.rows = self.device.allocate(rows * d * 4)
        self.codes = self.device.allocate(rows * code_size)
        self.staged_rows = self.device.staging(rows * d * 4).view(np.float32).reshape(rows, d)
        self.staged_codes = self.device.staging(rows * code_size)
        self.staged_status = self.device.staging(12).view(np.uint32)
        self._status: Memory | None = None  # kept until the work is done
        self._first = 0
        self._codes = np.empty((0, code_size), np.uint8)  # where they go

    def stage(self, rows: NDArray[np.float32]) -> None:
        """Copy contiguous rows to page-locked memory, with all threads."""
        staged = self.staged_rows[: len(rows)]
        _core.copy_bytes(rows.reshape(-1).view(np.uint8), staged.reshape(-1).view(np.uint8))

    def start(
        self, encoder: DeviceEncoder, first: int, codes: NDArray[np.uint8], normalize: bool
    ) -> None:
        """Start to encode the staged rows, as many as there is room for codes."""
        n = len(codes)
        self._first, self._codes = first, codes
        self.device.write(self.rows, self.staged_rows[:n])
        self._status = encoder.start(self.device, self.rows, n, self.codes, normalize=normalize)
        self.device.start_read(self.codes, self.staged_codes[: codes.size])
        self.device.start_read(self._status, self.staged_status)

    def finish(self, name: str) -> Status:
        """Wait for the codes; ValueError for a row that is not finite."""
        self.device.synchronize()
        self._status = None
        status = Status(*map(int, self.staged_status))
        if status.first_bad < len(self._codes):
            raise refused(self._first + status.first_bad, name)
        self._codes[:] = self.staged_codes[: self._codes.size].reshape(self._codes.shape)
        return status


class RowPipeline:
    """Encodes blocks of rows in host memory.

    Parameters
    ----------
    device : Device
    encoder : DeviceEncoder
    n : int
        Rows that a call encodes at most, or more.

    Attributes
    ----------
    capacity : int
        Rows of a block at most.
    """

    def __init__(self, device: Device, encoder: DeviceEncoder, n: int) -> None:
        self._encoder, self.capacity = encoder, self.capacity_for(n, encoder.d)
        self._lanes = [
            _Lane(device, self.capacity, encoder.d, encoder.code_size) for _ in range(_LANES)
        ]

    @staticmethod
    def capacity_for(n: int, d: int) -> int:
        """Return how many rows the blocks of n rows should have."""
        return max(1, min(n, CHUNK_ROWS, _LANE_BYTES // (4 * d)))

    def encode(
        self,
        blocks: Iterable[tuple[int, NDArray[np.float32]]],
        codes: NDArray[np.uint8],
        *,
        name: str = "x",
        normalize: bool = False,
    ) -> tuple[int, int]:
        """Encode blocks, each with the number of its first row, in order.

        Returns
        -------
        near, far : int
            How many rows have the lowest and the highest scale byte.

        Raises
        ------
        ValueError
            For a row with a NaN or an infinity, the first of them; `name` is that of the rows.
            Then the codes have no meaning.
        """
        near = far = 0

        def step(
            lane: _Lane, before: _Lane | None, first: int, part: NDArray[np.uint8]
        ) -> Status | None:
            lane.start(self._encoder, first, part, normalize)
            return None if before is None else before.finish(name)

        def wait_for(task: Future[Status | None]) -> None:
            nonlocal near, far
            status = task.result()
            if status is not None:
                near, far = near + status.near, far + status.far

        tasks = deque[Future[Status | None]]()
        last: _Lane | None = None
        try:
            with ThreadPoolExecutor(1) as worker:
                for number, (first, block) in enumerate(blocks):
                    lane = self._lanes[number % _LANES]
                    if len(tasks) == _LANES - 1:
                        wait_for(tasks.popleft())  # it has finished the lane's last block
                    lane.stage(block)
                    part = codes[first : first + len(block)]
                    tasks.append(worker.submit(step, lane, last, first, part))
                    last = lane
                if last is not None:
                    tasks.append(worker.submit(last.finish, name))
                for task in tasks:
                    wait_for(task)
            return near, far
        finally:
            for lane in self._lanes:  # after an error: nothing writes to the codes any more
                lane.device.synchronize()


def refused(row: int, name: str = "x") -> ValueError:
    """Return the error for a row that is not finite."""
    return ValueError(
        f"{name}: row {row} has a NaN or an infinity in float32; every value must be finite"
    )
