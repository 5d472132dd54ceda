"""Bad arguments of searches."""

from __future__ import annotations

import faiss
import numpy as np
from support.bad_input.harness import (
    Case,
    X,
    error,
    fill,
    found,
    missing,
    only,
    plain,
    returns,
    then,
)

CASES = [
    Case(
        "k = 0, k < 0",
        "flat",
        lambda i: i.search(X[:1], 0),
        AssertionError,
        error(AssertionError, "k=0 must be at least 1"),
    ),
    Case(
        "k no int",
        "flat",
        lambda i: i.search(X[:1], 2.0),
        TypeError,
        error(TypeError, "k must be an int, got 2.0"),
    ),
    Case(
        "k as a NumPy integer",
        "flat",
        lambda i: i.search(X[:2], np.int64(3)),
        TypeError,
        plain,
    ),
    Case(
        "k > ntotal",
        "empty",
        lambda i: i.search(X[:2], 3),
        missing,
        missing,
    ),
    Case(
        "D or I of another shape",
        "flat",
        lambda i: i.search(X[:2], 3, I=fill((3, 2), np.int64)),
        AssertionError,
        error(AssertionError, r"I must have shape \(2, 3\), got \(3, 2\)"),
    ),
    Case(
        "D or I of another dtype",
        "flat",
        lambda i: i.search(X[:2], 3, D=fill((2, 3), np.float64)),
        TypeError,
        error(TypeError, "D must be an array of float32, got dtype float64"),
    ),
    Case(
        "D or I with gaps or in Fortran order",
        "flat",
        lambda i: i.search(X[:2], 3, I=fill((2, 3), np.int64, order="F")),
        ValueError,
        plain,
    ),
    Case(
        "D or I that is read-only",
        "flat",
        lambda i: i.search(X[:2], 3, D=np.frombuffer(bytes(24), np.float32).reshape(2, 3)),
        None,
        error(ValueError, "D is read-only"),
    ),
    Case(
        "D or I by position",
        "flat",
        lambda i: i.search(X[:2], 3, fill((2, 3), np.float32)),
        TypeError,
        error(TypeError, "positional"),
    ),
    Case(
        "params that are none",
        "flat",
        lambda i: i.search(X[:2], 3, params=faiss.IDSelectorRange(0, 3)),
        TypeError,
        error(TypeError, r"params must be .* got IDSelectorRange; pass SearchParameters\(sel="),
    ),
    Case(
        "a Range or an Array beyond the ids there are",
        "flat",
        lambda i: i.search(X[:1], 3, params=only(-7, 5, 10**9)),
        None,
        found([-1, -1, 5]),
    ),
    Case(
        "params of lists for a flat index",
        "flat",
        lambda i: i.search(
            X[:1], 3, params=faiss.SearchParametersIVF(sel=faiss.IDSelectorRange(5, 8))
        ),
        found([5, 6, 7]),
        found([5, 6, 7]),
    ),
    Case(
        "params without nprobe for lists",
        "lists",
        lambda i: i.search(
            X[:1], 3, params=faiss.SearchParameters(sel=faiss.IDSelectorRange(5, 8))
        ),
        RuntimeError,
        found([5, 6, 7]),
    ),
    Case(
        "nprobe = 0",
        "lists",
        lambda i: then(i, lambda j: setattr(j, "nprobe", 0), lambda j: j.search(X[:1], 3)),
        RuntimeError,
        error(ValueError, "nprobe=0 must be at least 1"),
    ),
    Case(
        "nprobe > nlist",
        "lists",
        lambda i: then(i, lambda j: setattr(j, "nprobe", 99), lambda j: j.search(X[:2], 3)),
        plain,
        plain,
    ),
    Case(
        "range_search with a NaN",
        "flat",
        lambda i: i.range_search(X[:1], float("nan"))[0].tolist(),
        returns([0, 0]),
        error(ValueError, "thresh=nan"),
    ),
    Case(
        "range_search with no number",
        "flat",
        lambda i: i.range_search(X[:1], "near"),
        ValueError,
        error(TypeError, "thresh must be a number, got 'near'"),
    ),
]
