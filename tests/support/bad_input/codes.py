"""Bad input of codes and of `merge_from`."""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np
from support.bad_input.harness import Case, error, fill, returns, then


def add_codes(index: Any, ids: list[int]) -> None:
    index.add_sa_codes(fill((1, index.sa_code_size()), np.uint8), np.array(ids))


CASES = [
    Case(
        "merge_from another kind of index",
        "flat",
        lambda i: i.merge_from(faiss.IndexLSH(8, 16)),
        RuntimeError,
        error(TypeError, "otherIndex must be a waterfill.IndexFlat, got IndexLSH"),
    ),
    Case(
        "merge_from itself",
        "flat",
        lambda i: then(i, lambda j: j.merge_from(j), lambda j: j.ntotal),
        returns(0),
        error(ValueError, "otherIndex must be another index"),
    ),
    Case(
        "codes of another dtype",
        "flat",
        lambda i: i.sa_decode(fill((2, i.sa_code_size()), np.int32)),
        TypeError,
        error(TypeError, "codes must be uint8, got dtype int32"),
    ),
    Case(
        "codes with an id of -1",
        "ids",
        lambda i: then(i, lambda j: add_codes(j, [-1]), lambda j: j.ntotal),
        returns(301),
        error(ValueError, "ids: id 0 is -1"),
    ),
    Case(
        "codes with ids of another length",
        "ids",
        lambda i: add_codes(i, [1, 2]),
        AssertionError,
        error(AssertionError, "ids: expected 1 ids, one per vector, got 2"),
    ),
    Case(
        "codes of another size",
        "flat",
        lambda i: i.sa_decode(fill((2, i.sa_code_size() - 1), np.uint8)),
        AssertionError,
        error(AssertionError, r"codes must have shape \(n, 7\), got \(2, 6\)"),
    ),
]
