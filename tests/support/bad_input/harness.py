"""Cases of bad input, the indexes that they are tried on, and checks of results."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np

import waterfill as wf

X = np.random.default_rng(0).standard_normal((300, 8)).astype(np.float32)
NAN = np.where(np.arange(8) == 3, np.nan, X[:3]).astype(np.float32)
IDS = np.arange(300) * 3
WORST = np.finfo(np.float32).max


@functools.cache
def codec(nlist: int = 0) -> wf.Codec:
    return wf.Codec.train(X, wf.Plan.waterfill(wf.analyze(X), 6), cells=nlist, metric="l2")


def ours(kind: str) -> Any:
    if kind == "untrained":
        return wf.IndexFlat(wf.Recipe(8, 6), "l2")
    if kind == "untrained lists":
        return wf.IndexIVF(wf.Recipe(8, 6), 4, metric="l2")
    if kind == "empty":
        return wf.IndexFlat(codec(), "l2")
    index = wf.IndexIVF(codec(4), 4, metric="l2") if kind == "lists" else ours("empty")
    if kind == "ids":
        index.add_with_ids(X, IDS)
    else:
        index.add(X)
    return index


def theirs(kind: str) -> Any:
    if kind == "untrained":
        return faiss.IndexPQ(8, 2, 4)
    if kind == "untrained lists":
        return faiss.IndexIVFFlat(cells(), 8, 4)
    if kind == "lists":
        index = faiss.IndexIVFFlat(cells(), 8, 4)
        index.train(X)
        index.add(X)
        return index
    index = faiss.IndexFlatL2(8)
    if kind == "ids":
        index = faiss.IndexIDMap2(index)
        index.add_with_ids(X, IDS)
    elif kind != "empty":
        index.add(X)
    return index


def cells() -> Any:
    return faiss.IndexFlatL2(8)


@dataclass(frozen=True)
class Case:
    """A call, its expected outcome, and the row of the page that documents it.

    `faiss` and `waterfill` are the type of the error (with a pattern), or a check of the result;
    None where FAISS must not be called, because it would end the process or read memory out of
    bounds.
    """

    row: str
    kind: str
    call: Callable[[Any], Any]
    faiss: Any
    waterfill: Any


def plain(result: Any) -> bool:
    """Return whether the result has the types and shape of a regular search with X[:2]."""
    return result[0].dtype == np.float32 and result[1].dtype == np.int64 and len(result[1]) == 2


def found(ids: Any) -> Callable[[Any], bool]:
    return lambda result: np.array_equal(np.sort(result[1].ravel()), np.sort(ids))


def missing(result: Any) -> bool:
    return (result[1] == -1).all() and (result[0] == WORST).all()


def returns(value: Any) -> Callable[[Any], bool]:
    return lambda result: result is value or result == value


def error(kind: type[Exception], pattern: str) -> tuple[type[Exception], str]:
    return kind, pattern


def then(index: Any, *steps: Callable[[Any], Any]) -> Any:
    return [step(index) for step in steps][-1]


def fill(shape: tuple[int, ...], dtype: Any, **options: Any) -> np.ndarray:
    return np.zeros(shape, dtype, **options)


def only(*ids: int) -> Any:
    return faiss.SearchParameters(sel=faiss.IDSelectorArray(np.array(ids)))
