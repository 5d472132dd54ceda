"""Search parameters: the class, reading those of FAISS, and keys for caches and batches."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Any

from waterfill._util.optional import loaded_faiss
from waterfill._util.validation import as_number, as_positive_int
from waterfill.index.list_recall import as_target_recall
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
    typed_field,
)


@dataclass(frozen=True)
class SearchParameters:
    """Parameters of one search. `SearchParametersIVF` is the same class.

    None stands for the setting of the index.

    Parameters
    ----------
    sel : IDSelector or faiss.IDSelector, optional
        Restricts the results to these ids.
    nprobe : int, optional
        Lists to search per query, at least 1 (IVF).
    k_factor : float, optional
        Candidates per requested neighbour that are re-ranked by exact rows, at least 1.
    quantizer_params : faiss.SearchParameters, optional
        Parameters for a FAISS coarse quantizer.
    target_recall : float, optional
        Instead of `nprobe`: the share of the neighbours in all lists to find; see `IndexIVF`.

    Raises
    ------
    TypeError, ValueError
        If a value has the wrong type or is out of range.
    """

    sel: Any = None
    nprobe: int | None = None
    k_factor: float | None = None
    quantizer_params: Any = None
    target_recall: float | None = None

    def __post_init__(self) -> None:
        if self.sel is not None and not is_selector(self.sel):
            raise TypeError(
                f"sel must be a waterfill or FAISS IDSelector, got {type(self.sel).__name__}"
            )
        if self.nprobe is not None:
            as_positive_int("nprobe", self.nprobe)
        if self.k_factor is not None:
            as_number("k_factor", self.k_factor, 1, finite=True)
        if self.target_recall is not None:
            as_target_recall(self.target_recall)
            if self.nprobe is not None:
                raise ValueError(
                    f"nprobe={self.nprobe} and target_recall={self.target_recall}: expected one of "
                    "them; nprobe is what a target recall decides"
                )


SearchParametersIVF = SearchParameters  # FAISS's name of parameters with nprobe

_DEFAULTS = SearchParameters()


def read_parameters(params: Any) -> SearchParameters:
    """Convert search parameters, ours or FAISS's, to `SearchParameters`.

    Parameters
    ----------
    params : SearchParameters, faiss.SearchParameters or None
        Supported classes of FAISS: SearchParameters, SearchParametersIVF,
        IndexRefineSearchParameters and SearchParametersPreTransform, also nested.

    Raises
    ------
    TypeError
        If `params` is anything else.
    ValueError
        If a limit or option is set that waterfill does not have (`max_codes`, `max_lists_num`,
        `max_empty_result_buckets`, `ensure_topk_full`, `inverted_list_context`), or a value is out
        of range.
    """
    if params is None:
        return _DEFAULTS
    if isinstance(params, SearchParameters):
        return params
    faiss = loaded_faiss()
    if faiss is None or not isinstance(params, faiss.SearchParameters):
        raise TypeError(
            "params must be a waterfill or FAISS SearchParameters, "
            f"got {type(params).__name__}"
            + ("; pass SearchParameters(sel=...)" if is_selector(params) else "")
        )
    if isinstance(params, faiss.SearchParametersPreTransform):
        return read_parameters(typed_field(params, "index_params"))
    if isinstance(params, faiss.IndexRefineSearchParameters):
        base = read_parameters(typed_field(params, "base_index_params"))
        return replace(base, k_factor=float(params.k_factor))
    if isinstance(params, faiss.SearchParametersIVF):
        return _read_ivf(params)
    if type(params) is not faiss.SearchParameters:
        raise TypeError(
            "params must be SearchParameters, SearchParametersIVF, IndexRefineSearchParameters or "
            f"SearchParametersPreTransform, got {type(params).__name__}"
        )
    return SearchParameters(sel=typed_field(params, "sel"))


def _read_ivf(params: Any) -> SearchParameters:
    for limit in ("max_codes", "max_lists_num", "max_empty_result_buckets"):
        value = getattr(params, limit, 0)
        if value:
            raise ValueError(f"params: {limit}={value} is not supported; use nprobe")
    for option in ("ensure_topk_full", "inverted_list_context"):
        if getattr(params, option, None):
            raise ValueError(f"params: {option} is not supported; leave it out")
    return SearchParameters(
        sel=typed_field(params, "sel"),
        nprobe=int(params.nprobe),
        quantizer_params=typed_field(params, "quantizer_params"),
    )


_LEAVES = (IDSelectorAll, IDSelectorArray, IDSelectorBitmap, IDSelectorRange)
_PAIRS = (IDSelectorAnd, IDSelectorOr, IDSelectorXOr)
_MOST_LEVELS = 8  # deeper selectors are not compared: hashing them is recursive


def is_fixed(sel: Any, levels: int = _MOST_LEVELS) -> bool:
    """Return whether a selector is immutable: None, or built of waterfill's classes only.

    The data that a FAISS selector points to may change. Types are compared exactly, because a
    subclass may be mutable.
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
    """Return a key that is valid forever, or None if the parameters are mutable."""
    if params.quantizer_params is not None or not is_fixed(params.sel):
        return None
    return params.sel, params.nprobe, params.k_factor, params.target_recall


def passing_key(params: SearchParameters) -> Hashable:
    """Return a key that is valid while the parameters are referenced: it compares identities."""
    lasting = lasting_key(params)
    if lasting is not None:
        return lasting
    numbers = params.nprobe, params.k_factor, params.target_recall
    return id(params.sel), *numbers, id(params.quantizer_params)
