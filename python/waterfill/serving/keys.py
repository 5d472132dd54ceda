"""Which searches are the same search: parameters as something to compare and to hash."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from waterfill.parameters import SearchParameters
from waterfill.selectors import (
    IDSelectorAll,
    IDSelectorAnd,
    IDSelectorArray,
    IDSelectorBitmap,
    IDSelectorNot,
    IDSelectorOr,
    IDSelectorRange,
    IDSelectorXOr,
)

_LEAVES = (IDSelectorAll, IDSelectorArray, IDSelectorBitmap, IDSelectorRange)
_PAIRS = (IDSelectorAnd, IDSelectorOr, IDSelectorXOr)
_DEEPEST = 8  # levels of a selector that are compared; hashing goes down all of them, recursively


def is_fixed(sel: Any, levels: int = _DEEPEST) -> bool:
    """Tell whether a selector will select the same ids tomorrow: none, or ours through and through.

    What a selector of FAISS points to may change under it. The exact types: a subclass of ours may
    be anything.
    """
    if sel is None or type(sel) in _LEAVES:
        return True
    if levels == 1:
        return False
    if type(sel) is IDSelectorNot:
        return is_fixed(sel.sel, levels - 1)
    if type(sel) in _PAIRS:
        return is_fixed(sel.lhs, levels - 1) and is_fixed(sel.rhs, levels - 1)
    return False


def lasting_key(params: SearchParameters) -> Hashable | None:
    """Return what stands for parameters for good, or None: what they mean may change."""
    if params.quantizer_params is not None or not is_fixed(params.sel):
        return None
    return params.sel, params.nprobe, params.k_factor


def passing_key(params: SearchParameters) -> Hashable:
    """Return what stands for parameters for as long as they are held: objects by identity."""
    lasting = lasting_key(params)
    if lasting is not None:
        return lasting
    return id(params.sel), params.nprobe, params.k_factor, id(params.quantizer_params)
