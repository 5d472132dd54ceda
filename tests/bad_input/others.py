"""Other indexes, and codes."""

from __future__ import annotations

import faiss
import numpy as np

from bad_input.harness import Case, error, fill, returns, then

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
        error(ValueError, "otherIndex is the index itself"),
    ),
    Case(
        "codes of another dtype",
        "flat",
        lambda i: i.sa_decode(fill((2, i.sa_code_size()), np.int32)),
        TypeError,
        error(TypeError, "codes must be uint8, got dtype int32"),
    ),
    Case(
        "codes of another size",
        "flat",
        lambda i: i.sa_decode(fill((2, i.sa_code_size() - 1), np.uint8)),
        AssertionError,
        error(AssertionError, r"codes must have shape \(n, 7\), got \(2, 6\)"),
    ),
]
