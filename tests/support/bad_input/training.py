"""Training too late, with too little, and again."""

from __future__ import annotations

from support.bad_input.harness import Case, X, error, returns, then

CASES = [
    Case(
        "search before train",
        "untrained",
        lambda i: i.search(X[:2], 3),
        RuntimeError,
        error(RuntimeError, r"IndexFlat is not trained: call train\(x\) first"),
    ),
    Case(
        "add before train",
        "untrained lists",
        lambda i: i.add(X),
        RuntimeError,
        error(RuntimeError, "IndexIVF is not trained"),
    ),
    Case(
        "sa_encode before train",
        "untrained",
        lambda i: i.sa_encode(X),
        lambda codes: codes.shape == (300, 1),
        error(RuntimeError, "IndexFlat is not trained"),
    ),
    Case(
        "train with no rows",
        "untrained",
        lambda i: i.train(X[:0]),
        RuntimeError,
        error(ValueError, "x has no rows"),
    ),
    Case(
        "train with fewer rows than lists",
        "untrained lists",
        lambda i: i.train(X[:3]),
        RuntimeError,
        error(ValueError, "x has 3 rows, too few for nlist=4 lists"),
    ),
    Case(
        "train again",
        "lists",
        lambda i: then(i, lambda j: j.train(X), lambda j: j.ntotal),
        returns(300),
        returns(300),
    ),
]
