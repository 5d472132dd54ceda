"""The members of a selector that only FAISS can evaluate, found by asking FAISS for each id."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from waterfill._util.optional import loaded_faiss
from waterfill.index.selector_graph import Ids

_BLOCK = 1 << 16
_batch_members: weakref.WeakKeyDictionary[Any, tuple[Hashable, Ids]] = weakref.WeakKeyDictionary()
_batch_lock = threading.Lock()


@dataclass(frozen=True)
class Universe:
    """The ids of an index, for selectors whose members have to be enumerated.

    Attributes
    ----------
    n : int
        Number of ids.
    ids : callable
        ``ids(first, count)`` returns int64 ids, in any order.
    version : hashable, optional
        Changes when the ids do. With a version, the members of an IDSelectorBatch, which is
        immutable, are cached between searches.
    """

    n: int
    ids: Callable[[int, int], Ids]
    version: Hashable = None


def sorted_unique(ids: Ids) -> Ids:
    """Return ids in ascending order, each once.

    Not by ``numpy.unique``: its hash table (2.3 to 2.5) aborts the process if the interpreter ends
    while a daemon thread is in it.
    """
    if (ids[1:] > ids[:-1]).all():
        return ids
    ascending = np.sort(ids)
    first = np.ones(len(ascending), dtype=bool)
    first[1:] = ascending[1:] != ascending[:-1]
    unique: Ids = ascending[first]
    return unique


def members_by_faiss(sel: Any, universe: Universe) -> Ids:
    """Return the ids of an index that FAISS finds in a selector, ascending."""
    faiss = loaded_faiss()
    batch = isinstance(sel, faiss.IDSelectorBatch)
    with _batch_lock:
        version, known = _batch_members.get(sel, (None, None)) if batch else (None, None)
    if known is not None and version is not None and version == universe.version:
        return known
    ask = _ask_by_search if batch else _ask_by_removal
    parts = [ids[ask(sel, ids)] for ids in id_blocks(universe)]
    found = sorted_unique(np.concatenate([np.empty(0, dtype=np.int64), *parts]))
    if batch and universe.version is not None:
        with _batch_lock:
            _batch_members[sel] = universe.version, found
    return found


def id_blocks(universe: Universe) -> Iterator[Ids]:
    """Yield the ids of an index, a block at a time."""
    for first in range(0, universe.n, _BLOCK):
        count = min(_BLOCK, universe.n - first)
        yield np.ascontiguousarray(universe.ids(first, count), dtype=np.int64)


def _translated(sel: Any, ids: Ids) -> tuple[Any, Any]:
    """Return a selector of positions in `ids`, and the vector that it points to."""
    faiss = loaded_faiss()
    held = faiss.Int64Vector()
    faiss.copy_array_to_vector(ids, held)
    return faiss.IDSelectorTranslated(held, sel), held


def _ask_by_search(sel: Any, ids: Ids) -> NDArray[np.int64]:
    """Return the positions of members by a range search, the fastest way from Python."""
    faiss = loaded_faiss()
    flat = faiss.IndexFlat(1, faiss.METRIC_L2)
    flat.add(np.zeros((len(ids), 1), dtype=np.float32))
    translated, _held = _translated(sel, ids)
    params = faiss.SearchParameters(sel=translated)
    found: NDArray[np.int64] = flat.range_search(np.zeros((1, 1), "f4"), 1.0, params=params)[2]
    return np.sort(found)


def _ask_by_removal(sel: Any, ids: Ids) -> NDArray[np.int64]:
    """Return the positions of members by removing them from an index of positions.

    Slower than a search, but FAISS calls a Python callback once per id on this thread and passes
    its exception on; in a search an exception would end the process.
    """
    faiss = loaded_faiss()
    flat = faiss.IndexFlat(1, faiss.METRIC_L2)
    flat.add(np.arange(len(ids), dtype=np.int32).view(np.float32)[:, None])
    translated, _held = _translated(sel, ids)
    flat.remove_ids(translated)
    left = np.asarray(faiss.vector_to_array(flat.codes)).view(np.int32)
    return np.delete(np.arange(len(ids)), left)
