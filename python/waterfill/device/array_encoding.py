"""Encoding of arrays that lie on a GPU, into arrays of the same kind."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

from waterfill import _core
from waterfill.device.arrays import DeviceRows, new_codes
from waterfill.device.backend import Memory, part_of
from waterfill.device.encoder import CHUNK_ROWS, DeviceEncoder
from waterfill.device.row_pipeline import refused
from waterfill.errors import ArgumentError

_encoders: WeakKeyDictionary[_core.Codec, dict[str, DeviceEncoder]] = WeakKeyDictionary()


def encode_array(core: _core.Codec, x: Any) -> tuple[Any, int, int, int]:
    """Encode an array on a GPU.

    Returns
    -------
    codes : array of the kind of `x`
        uint8 (n, code_size). All work is done.
    n, near, far : int
        Rows, and how many have the lowest and the highest scale byte.

    Raises
    ------
    TypeError, ValueError
        As `DeviceRows.of`; or for a row with a NaN or an infinity.
    """
    rows = DeviceRows.of(x)
    if rows.shape[1] != core.d:
        raise ArgumentError(f"x has {rows.shape[1]} dimensions, expected {core.d}")
    memory, finish = new_codes(rows, core.code_size)
    near, far = encode_device_rows(core, rows, memory)
    return finish(), rows.shape[0], near, far


def encode_device_rows(
    core: _core.Codec, rows: DeviceRows, codes: Memory, *, normalize: bool = False
) -> tuple[int, int]:
    """Encode rows into memory; return how many have the lowest and the highest scale byte."""
    device, (n, d) = rows.device, rows.shape
    encoder = _encoder(core, rows)
    near = far = 0
    for first in range(0, n, CHUNK_ROWS):
        count = min(CHUNK_ROWS, n - first)
        part = part_of(rows.memory, first * d * 4, count * d * 4)
        out = part_of(codes, first * core.code_size, count * core.code_size)
        status = encoder.encode(device, part, count, out, normalize=normalize)
        if status.first_bad < count:
            raise refused(first + status.first_bad)
        near, far = near + status.near, far + status.far
    return near, far


def _encoder(core: _core.Codec, rows: DeviceRows) -> DeviceEncoder:
    """Return the codec on the GPU of some rows; it stays there with the codec."""
    known = _encoders.setdefault(core, {})
    if rows.device.name not in known:
        known[rows.device.name] = DeviceEncoder(rows.device, core)
    return known[rows.device.name]
