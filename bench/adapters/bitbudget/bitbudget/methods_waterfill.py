"""waterfill's codes as compression methods, and its inverted file as an index."""

from __future__ import annotations

from typing import Any

import numpy as np

import waterfill as wf

from .indexes import _time, index
from .methods import method

_LISTS_PER_ROOT = 4  # lists are this many square roots of the number of vectors
_LIST_BYTES = 4  # of a vector's place in its list


def _recipe(d: int, bits: float, list_bytes: int = 0) -> Any:
    """Return a recipe of at most `bits` a dimension with all that is stored of a vector.

    A scale takes a byte, and bytes of codes are stored in pairs.
    """
    pairs = (round(d * bits / 8) - list_bytes - 1) // 2
    return wf.Recipe(d, max(1, 2 * pairs), cells=0)


def _filled(demb: Any, bits: float) -> Any:
    """Return an index of codes."""
    ix = wf.IndexFlat(_recipe(demb.shape[1], bits))
    ix.train(demb)
    ix.add(demb)
    return ix


def _scores(demb: Any, qemb: Any, bits: float) -> tuple[Any, float]:
    """Return the scores of all documents, estimated from codes, and the bytes of a vector."""
    ix = _filled(demb, bits)
    near, labels = ix.search(qemb, len(demb))
    scores = np.empty((len(qemb), len(demb)), np.float32)
    np.put_along_axis(scores, labels, near, axis=1)
    return scores, float(ix.bytes_per_vector)


@method("waterfill-half-bit", bits=0.5)
def waterfill_half_bit(demb: Any, qemb: Any) -> tuple[Any, float]:
    """Codes of half a bit per dimension."""
    return _scores(demb, qemb, 0.5)


@method("waterfill", bits=1)
def waterfill(demb: Any, qemb: Any) -> tuple[Any, float]:
    """Codes of one bit per dimension."""
    return _scores(demb, qemb, 1)


@method("waterfill-2bit", bits=2)
def waterfill_2bit(demb: Any, qemb: Any) -> tuple[Any, float]:
    """Codes of two bits per dimension."""
    return _scores(demb, qemb, 2)


@method("waterfill+rerank", bits=0.5)
def waterfill_rerank(demb: Any, qemb: Any, depth: int = 100) -> tuple[Any, float]:
    """Rank the best documents of half a bit per dimension by their vectors, as `binary+rerank`."""
    ix = _filled(demb, 0.5)
    near = ix.search(qemb, min(depth, len(demb)))[1]
    scores = np.full((len(qemb), len(demb)), -1e9, np.float32)
    for row, query, labels in zip(scores, qemb, near, strict=True):
        row[labels] = demb[labels] @ query
    return scores, float(ix.bytes_per_vector)


@index("waterfill-ivf", axis="quantisation")
def waterfill_ivf(xb: Any, xq: Any, k: int, bits: float = 2) -> tuple[Any, float, float]:
    """Codes of two bits per dimension in lists, as many of them as find 90 % of the neighbours."""
    n, d = xb.shape
    lists = 1 << round(np.log2(max(1, _LISTS_PER_ROOT * n**0.5)))
    ix = wf.IndexIVF(_recipe(d, bits, _LIST_BYTES), lists)
    ix.train(xb)
    ix.add(xb)
    labels, seconds = _time(lambda: ix.search(xq, k)[1])
    return labels, float(ix.bytes_per_vector), len(xq) / seconds
