"""Ids that are absent, repeated or invalid."""

from __future__ import annotations

import numpy as np
from support.bad_input.harness import Case, X, error, found, only, returns, then

CASES = [
    Case(
        "ids masked in places",
        "ids",
        lambda i: then(
            i,
            lambda j: j.add_with_ids(X[:2], np.ma.masked_array([7, 8], [True, False])),
            lambda j: j.ntotal,
        ),
        returns(302),
        error(ValueError, "ids is a masked array with 1 masked values, the first in row 0; fill"),
    ),
    Case(
        "ids given twice",
        "ids",
        lambda i: then(
            i,
            lambda j: j.add_with_ids(X[:2], np.array([0, 0])),
            lambda j: j.remove_ids(np.array([0])),
        ),
        returns(3),
        returns(3),
    ),
    Case(
        "negative ids",
        "ids",
        lambda i: then(
            i,
            lambda j: j.add_with_ids(X[:2], np.array([-5, -(2**63)])),
            lambda j: j.search(X[:1], 1, params=only(-5)),
        ),
        found([-5]),
        found([-5]),
    ),
    Case(
        "an id of -1",
        "ids",
        lambda i: then(i, lambda j: j.add_with_ids(X[:1], np.array([-1])), lambda j: j.ntotal),
        returns(301),
        error(ValueError, "ids: id 0 is -1"),
    ),
    Case(
        "ids as a list",
        "ids",
        lambda i: then(i, lambda j: j.add_with_ids(X[:2], [1, 2]), lambda j: j.ntotal),
        AttributeError,
        returns(302),
    ),
    Case(
        "ids of another length",
        "ids",
        lambda i: i.add_with_ids(X[:2], np.array([1, 2, 3])),
        AssertionError,
        error(AssertionError, "ids: expected 2 ids, one per vector, got 3"),
    ),
    Case(
        "ids of two dimensions",
        "ids",
        lambda i: i.add_with_ids(X[:2], np.array([[1], [2]])),
        AssertionError,
        error(AssertionError, r"ids must have shape \(n,\), got shape \(2, 1\)"),
    ),
    Case(
        "ids as float",
        "ids",
        lambda i: then(i, lambda j: j.add_with_ids(X[:1], np.array([1.7])), lambda j: j.ntotal),
        returns(301),
        error(TypeError, "ids must be integers, got dtype float64"),
    ),
    Case(
        "ids beyond int64",
        "ids",
        lambda i: then(
            i, lambda j: j.add_with_ids(X[:1], np.array([2**63], "u8")), lambda j: j.ntotal
        ),
        returns(301),
        error(ValueError, "ids has 9223372036854775808, which is not within int64"),
    ),
    Case(
        "add_with_ids on a flat index",
        "flat",
        lambda i: then(i, lambda j: j.add_with_ids(X[:1], np.array([7000])), lambda j: j.ntotal),
        RuntimeError,
        returns(301),
    ),
    Case(
        "add on an index with ids",
        "ids",
        lambda i: then(i, lambda j: j.add(X[:1]), lambda j: j.ntotal),
        RuntimeError,
        returns(301),
    ),
    Case(
        "remove_ids of absent or repeated ids",
        "flat",
        lambda i: i.remove_ids(np.array([1, 1, -4, 10**6])),
        returns(1),
        returns(1),
    ),
    Case(
        "remove_ids of a list", "flat", lambda i: i.remove_ids([1, 2]), AttributeError, returns(2)
    ),
    Case(
        "remove_ids of floats",
        "flat",
        lambda i: i.remove_ids(np.array([1.7, 2.0])),
        returns(2),
        error(TypeError, "x must be integers, got dtype float64"),
    ),
    Case(
        "remove_ids of nothing",
        "flat",
        lambda i: i.remove_ids(np.array([])),
        returns(0),
        returns(0),
    ),
    Case(
        "remove_ids of two dimensions",
        "flat",
        lambda i: i.remove_ids(np.array([[1]])),
        AssertionError,
        error(AssertionError, r"x must have shape \(n,\)"),
    ),
    Case(
        "reconstruct an id that is not there",
        "ids",
        lambda i: i.reconstruct(1),
        RuntimeError,
        error(RuntimeError, "key=1 is not in an index of 300 vectors"),
    ),
    Case(
        "reconstruct a negative position",
        "flat",
        lambda i: i.reconstruct(-1),
        None,
        error(IndexError, "key=-1 is not in an index of 300 vectors"),
    ),
    Case(
        "reconstruct with lists",
        "lists",
        lambda i: i.reconstruct(5).shape,
        RuntimeError,
        returns((8,)),
    ),
    Case(
        "reconstruct_n beyond the end",
        "flat",
        lambda i: i.reconstruct_n(290, 20),
        RuntimeError,
        error(ValueError, "n0=290, ni=20 reach beyond an index of 300 vectors"),
    ),
]
