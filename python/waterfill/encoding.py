"""Vectors to codes, and a warning of those whose distance the scale byte clips."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from waterfill import _core
from waterfill.data.row_policy import Policy
from waterfill.data.rows import FloatRows, Rows

Codes = NDArray[np.uint8]

_SCALE_ENDS = (1, 255)  # values of the scale byte at which a distance may be clipped
_WIDE_LOG = math.log(127)  # of the ratio of the scale's ends, from which small distances are as 0


def encode_rows(
    core: _core.Codec,
    rows: Rows,
    prepare: Callable[[FloatRows], FloatRows] = lambda block: block,
    assign: Callable[[FloatRows], NDArray[np.uint16]] | None = None,
    *,
    warns: bool = True,
) -> Codes:
    """Encode rows after `prepare`, in the cells of `assign` (default: the nearest)."""
    codes = np.empty((rows.n, core.code_size), dtype=np.uint8)
    for first, block in rows.blocks():
        prepared = prepare(block)
        cells = None if assign is None else assign(prepared)
        core.encode(prepared, codes[first : first + len(block)], cells)
    if warns:
        warn_of_clipped(core, rows, codes)
    return codes


def encode_block(core: _core.Codec, x: FloatRows) -> Codes:
    """Encode rows in memory."""
    codes = np.empty((len(x), core.code_size), dtype=np.uint8)
    core.encode(x, codes)
    return codes


def encode_on_device(core: _core.Codec, x: Any, policy: Policy) -> Any:
    """Encode an array on a GPU there."""
    from waterfill.device.array_encoding import encode_array

    if policy != "raise":
        raise ValueError(
            f"policy={policy!r}: expected 'raise' for an array on a GPU; leave rows out there, "
            "or encode a copy on the CPU"
        )
    codes, n, near, far = encode_array(core, x)
    warn_of_ends(core, "x", n, near, far, stacklevel=4)
    return codes


def clipped(core: _core.Codec, codes: Codes) -> NDArray[np.bool_]:
    """Return which codes have a distance outside the range of the scale byte."""
    scales = codes[:, core.groups]
    near, far = _SCALE_ENDS
    beyond: NDArray[np.bool_] = scales == far
    return beyond if _is_wide(core) else beyond | (scales == near)


def warn_of_clipped(core: _core.Codec, rows: Rows, codes: Codes) -> None:
    """Warn of rows whose codes have a distance outside the range of the scale byte."""
    scales = codes[:, core.groups]
    ends = (int((scales == end).sum()) for end in _SCALE_ENDS)
    warn_of_ends(core, rows.name, rows.n, *ends)


def warn_of_ends(
    core: _core.Codec, name: str, n: int, near: int, far: int, *, stacklevel: int = 5
) -> None:
    """Warn of distances outside the range of the scale byte, and say on which side.

    Parameters
    ----------
    near, far : int
        Of n rows, how many have the lowest and the highest scale byte.
    """
    near = 0 if _is_wide(core) else near
    if not near and not far:
        return
    center = "centroid of their cell" if core.cells else "mean"
    sides = [
        *(["more than twice as far"] if far else []),
        *(["less than half as far"] if near else []),
    ]
    warnings.warn(
        f"{name}: {near + far} of {n} vectors are {' or '.join(sides)} from the "
        f"{center} as any of the rows that training drew; their distance is clipped. Train on "
        "vectors like these, or normalise them",
        RuntimeWarning,
        stacklevel=stacklevel,
    )


def _is_wide(core: _core.Codec) -> bool:
    """Whether the scale reaches so far down that shorter distances are as good as none."""
    return bool(254 * core.settings["scale"][1] > _WIDE_LOG)
