"""What one search does otherwise than the index: our parameters, and FAISS's."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from waterfill.selectors import is_selector, whole


@dataclass(frozen=True)
class SearchParameters:
    """Parameters of one search; what is None is the index's own.

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
        nprobe, k_factor = self.nprobe, self.k_factor
        if nprobe is not None:
            if isinstance(nprobe, bool) or not isinstance(nprobe, int | np.integer):
                raise TypeError(f"nprobe must be an int, got {nprobe!r}")
            if nprobe < 1:
                raise ValueError(f"nprobe={nprobe} must be at least 1")
        if k_factor is not None:
            if isinstance(k_factor, bool) or not isinstance(k_factor, int | float | np.number):
                raise TypeError(f"k_factor must be a number, got {k_factor!r}")
            if not 1 <= k_factor < float("inf"):
                raise ValueError(f"k_factor={k_factor} must be at least 1, and finite")


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
    faiss: Any = sys.modules.get("faiss")
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
