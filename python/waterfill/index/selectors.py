"""Which ids a search or a removal is about: selectors of our own, and any of FAISS's.

`program` turns a selector into what the core evaluates inside the scan: a list of steps in postfix
order. FAISS is never imported here: an object can only be one of its selectors if it is loaded.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from waterfill._util.optional import loaded_faiss
from waterfill._util.validation import as_int64
from waterfill.errors import ArgumentError

Ids = NDArray[np.int64]
Step = tuple[Any, ...]
"""A step of a program, its operands before it.

``('range', imin, imax)``, ``('set', ids)`` with ids int64, rising and unique, ``('bitmap', bytes)``
with bit i of byte i // 8 from the lowest, ``('all',)``, ``('not',)``, ``('and',)``, ``('or',)``,
``('xor',)``.
"""


class IDSelector:
    """Base of the selectors below, which have the names and arguments of FAISS's.

    They need no FAISS. A selector of FAISS may stand inside one of ours, not the other way round.
    """


@dataclass(frozen=True)
class IDSelectorRange(IDSelector):
    """Ids from `imin` up to, and without, `imax`.

    Parameters
    ----------
    imin, imax : int
        Within int64.
    assume_sorted : bool
        Changes nothing here: FAISS has it.

    Raises
    ------
    TypeError, ValueError
        If a border is no int, or not within int64.
    """

    imin: int
    imax: int
    assume_sorted: bool = False

    def __post_init__(self) -> None:
        for name in ("imin", "imax"):
            object.__setattr__(self, name, as_int64(name, getattr(self, name)))


@dataclass(frozen=True, eq=False)
class IDSelectorArray(IDSelector):
    """The ids of an array, in any order; repeated ones count once. Also named IDSelectorBatch.

    Parameters
    ----------
    ids : array_like of int, shape (n,)
        Copied.

    Raises
    ------
    TypeError
        If `ids` are not integers.
    ValueError
        For another shape, or ids that are not within int64.
    """

    ids: Ids

    def __post_init__(self) -> None:
        ids = np.array(_rising(as_ids(self.ids)))
        ids.setflags(write=False)
        object.__setattr__(self, "ids", ids)


IDSelectorBatch = IDSelectorArray


@dataclass(frozen=True, eq=False)
class IDSelectorBitmap(IDSelector):
    """Ids whose bit is set: bit ``i % 8`` (0 the lowest) of byte ``i // 8``.

    ``np.packbits(mask, bitorder="little")`` makes one of a mask. Ids beyond it are not selected.

    Parameters
    ----------
    bitmap : uint8 (n,)
        Copied.

    Raises
    ------
    TypeError
        If `bitmap` is no array of uint8.
    ValueError
        For another shape.
    """

    bitmap: NDArray[np.uint8]

    def __post_init__(self) -> None:
        given = self.bitmap
        if not isinstance(given, np.ndarray) or given.dtype != np.uint8:
            what = f"dtype {given.dtype}" if isinstance(given, np.ndarray) else type(given).__name__
            raise TypeError(f"bitmap must be an array of uint8, got {what}")
        if given.ndim != 1:
            raise ValueError(f"bitmap must have shape (n,), got shape {given.shape}")
        bitmap = np.array(given, order="C")
        bitmap.setflags(write=False)
        object.__setattr__(self, "bitmap", bitmap)


@dataclass(frozen=True)
class IDSelectorAll(IDSelector):
    """Every id."""


@dataclass(frozen=True)
class IDSelectorNot(IDSelector):
    """Ids that `sel` does not select."""

    sel: Any

    def __post_init__(self) -> None:
        _require_selector(self.sel, "sel")


@dataclass(frozen=True)
class _Pair(IDSelector):
    lhs: Any
    rhs: Any

    def __post_init__(self) -> None:
        _require_selector(self.lhs, "lhs")
        _require_selector(self.rhs, "rhs")


class IDSelectorAnd(_Pair):
    """Ids that both `lhs` and `rhs` select."""


class IDSelectorOr(_Pair):
    """Ids that `lhs` or `rhs` selects, or both."""


class IDSelectorXOr(_Pair):
    """Ids that one of `lhs` and `rhs` selects, not both."""


@dataclass(frozen=True)
class Universe:
    """The ids of an index: what an opaque selector is asked about.

    Attributes
    ----------
    n : int
        How many there are.
    ids : callable
        ``ids(first, count)`` gives them as int64, in any order.
    version : hashable, optional
        Changes whenever they do. With it, the members of an IDSelectorBatch (which cannot change)
        are remembered from one search to the next.
    """

    n: int
    ids: Callable[[int, int], Ids]
    version: Hashable = None


def is_selector(value: object) -> bool:
    """Tell whether it is a selector, ours or one of FAISS's."""
    faiss = loaded_faiss()
    theirs = getattr(faiss, "IDSelector", None)
    return isinstance(value, IDSelector) or (theirs is not None and isinstance(value, theirs))


def program(sel: Any, universe: Universe) -> list[Step]:
    """Turn a selector into steps for the core.

    Parameters
    ----------
    sel : IDSelector or faiss.IDSelector
    universe : Universe
        FAISS's Range, Array, Bitmap, All, Not, And, Or and XOr are read. What cannot be (Batch, a
        Python callback, a class that we do not know) is asked about each of these ids, by FAISS's
        C++, and becomes a ``set``.

    Returns
    -------
    list of Step
        Operands first; valid while `sel` is alive and unchanged.

    Raises
    ------
    TypeError
        If `sel` is no selector.
    ValueError
        If one inside it is missing (a null pointer).
    """
    _require_selector(sel, "sel")
    steps: list[Step] = []
    waiting: list[Any] = [sel]  # a tree may be deeper than Python's stack
    while waiting:
        node = waiting.pop()
        step, children = _read_ours(node) if isinstance(node, IDSelector) else _read(node, universe)
        for child in children:
            _require_selector(child, f"a selector inside {type(node).__name__}")
        steps.append(step)
        waiting.extend(children)
    steps.reverse()  # from a node before its operands to the operands before it
    return steps


def as_ids(ids: Any, name: str = "ids") -> Ids:
    """Return `ids` as int64 (n,), or say by name what is wrong with them."""
    array = np.asarray(ids)
    if array.ndim != 1:
        raise ArgumentError(f"{name} must have shape (n,), got shape {array.shape}")
    if array.size == 0:
        return np.empty(0, dtype=np.int64)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name} must be integers, got dtype {array.dtype}")
    if array.dtype.kind == "u" and array.dtype.itemsize == 8 and array.max() >= 2**63:
        raise ValueError(f"{name} has {array.max()}, which is not within int64")
    return np.ascontiguousarray(array, dtype=np.int64)


_OPERATORS: dict[type[_Pair], str] = {
    IDSelectorAnd: "and",
    IDSelectorOr: "or",
    IDSelectorXOr: "xor",
}


def _read_ours(sel: IDSelector) -> tuple[Step, tuple[Any, ...]]:
    if isinstance(sel, IDSelectorRange):
        return ("range", sel.imin, sel.imax), ()
    if isinstance(sel, IDSelectorArray):
        return ("set", sel.ids), ()
    if isinstance(sel, IDSelectorBitmap):
        return ("bitmap", sel.bitmap), ()
    if isinstance(sel, IDSelectorAll):
        return ("all",), ()
    if isinstance(sel, IDSelectorNot):
        return ("not",), (sel.sel,)
    for kind, name in _OPERATORS.items():
        if isinstance(sel, kind):
            return (name,), (sel.lhs, sel.rhs)
    raise TypeError(f"sel: {type(sel).__name__} is no selector that waterfill knows")


def _read(sel: Any, universe: Universe) -> tuple[Step, tuple[Any, ...]]:
    """Read a selector of FAISS; the proxy's class is the class of the C++ object, or a base."""
    faiss = loaded_faiss()
    if isinstance(sel, faiss.IDSelectorRange):
        return ("range", int(sel.imin), int(sel.imax)), ()
    if isinstance(sel, faiss.IDSelectorArray):
        return ("set", _rising(_view(sel.ids, sel.n, np.int64))), ()
    if isinstance(sel, faiss.IDSelectorBitmap):
        return ("bitmap", _view(sel.bitmap, sel.n, np.uint8)), ()
    if isinstance(sel, faiss.IDSelectorAll):
        return ("all",), ()
    if isinstance(sel, faiss.IDSelectorNot):
        return ("not",), (whole(sel, "sel"),)
    for name in ("And", "Or", "XOr"):
        if isinstance(sel, getattr(faiss, f"IDSelector{name}")):
            return (name.lower(),), (whole(sel, "lhs"), whole(sel, "rhs"))
    return ("set", _members(sel, universe)), ()


def whole(owner: Any, field: str) -> Any:
    """Return a field of a FAISS object as what it is, not as its base class.

    SWIG gives a proxy of the class that the field was declared with. FAISS's Python keeps the
    proxies that it was given beside the object: the one with the same address is the whole one.
    """
    part = getattr(owner, field)
    if part is None:
        return None
    kept = [*getattr(owner, "referenced_objects", ())]
    kept += getattr(owner, "_sp_field_refs", {}).values()
    flat = [x for item in kept for x in (item if isinstance(item, tuple) else (item,))]
    for proxy in flat:
        if isinstance(proxy, type(part)) and int(proxy.this) == int(part.this):
            return proxy
    return part


def _view(pointer: Any, n: int, dtype: Any) -> NDArray[Any]:
    """Copy n numbers from a pointer of SWIG's."""
    if n == 0:
        return np.empty(0, dtype=dtype)
    faiss = loaded_faiss()
    return np.array(faiss.rev_swig_ptr(pointer, int(n)), dtype=dtype)


def _rising(ids: Ids) -> Ids:
    return ids if (ids[1:] > ids[:-1]).all() else np.unique(ids)


_BLOCK = 1 << 16
_remembered: weakref.WeakKeyDictionary[Any, tuple[Hashable, Ids]] = weakref.WeakKeyDictionary()
_guard = threading.Lock()


def _members(sel: Any, universe: Universe) -> Ids:
    faiss = loaded_faiss()
    batch = isinstance(sel, faiss.IDSelectorBatch)
    with _guard:
        version, members = _remembered.get(sel, (None, None)) if batch else (None, None)
    if members is not None and version is not None and version == universe.version:
        return members
    ask = _ask_by_search if batch else _ask_by_removal
    parts = [np.empty(0, dtype=np.int64)]
    for first in range(0, universe.n, _BLOCK):
        count = min(_BLOCK, universe.n - first)
        ids = np.ascontiguousarray(universe.ids(first, count), dtype=np.int64)
        parts.append(ids[ask(sel, ids)])
    members = _rising(np.concatenate(parts))
    if batch and universe.version is not None:
        with _guard:
            _remembered[sel] = universe.version, members
    return members


def _translated(sel: Any, ids: Ids) -> tuple[Any, Any]:
    """Return a selector of positions in `ids`, and what it points to."""
    faiss = loaded_faiss()
    held = faiss.Int64Vector()
    faiss.copy_array_to_vector(ids, held)
    return faiss.IDSelectorTranslated(held, sel), held


def _ask_by_search(sel: Any, ids: Ids) -> NDArray[np.int64]:
    """Let a range search say which positions are members: the fastest way there is from Python."""
    faiss = loaded_faiss()
    flat = faiss.IndexFlat(1, faiss.METRIC_L2)
    flat.add(np.zeros((len(ids), 1), dtype=np.float32))
    translated, _held = _translated(sel, ids)
    params = faiss.SearchParameters(sel=translated)
    found: NDArray[np.int64] = flat.range_search(np.zeros((1, 1), "f4"), 1.0, params=params)[2]
    return np.sort(found)


def _ask_by_removal(sel: Any, ids: Ids) -> NDArray[np.int64]:
    """Remove the members from an index of positions and see which are left.

    Slower than a search, but it asks once for each id, on this thread, and an error in a Python
    callback comes back as such; in a search it would end the process.
    """
    faiss = loaded_faiss()
    flat = faiss.IndexFlat(1, faiss.METRIC_L2)
    flat.add(np.arange(len(ids), dtype=np.int32).view(np.float32)[:, None])
    translated, _held = _translated(sel, ids)
    flat.remove_ids(translated)
    left = np.asarray(faiss.vector_to_array(flat.codes)).view(np.int32)
    return np.delete(np.arange(len(ids)), left)


def _require_selector(value: object, name: str) -> None:
    if value is None and not name.isidentifier():
        raise ValueError(f"{name} is missing")
    if not is_selector(value):
        raise TypeError(
            f"{name} must be a waterfill or FAISS IDSelector, got {type(value).__name__}"
        )
