"""Validation of requests: vectors, ids, k and search parameters."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from waterfill._util.validation import as_int, as_number, as_positive_int
from waterfill.data.rows import FloatRows, Rows
from waterfill.index.search_parameters import SearchParameters
from waterfill.index.selectors import IDSelectorArray
from waterfill.server.request_body import DTYPES, FLOATS, Body, read_object
from waterfill.server.responses import Problem
from waterfill.server.settings import ServerSettings

SEARCH_FIELDS = ("vectors", "vector", "k", "nprobe", "k_factor", "ids")
ADD_FIELDS = ("vectors", "ids")
REMOVE_FIELDS = ("ids",)
DEFAULT_K = 10
MAX_K_FACTOR = 1000
MAX_NPROBE = 2**31 - 1


@dataclass(frozen=True)
class Search:
    """A validated search."""

    rows: FloatRows
    k: int
    params: SearchParameters


@dataclass(frozen=True)
class Addition:
    """Validated vectors to add, with or without ids."""

    rows: FloatRows
    ids: NDArray[np.int64] | None


def read_search(body: Body, index: Any, settings: ServerSettings) -> Search:
    """Validate a search; raise Problem if it is invalid."""
    try:
        if body.kind == FLOATS:
            fields = _query_numbers(body.query, ("k", "nprobe", "k_factor"))
            rows = _floats(body, index.d, settings)
        else:
            fields = read_object(body.data, SEARCH_FIELDS)
            _refuse_query(body)
            rows = _vectors(fields, index.d, settings)
        k = _bounded("k", as_positive_int("k", fields.get("k", DEFAULT_K)), settings.max_k)
        return Search(rows, k, _parameters(fields, index))
    except (ValueError, TypeError) as error:
        raise Problem(422, str(error)) from None


def read_addition(
    body: Body, index: Any, settings: ServerSettings, *, replaces: bool = False
) -> Addition:
    """Validate vectors to add; raise Problem if they are invalid.

    replaces: they take the place of vectors with the same ids, so that ids are required.
    """
    try:
        _refuse_query(body)
        if body.kind == FLOATS:
            return Addition(_floats(body, index.d, settings), None)
        fields = read_object(body.data, ADD_FIELDS)
        if replaces:
            _required(fields, "ids")
        rows = _matrix("vectors", _required(fields, "vectors"), index.d, settings)
        ids = _ids(fields["ids"]) if "ids" in fields else None
        if ids is not None and len(ids) != len(rows):
            raise ValueError(
                f"ids must have one id for each of {len(rows)} vectors, got {len(ids)}"
            )
        if ids is not None and (ids == -1).any():
            raise ValueError("ids must not contain -1, which marks missing results")
        if replaces and ids is not None and len(set(ids.tolist())) != len(ids):
            raise ValueError("ids must be distinct: each vector replaces those with its id")
        return Addition(rows, ids)
    except (ValueError, TypeError) as error:
        raise Problem(422, str(error)) from None


def read_removal(body: Body) -> NDArray[np.int64]:
    """Validate ids to remove; raise Problem if they are invalid."""
    try:
        _refuse_query(body)
        return _ids(_required(read_object(body.data, REMOVE_FIELDS), "ids"))
    except (ValueError, TypeError) as error:
        raise Problem(422, str(error)) from None


def read_id(text: str) -> NDArray[np.int64]:
    """Validate the id in a path; raise Problem if it is invalid."""
    if not re.fullmatch(r"-?[0-9]{1,19}", text) or not -(2**63) <= int(text) < 2**63:
        raise Problem(422, f"the id must be an integer within int64, got {text!r}")
    return np.array([int(text)], np.int64)


def _vectors(fields: dict[str, Any], d: int, settings: ServerSettings) -> FloatRows:
    if ("vector" in fields) == ("vectors" in fields):
        raise ValueError("expected either vectors (an array of vectors) or vector (a single one)")
    if "vectors" in fields:
        return _matrix("vectors", fields["vectors"], d, settings)
    vector = fields["vector"]
    if not isinstance(vector, list):
        raise TypeError(f"vector must be an array of {d} numbers, got {vector!r}")
    return _matrix("vector", [vector], d, settings)


def _matrix(name: str, value: Any, d: int, settings: ServerSettings) -> FloatRows:
    if not isinstance(value, list) or not value:
        raise TypeError(f"{name} must be an array of arrays of {d} numbers, got {value!r}")
    _bounded(f"len({name})", len(value), settings.max_vectors)
    return _as_rows(value, name, d)


def _floats(body: Body, d: int, settings: ServerSettings) -> FloatRows:
    dtype = np.dtype(DTYPES[body.dtype])
    size, row = len(body.data), dtype.itemsize * d
    n = size // row if body.n is None else body.n
    if not size or size != n * row:
        declared = "" if body.n is None else f", {n * row} for n={n}"
        raise ValueError(
            f"the body must have {row} bytes for each vector ({d} little-endian {body.dtype})"
            f"{declared}, got {size} bytes{_fitting(size, body.n, d)}"
        )
    _bounded("number of vectors", n, settings.max_vectors)
    return _as_rows(np.frombuffer(body.data, dtype).reshape(n, d), "the body", d)


def _fitting(size: int, n: int | None, d: int) -> str:
    """Return the type that a body of `n` vectors has by its size, as a hint."""
    fits = [
        name for name, dtype in DTYPES.items() if n and n * d * np.dtype(dtype).itemsize == size
    ]
    return f", which is dtype={fits[0]}" if fits else ""


def _as_rows(value: Any, name: str, d: int) -> FloatRows:
    return np.concatenate([block for _, block in Rows(value, name, d).blocks()])


def _parameters(fields: dict[str, Any], index: Any) -> SearchParameters:
    sel = nprobe = k_factor = None
    if "ids" in fields:
        sel = IDSelectorArray(_ids(fields["ids"]))
    if "nprobe" in fields:
        nprobe = _bounded("nprobe", as_positive_int("nprobe", fields["nprobe"]), MAX_NPROBE)
        if not hasattr(index, "nlist"):
            raise ValueError(
                f"nprobe={nprobe} is for indexes with inverted lists; this one has none"
            )
    if "k_factor" in fields:
        k_factor = as_number("k_factor", fields["k_factor"], 1, finite=True)
        _bounded("k_factor", k_factor, MAX_K_FACTOR)
    return SearchParameters(sel=sel, nprobe=nprobe, k_factor=k_factor)


def _ids(value: Any) -> NDArray[np.int64]:
    if not isinstance(value, list):
        raise TypeError(f"ids must be an array of integers, got {value!r}")
    for item in value:
        if type(item) is not int or not -(2**63) <= item < 2**63:
            raise TypeError(f"ids must hold integers within int64, got {item!r}")
    return np.array(value, np.int64)


def _required(fields: dict[str, Any], name: str) -> Any:
    if name not in fields:
        raise ValueError(f"{name} is missing")
    return fields[name]


def _bounded(name: str, value: Any, maximum: int) -> Any:
    if value > maximum:
        raise ValueError(f"{name}={value} must be at most {maximum}")
    return value


def _refuse_query(body: Body) -> None:
    for name in body.query:
        if body.kind == FLOATS:
            raise ValueError(f"unexpected {name!r} in the URL, expected dtype, n")
        raise ValueError(
            f"unexpected {name!r} in the URL: with JSON all parameters belong in the body"
        )


def _query_numbers(query: dict[str, str], names: tuple[str, ...]) -> dict[str, Any]:
    """Parse the numbers in the URL."""
    numbers: dict[str, Any] = {}
    for name, value in query.items():
        if name not in names:
            raise ValueError(
                f"unknown parameter {name!r} in the URL, expected {', '.join(names)}, dtype, n"
            )
        try:
            numbers[name] = float(value) if name == "k_factor" else int(value)
        except ValueError:
            raise ValueError(f"{name} must be a number, got {value!r}") from None
    as_int("k", numbers.get("k", DEFAULT_K))
    return numbers
