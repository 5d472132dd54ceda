"""The size of codes where nobody has chosen one."""

from __future__ import annotations

_FEWEST = 8


def code_bytes_for(d: int, chosen: int | None) -> int:
    """Return the bytes of a code: those chosen, or a bit per dimension, at least 8, at most d."""
    return min(d, max(_FEWEST, d // 8)) if chosen is None else chosen
