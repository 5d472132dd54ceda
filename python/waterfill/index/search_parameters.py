"""Parameters of one search, given as ours or as FAISS's, and keys to compare them by."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Any

from waterfill._util.optional import loaded_faiss
from waterfill._util.validation import as_number, as_positive_int
from waterfill.index.selectors import (
    IDSelectorAll,
    IDSelectorAnd,
    IDSelectorArray,
    IDSelectorBitmap,
    IDSelectorNot,
    IDSelectorOr,
    IDSelectorRange,
    IDSelectorXOr,
    is_selector,
    whole,
)


@dataclass(frozen=True)
class SearchParameters:
    """Parameters of one search; what is None is the index's own. Also named SearchParametersIVF.

    Parameters
    ----------
    sel : IDSelector or faiss.IDSelector, optional
        Only these ids are found.
    nprobe : int, optional
        Lists that each query looks at, at least 1 (IVF).
    k_factor : float, optional
        Candidates for each neighbour asked for that are re-ranked by exact rows, at least 1.
    quantizer_params : faiss.SearchParameters, optional
        Handed on to a coarse quantizer of FAISS's.

    Raises
    ------
    TypeError, ValueError
        For a value of the wrong type or out of range.
    """

    sel: Any = None
    nprobe: int | None = None
    k_factor: float | None = None
    quantizer_params: Any = None

    def __post_init__(self) -> None:
        if self.sel is not None and not is_selector(self.sel):
            raise TypeError(
                f"sel must be a waterfill or FAISS IDSelector, got {type(self.sel).__name__}"
            )
        if self.nprobe is not None:
            as_positive_int("nprobe", self.nprobe)
        if self.k_factor is not None:
            as_number("k_factor", self.k_factor, 1, finite=True)


SearchParametersIVF = SearchParameters  # FAISS's name of those with nprobe


def read_parameters(params: Any) -> SearchParameters:
    """Read the parameters of a search.

    Parameters
    ----------
    params : SearchParameters, faiss.SearchParameters or None
        Of FAISS's: SearchParameters, SearchParametersIVF, IndexRefineSearchParameters and
        SearchParametersPreTransform, one inside the other too.

    Raises
    ------
    TypeError
        For anything else.
    ValueError
        If it asks for what there is not (`max_codes`), or a value is out of range.
    """
    if params is None:
        return SearchParameters()
    if isinstance(params, SearchParameters):
        return params
    faiss = loaded_faiss()
    if faiss is None or not isinstance(params, faiss.SearchParameters):
        raise TypeError(
            "params must be a waterfill or FAISS SearchParameters, "
            f"got {type(params).__name__}" + ("; say sel=" if is_selector(params) else "")
        )
    if isinstance(params, faiss.SearchParametersPreTransform):
        return read_parameters(whole(params, "index_params"))
    if isinstance(params, faiss.IndexRefineSearchParameters):
        base = read_parameters(whole(params, "base_index_params"))
        return replace(base, k_factor=float(params.k_factor))
    if isinstance(params, faiss.SearchParametersIVF):
        return _read_ivf(params)
    if type(params) is not faiss.SearchParameters:
        raise TypeError(
            f"params: {type(params).__name__} is for another kind of index; wanted is "
            "SearchParameters, SearchParametersIVF, IndexRefineSearchParameters or "
            "SearchParametersPreTransform"
        )
    return SearchParameters(sel=whole(params, "sel"))


def _read_ivf(params: Any) -> SearchParameters:
    for limit in ("max_codes", "max_lists_num"):
        value = getattr(params, limit, 0)
        if value:
            raise ValueError(f"{limit}={value}: waterfill has no such limit; use nprobe")
    return SearchParameters(
        sel=whole(params, "sel"),
        nprobe=int(params.nprobe),
        quantizer_params=whole(params, "quantizer_params"),
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
