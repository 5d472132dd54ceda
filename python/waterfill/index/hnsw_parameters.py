"""How far a graph is searched: the settings of an `IndexHNSW`, and parameters of one search."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

from waterfill._util.optional import loaded_faiss
from waterfill._util.validation import as_positive_int
from waterfill.index.search_parameters import SearchParameters, is_fixed
from waterfill.index.selectors import is_selector, typed_field

_MOST_EFFORT = (1 << 32) - 1  # an index holds no more vectors


class HNSW:
    """The settings of a graph, under the names of ``faiss.IndexHNSW.hnsw``.

    Parameters
    ----------
    search : int
        See `efSearch`.
    construction : int
        See `efConstruction`.

    Attributes
    ----------
    efSearch : int
        Vectors that a search keeps while it looks for better ones, at least 1. A higher value is
        slower and finds more of the nearest vectors.
    efConstruction : int
        The same for the search that finds the links of a new vector.
    """

    __slots__ = ("_construction", "_search")

    def __init__(self, search: int, construction: int) -> None:
        self.efSearch = search
        self.efConstruction = construction

    @property
    def efSearch(self) -> int:
        """Vectors that a search keeps."""
        return self._search

    @efSearch.setter
    def efSearch(self, value: int) -> None:
        self._search = _as_effort("efSearch", value)

    @property
    def efConstruction(self) -> int:
        """Vectors that the search for links keeps."""
        return self._construction

    @efConstruction.setter
    def efConstruction(self, value: int) -> None:
        self._construction = _as_effort("efConstruction", value)

    def __repr__(self) -> str:
        return f"HNSW(efSearch={self._search}, efConstruction={self._construction})"


@dataclass(frozen=True)
class SearchParametersHNSW:
    """Parameters of one search of an `IndexHNSW`.

    Parameters
    ----------
    sel : IDSelector or faiss.IDSelector, optional
        Restricts the results to these ids.
    efSearch : int, optional
        Vectors that the search keeps; by default the setting of the index.

    Raises
    ------
    TypeError, ValueError
        If a value has the wrong type or is out of range.
    """

    sel: Any = None
    efSearch: int | None = None

    def __post_init__(self) -> None:
        if self.sel is not None and not is_selector(self.sel):
            raise TypeError(
                f"sel must be a waterfill or FAISS IDSelector, got {type(self.sel).__name__}"
            )
        if self.efSearch is not None:
            _as_effort("efSearch", self.efSearch)

    def _lasting_key(self) -> Hashable | None:
        return (self.sel, self.efSearch) if is_fixed(self.sel) else None


_DEFAULTS = SearchParametersHNSW()


def read_hnsw_parameters(params: Any) -> SearchParametersHNSW:
    """Convert search parameters, ours or FAISS's, to `SearchParametersHNSW`.

    Raises
    ------
    TypeError
        If `params` is anything else.
    ValueError
        If a setting of other indexes is given, such as ``nprobe``.
    """
    if params is None:
        return _DEFAULTS
    if isinstance(params, SearchParametersHNSW):
        return params
    if isinstance(params, SearchParameters):
        for name in ("nprobe", "target_recall", "k_factor", "quantizer_params"):
            if getattr(params, name) is not None:
                raise ValueError(
                    f"params: {name} is a setting of other indexes; a graph has "
                    "SearchParametersHNSW(efSearch=...)"
                )
        return SearchParametersHNSW(sel=params.sel)
    faiss = loaded_faiss()
    if faiss is not None and isinstance(params, faiss.SearchParametersHNSW):
        return SearchParametersHNSW(typed_field(params, "sel"), int(params.efSearch))
    if faiss is not None and type(params) is faiss.SearchParameters:
        return SearchParametersHNSW(sel=typed_field(params, "sel"))
    raise TypeError(
        "params must be SearchParametersHNSW or SearchParameters, of waterfill or FAISS, got "
        f"{type(params).__name__}"
        + ("; pass SearchParametersHNSW(sel=...)" if is_selector(params) else "")
    )


def _as_effort(name: str, value: Any) -> int:
    effort = as_positive_int(name, value)
    if effort > _MOST_EFFORT:
        raise ValueError(f"{name}={effort} must be at most {_MOST_EFFORT}")
    return effort
