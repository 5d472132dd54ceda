"""What is asked for: vectors, k and parameters, checked by name before anything is searched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from waterfill._util.validation import as_int, as_number, as_positive_int
from waterfill.data.rows import FloatRows, Rows
from waterfill.index.search_parameters import SearchParameters
from waterfill.index.selectors import IDSelectorArray
from waterfill.server.request_body import FLOATS, Body, read_object
from waterfill.server.responses import Problem
from waterfill.server.settings import ServerSettings

SEARCH_FIELDS = ("vectors", "vector", "k", "nprobe", "k_factor", "ids")
ADD_FIELDS = ("vectors", "ids")
USUAL_K = 10
MOST_K_FACTOR = 1000
MOST_LISTS = 2**31 - 1


@dataclass(frozen=True)
class Search:
    """One request's search."""

    rows: FloatRows
    k: int
    params: SearchParameters


@dataclass(frozen=True)
class Addition:
    """Vectors to add, with ids or without."""

    rows: FloatRows
    ids: NDArray[np.int64] | None


def read_search(body: Body, index: Any, settings: ServerSettings) -> Search:
    """Read a search; Problem if it cannot be made."""
    try:
        if body.kind == FLOATS:
            fields = _numbers_of_query(body.query, ("k", "nprobe", "k_factor"))
            rows = _floats(body.data, index.d, settings)
        else:
            fields = read_object(body.data, SEARCH_FIELDS)
            _refuse_query(body)
            rows = _given_rows(fields, index.d, settings)
        k = _bounded("k", as_positive_int("k", fields.get("k", USUAL_K)), settings.max_k)
        return Search(rows, k, _parameters(fields, index))
    except (ValueError, TypeError) as error:
        raise Problem(422, str(error)) from None


def read_addition(body: Body, index: Any, settings: ServerSettings) -> Addition:
    """Read what is to be added; Problem if it cannot be."""
    try:
        _refuse_query(body)
        if body.kind == FLOATS:
            return Addition(_floats(body.data, index.d, settings), None)
        fields = read_object(body.data, ADD_FIELDS)
        rows = _matrix("vectors", _needed(fields, "vectors"), index.d, settings)
        ids = _ids(fields["ids"]) if "ids" in fields else None
        if ids is not None and len(ids) != len(rows):
            raise ValueError(
                f"ids has {len(ids)} ids, wanted is one for each of {len(rows)} vectors"
            )
        if ids is not None and (ids == -1).any():
            raise ValueError("ids has -1, which stands for none; any other is taken")
        return Addition(rows, ids)
    except (ValueError, TypeError) as error:
        raise Problem(422, str(error)) from None


def _given_rows(fields: dict[str, Any], d: int, settings: ServerSettings) -> FloatRows:
    if ("vector" in fields) == ("vectors" in fields):
        raise ValueError("wanted is one of vectors, an array of vectors, and vector, a single one")
    if "vectors" in fields:
        return _matrix("vectors", fields["vectors"], d, settings)
    vector = fields["vector"]
    if not isinstance(vector, list):
        raise TypeError(f"vector is {vector!r}, wanted is an array of {d} numbers")
    return _matrix("vector", [vector], d, settings)


def _matrix(name: str, given: Any, d: int, settings: ServerSettings) -> FloatRows:
    if not isinstance(given, list) or not given:
        raise TypeError(f"{name} is {given!r}, wanted is an array of arrays of {d} numbers")
    _bounded(f"len({name})", len(given), settings.max_vectors)
    return _checked(given, name, d)


def _floats(data: bytes, d: int, settings: ServerSettings) -> FloatRows:
    if not data or len(data) % (4 * d):
        raise ValueError(
            f"the body has {len(data)} bytes, wanted are {4 * d} for each vector: {d} "
            "little-endian float32"
        )
    _bounded("number of vectors", len(data) // (4 * d), settings.max_vectors)
    return _checked(np.frombuffer(data, "<f4").reshape(-1, d), "the body", d)


def _checked(given: Any, name: str, d: int) -> FloatRows:
    rows = Rows(given, name, d)
    return np.concatenate([block for _, block in rows.blocks()])


def _parameters(fields: dict[str, Any], index: Any) -> SearchParameters:
    sel = nprobe = k_factor = None
    if "ids" in fields:
        sel = IDSelectorArray(_ids(fields["ids"]))
    if "nprobe" in fields:
        nprobe = _bounded("nprobe", as_positive_int("nprobe", fields["nprobe"]), MOST_LISTS)
        if not hasattr(index, "nlist"):
            raise ValueError(f"nprobe={nprobe} is for inverted lists, the index has none")
    if "k_factor" in fields:
        k_factor = as_number("k_factor", fields["k_factor"], 1, finite=True)
        _bounded("k_factor", k_factor, MOST_K_FACTOR)
    return SearchParameters(sel=sel, nprobe=nprobe, k_factor=k_factor)


def _ids(given: Any) -> NDArray[np.int64]:
    if not isinstance(given, list):
        raise TypeError(f"ids is {given!r}, wanted is an array of integers")
    for each in given:
        if type(each) is not int or not -(2**63) <= each < 2**63:
            raise TypeError(f"ids has {each!r}, wanted are integers within int64")
    return np.array(given, np.int64)


def _needed(fields: dict[str, Any], name: str) -> Any:
    if name not in fields:
        raise ValueError(f"{name} is missing")
    return fields[name]


def _bounded(name: str, value: Any, most: int) -> Any:
    if value > most:
        raise ValueError(f"{name}={value} must be at most {most}")
    return value


def _refuse_query(body: Body) -> None:
    for name in body.query:
        raise ValueError(f"{name!r} in the URL: with JSON everything is in the body")


def _numbers_of_query(query: dict[str, str], names: tuple[str, ...]) -> dict[str, Any]:
    """Read numbers of the URL."""
    found: dict[str, Any] = {}
    for name, value in query.items():
        if name not in names:
            raise ValueError(f"there is no {name!r} for the URL, only {', '.join(names)}")
        try:
            found[name] = float(value) if name == "k_factor" else int(value)
        except ValueError:
            raise ValueError(f"{name} is {value!r}, wanted is a number") from None
    as_int("k", found.get("k", USUAL_K))
    return found
