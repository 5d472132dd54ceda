"""Rows with a NaN or an infinity, with a policy for such rows."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from support.bad_input.harness import NAN, Case, X, codec, missing, ours, returns

MIXED = np.concatenate([X[:2], NAN[:1], X[2:4]])


def quietly(call: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Ignore the warning, which tests/test_quality.py checks."""

    def run(index: Any) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            return call(index)

    return run


def added(index: Any, policy: str) -> Any:
    index.add(MIXED, policy=policy)
    return index.ntotal, index.quarantine.n, (index.codes(302, 2) == index.codes(2, 2)).all()


def added_with_ids(index: Any) -> list[int]:
    index.add_with_ids(MIXED, np.arange(5) + 1000, policy="drop")
    return index.ids(300).tolist()


def trained(index: Any) -> bool:
    index.train(np.concatenate([X, NAN]), policy="drop")
    expected = ours("untrained")
    expected.train(X)
    return index.codec.fingerprint == expected.codec.fingerprint


CASES = [
    Case(
        "rows added with policy=drop",
        "flat",
        quietly(lambda i: added(i, "drop")),
        TypeError,
        returns((304, 0, True)),
    ),
    Case(
        "rows added with policy=quarantine",
        "flat",
        quietly(lambda i: added(i, "quarantine")),
        TypeError,
        returns((304, 1, True)),
    ),
    Case(
        "rows and ids added with policy=drop",
        "ids",
        quietly(added_with_ids),
        TypeError,
        returns([1000, 1001, 1003, 1004]),
    ),
    Case(
        "queries with policy=drop",
        "lists",
        quietly(lambda i: i.search(NAN, 2, policy="drop")),
        TypeError,
        missing,
    ),
    Case(
        "rows to train with and policy=drop",
        "untrained",
        quietly(trained),
        TypeError,
        returns(True),
    ),
    Case(
        "rows encoded with policy=drop",
        "flat",
        quietly(lambda i: codec().encode(MIXED, policy="drop").shape == (4, codec().code_size)),
        None,
        returns(True),
    ),
]
