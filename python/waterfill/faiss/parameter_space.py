"""``faiss.ParameterSpace`` for waterfill indexes: setting and exploring parameters by name."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from waterfill._util.optional import loaded_faiss
from waterfill.index.base import Index
from waterfill.index.hnsw import IndexHNSW
from waterfill.index.ivf import IndexIVF

_NAMES = {"k_factor_rf": "k_factor"}  # FAISS's name for the factor of an IndexRefine
_NUMBERS: dict[str, Callable[[Any], Any]] = {
    "nprobe": int,
    "k_factor": float,
    "refine_factor": int,
    "coarse_groups": int,
    "prune_sigma": float,
    "verbose": bool,
}
_GRAPH_NAMES = ("efSearch", "efConstruction")
_QUANTIZER = "quantizer_"
_MOST_NPROBE = 4096  # that `initialize` proposes, as FAISS
_K_FACTORS = [2.0**i for i in range(7)]
_EFFORTS = [2.0**i for i in range(2, 10)]  # as FAISS


def set_index_parameter(space: Any, index: Index | IndexHNSW, name: str, value: float) -> None:
    """Set one parameter.

    Raises
    ------
    RuntimeError
        If the index has no such parameter, as in FAISS.
    """
    if name.startswith(_QUANTIZER) and isinstance(index, IndexIVF):
        space.set_index_parameter(index.quantizer, name[len(_QUANTIZER) :], value)
        return
    if isinstance(index, IndexHNSW):
        _set_graph_parameter(index, name, value)
        return
    own = _NAMES.get(name, name)
    if own not in _NUMBERS or not hasattr(type(index), own):
        known = [key for key in _NUMBERS if hasattr(type(index), key)]
        raise RuntimeError(
            f"ParameterSpace: {type(index).__name__} of waterfill has no parameter {name!r}; "
            f"expected one of {', '.join(known)}"
        )
    setattr(index, own, _exactly(name, value, _NUMBERS[own]))


def _set_graph_parameter(index: IndexHNSW, name: str, value: float) -> None:
    if name not in _GRAPH_NAMES:
        raise RuntimeError(
            f"ParameterSpace: {type(index).__name__} of waterfill has no parameter {name!r}; "
            f"expected one of {', '.join(_GRAPH_NAMES)}"
        )
    setattr(index.hnsw, name, _exactly(name, value, int))


def _exactly(name: str, value: float, kind: Callable[[Any], Any]) -> Any:
    number = kind(value)
    if number != value:
        raise RuntimeError(f"ParameterSpace: {name}={value} must be an integer")
    return number


def set_index_parameters(space: Any, index: Index | IndexHNSW, description: str | int) -> None:
    """Set parameters from a string like ``nprobe=16,k_factor_rf=2``, or of a combination."""
    text = description if isinstance(description, str) else space.combination_name(description)
    for part in filter(None, text.split(",")):
        name, _, value = part.partition("=")
        try:
            number = float(value)
        except ValueError:
            raise RuntimeError(f"ParameterSpace: expected name=number, got {part!r}") from None
        set_index_parameter(space, index, name.strip(), number)


def initialize(space: Any, index: Index | IndexHNSW) -> None:
    """Propose ranges: `nprobe` or `efSearch` in powers of two, `k_factor` where rows are kept."""
    space.parameter_ranges.clear()
    if isinstance(index, IndexHNSW):
        _add_range(space, "efSearch", _EFFORTS)
        return
    if isinstance(index, IndexIVF):
        counts, nprobe = [], 1
        while nprobe <= min(index.nlist, _MOST_NPROBE):
            counts.append(float(nprobe))
            nprobe *= 2
        _add_range(space, "nprobe", counts)
    if index.refine is not None:
        _add_range(space, "k_factor_rf", _K_FACTORS)


def _add_range(space: Any, name: str, values: list[float]) -> None:
    found = space.add_range(name)
    loaded_faiss().copy_array_to_vector(np.array(values, dtype=np.float64), found.values)


def explore(space: Any, index: Index | IndexHNSW, xq: Any, crit: Any) -> Any:
    """Measure combinations of parameters; return FAISS's OperatingPoints.

    As FAISS: the first and the last combination, then others in random order, skipping those that
    the points so far show to be neither faster nor better; the last one stays set.
    """
    faiss = loaded_faiss()
    queries = np.ascontiguousarray(xq, dtype=np.float32)
    if queries.shape != (crit.nq, index.d):
        raise AssertionError(f"xq must have shape ({crit.nq}, {index.d}), got {queries.shape}")
    points = faiss.OperatingPoints()
    combinations = int(space.n_combinations())
    experiments = min(int(space.n_experiments) or combinations, combinations)
    others = np.random.default_rng(0).permutation(np.arange(1, max(1, combinations - 1)))
    order = [0, *([combinations - 1] if combinations > 1 else []), *others.tolist()]
    for number in order[:experiments]:
        if not _is_promising(space, points, number):
            continue
        set_index_parameters(space, index, number)
        perf, seconds = _measure(space, index, queries, crit)
        points.add(perf, seconds, space.combination_name(number), number)
    return points


def _is_promising(space: Any, points: Any, number: int) -> bool:
    """Return whether a combination may be better or faster than every point so far."""
    best, least = 1.0, 0.0
    for i in range(points.all_pts.size()):
        point = points.all_pts.at(i)
        if point.cno >= 0 and space.combination_ge(point.cno, number):
            best = min(best, point.perf)
        if point.cno >= 0 and space.combination_ge(number, point.cno):
            least = max(least, point.t)
    optimal = (points.optimal_pts.at(i) for i in range(points.optimal_pts.size()))
    return not any(point.perf >= best and point.t < least for point in optimal)


def _measure(space: Any, index: Index | IndexHNSW, queries: Any, crit: Any) -> tuple[float, float]:
    """Return the criterion's value, and seconds for all queries."""
    faiss = loaded_faiss()
    runs, start = 0, time.perf_counter()
    while runs == 0 or time.perf_counter() - start < space.min_test_duration:
        distances, labels = index.search(queries, int(crit.nnn))
        runs += 1
    seconds = (time.perf_counter() - start) / runs
    return float(crit.evaluate(faiss.swig_ptr(distances), faiss.swig_ptr(labels))), seconds


METHODS: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (set_index_parameter, set_index_parameters, initialize, explore)
}
"""Replacements of the methods of ``faiss.ParameterSpace`` for a waterfill index."""


def extend(faiss: Any) -> None:
    """Make ``faiss.ParameterSpace`` set and explore the parameters of waterfill indexes."""
    for name, method in METHODS.items():
        setattr(faiss.ParameterSpace, name, _either(getattr(faiss.ParameterSpace, name), method))


def _either(original: Callable[..., Any], own: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method that runs `own` for a waterfill index, otherwise the original."""

    @functools.wraps(original)
    def method(space: Any, index: Any, *args: Any, **kwargs: Any) -> Any:
        chosen = own if isinstance(index, Index | IndexHNSW) else original
        return chosen(space, index, *args, **kwargs)

    return method
