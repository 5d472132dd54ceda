"""Vectors of the wrong kind."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.exceptions import ComplexWarning
from support.bad_input.harness import NAN, Case, X, error, missing, plain, returns, then


def column(rows: Any) -> Any:
    return pd.Series(list(rows))


CASES = [
    Case(
        "x of another d",
        "flat",
        lambda i: i.search(X[:2, :4], 3),
        AssertionError,
        error(AssertionError, "x has 4 dimensions, expected 8"),
    ),
    Case(
        "x of another d, added",
        "flat",
        lambda i: i.add(X[:2, :4]),
        AssertionError,
        error(ValueError, "x has 4 dimensions, expected 8"),
    ),
    Case(
        "x of one dimension",
        "flat",
        lambda i: i.search(X[0], 3),
        ValueError,
        error(ValueError, r"x must have shape \(n, d\), got shape \(8,\).*x\[None, :\]"),
    ),
    Case("x as a list", "flat", lambda i: i.search(X[:2].tolist(), 3), AttributeError, plain),
    Case(
        "x in Fortran order", "flat", lambda i: i.search(np.asfortranarray(X[:2]), 3), plain, plain
    ),
    Case("x as float64", "flat", lambda i: i.search(X[:2].astype("f8"), 3), plain, plain),
    Case("x as float16", "flat", lambda i: i.search(X[:2].astype("f2"), 3), plain, plain),
    Case("x of integers", "flat", lambda i: i.search(np.ones((2, 8), int), 3), plain, plain),
    Case(
        "x of the other byte order",
        "flat",
        lambda i: i.search(X[:2].astype(">f4"), 3),
        plain,
        plain,
    ),
    Case(
        "x as a view with gaps",
        "flat",
        lambda i: i.search(np.repeat(X, 2, axis=1)[:2, ::2], 3),
        plain,
        plain,
    ),
    Case(
        "x as a column of arrays", "flat", lambda i: i.search(column(X[:2]), 3), ValueError, plain
    ),
    Case(
        "x as a column with a null",
        "flat",
        lambda i: i.search(column([*X[:2], None]), 3),
        ValueError,
        error(ValueError, "x: row 2: expected 8 numbers, got null"),
    ),
    Case(
        "x masked in places",
        "flat",
        lambda i: i.search(np.ma.masked_greater(X[:2], 0), 3),
        plain,
        error(ValueError, r"x is a masked array with .* fill them, x.filled\(value\), or drop"),
    ),
    Case(
        "x of complex numbers",
        "flat",
        lambda i: i.search(X[:2].astype("c8"), 3),
        ComplexWarning,
        error(TypeError, "x must hold real numbers, got dtype complex64"),
    ),
    Case(
        "x of objects",
        "flat",
        lambda i: i.search(X[:2].astype(object), 3),
        plain,
        error(TypeError, "x must hold real numbers, got dtype object"),
    ),
    Case(
        "no queries",
        "flat",
        lambda i: i.search(X[:0], 3),
        lambda r: r[0].shape == r[1].shape == (0, 3),
        lambda r: r[0].shape == r[1].shape == (0, 3),
    ),
    Case(
        "nothing to add",
        "flat",
        lambda i: then(i, lambda j: j.add(X[:0]), lambda j: j.ntotal),
        returns(300),
        returns(300),
    ),
    Case(
        "a NaN or an infinity in a query",
        "flat",
        lambda i: i.search(NAN, 2),
        missing,
        error(ValueError, "x: row 0 "),
    ),
    Case(
        "a NaN or an infinity, added",
        "flat",
        lambda i: then(i, lambda j: j.add(NAN), lambda j: j.ntotal),
        returns(303),
        error(ValueError, "x: row 0 "),
    ),
]
