"""Id selectors, waterfill's and FAISS's, and their translation for the core.

`program` translates a selector into a list of steps in postfix order, which the core evaluates
inside the scan. FAISS is never imported here: if it is not loaded, no object is one of its
selectors.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from waterfill._util.optional import loaded_faiss
from waterfill._util.validation import as_int64, refuse_masked
from waterfill.data.arrays import read_numbers
from waterfill.errors import ArgumentError
from waterfill.index.selector_graph import Ids, Step, distinct_nodes, members, postfix
from waterfill.index.selector_members import (
    Universe,
    id_blocks,
    members_by_faiss,
    sorted_unique,
)

_SHOWN_DEPTH = 4  # of nested selectors in a repr


class IDSelector:
    """Base class of the selectors, which have the names and arguments of FAISS's.

    They work without FAISS. A FAISS selector may be nested in one of these, but not the reverse.
    A selector may be an operand of several others: a search evaluates it once.
    """


@dataclass(frozen=True)
class IDSelectorRange(IDSelector):
    """Ids in the half-open range [imin, imax).

    Parameters
    ----------
    imin, imax : int
        Within int64.
    assume_sorted : bool
        Ignored; for compatibility with FAISS.

    Raises
    ------
    TypeError, ValueError
        If a bound is not an int within int64.
    """

    imin: int
    imax: int
    assume_sorted: bool = False

    def __post_init__(self) -> None:
        for name in ("imin", "imax"):
            object.__setattr__(self, name, as_int64(name, getattr(self, name)))


@dataclass(frozen=True, eq=False)
class IDSelectorArray(IDSelector):
    """The ids of an array, in any order. `IDSelectorBatch` is the same class.

    Parameters
    ----------
    ids : array_like of int, shape (n,)
        The array is copied. Duplicates are allowed.

    Raises
    ------
    TypeError
        If `ids` are not integers.
    ValueError
        If the shape is not (n,), or an id is not within int64.
    """

    ids: Ids

    def __post_init__(self) -> None:
        ids = np.array(sorted_unique(as_ids(self.ids)))
        ids.setflags(write=False)
        object.__setattr__(self, "ids", ids)


IDSelectorBatch = IDSelectorArray


@dataclass(frozen=True, eq=False)
class IDSelectorBitmap(IDSelector):
    """Ids i whose bit ``i % 8``, counted from the least significant, of byte ``i // 8`` is set.

    ``np.packbits(mask, bitorder="little")`` makes a bitmap from a mask. Ids beyond the bitmap are
    not selected.

    Parameters
    ----------
    bitmap : uint8 (n,)
        The array is copied.

    Raises
    ------
    TypeError
        If `bitmap` is not an array of uint8.
    ValueError
        If the shape is not (n,).
    """

    bitmap: NDArray[np.uint8]

    def __post_init__(self) -> None:
        given = self.bitmap
        if not isinstance(given, np.ndarray) or given.dtype != np.uint8:
            what = f"dtype {given.dtype}" if isinstance(given, np.ndarray) else type(given).__name__
            raise TypeError(f"bitmap must be an array of uint8, got {what}")
        if given.ndim != 1:
            raise ValueError(f"bitmap must have shape (n,), got shape {given.shape}")
        refuse_masked(given, "bitmap")
        bitmap = np.array(given, order="C", subok=False)
        bitmap.setflags(write=False)
        object.__setattr__(self, "bitmap", bitmap)


@dataclass(frozen=True)
class IDSelectorAll(IDSelector):
    """All ids."""


class _Operator(IDSelector):
    """A selector with operands, which may be shared and deeply nested."""

    def __post_init__(self) -> None:
        for name, operand in vars(self).items():
            _require_selector(operand, name)

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        numbers: dict[Hashable, int] = {}
        return _structure(self, numbers) == _structure(other, numbers)

    def __hash__(self) -> int:
        numbers: dict[Hashable, int] = {}
        _structure(self, numbers)
        return hash(tuple(numbers))

    def __repr__(self) -> str:
        return _shown(self, _SHOWN_DEPTH)


@dataclass(frozen=True, eq=False, repr=False)
class IDSelectorNot(_Operator):
    """Ids that a selector leaves out.

    Parameters
    ----------
    sel : IDSelector or faiss.IDSelector
        The selector.

    Raises
    ------
    TypeError
        If `sel` is not a selector.
    """

    sel: Any


@dataclass(frozen=True, eq=False, repr=False)
class _Pair(_Operator):
    lhs: Any
    rhs: Any


class IDSelectorAnd(_Pair):
    """Ids that are in both of two selectors.

    Parameters
    ----------
    lhs, rhs : IDSelector or faiss.IDSelector
        The selectors.

    Raises
    ------
    TypeError
        If one of them is not a selector.
    """


class IDSelectorOr(_Pair):
    """Ids that are in one of two selectors, or in both.

    Parameters
    ----------
    lhs, rhs : IDSelector or faiss.IDSelector
        The selectors.

    Raises
    ------
    TypeError
        If one of them is not a selector.
    """


class IDSelectorXOr(_Pair):
    """Ids that are in exactly one of two selectors.

    Parameters
    ----------
    lhs, rhs : IDSelector or faiss.IDSelector
        The selectors.

    Raises
    ------
    TypeError
        If one of them is not a selector.
    """


def is_selector(value: object) -> bool:
    """Return whether a value is a waterfill or FAISS selector."""
    faiss = loaded_faiss()
    theirs = getattr(faiss, "IDSelector", None)
    return isinstance(value, IDSelector) or (theirs is not None and isinstance(value, theirs))


def program(sel: Any, universe: Universe) -> list[Step]:
    """Turn a selector into steps for the core.

    Parameters
    ----------
    sel : IDSelector or faiss.IDSelector
    universe : Universe
        FAISS's Range, Array, Bitmap, All, Not, And, Or and XOr are translated directly. Any other
        selector (Batch, a Python callback, an unknown class) is evaluated by FAISS for each of
        these ids, and becomes a ``set``.

    Returns
    -------
    list of Step
        Operands first; valid while `sel` is alive and unchanged.

    Raises
    ------
    TypeError
        If `sel` is not a selector.
    ValueError
        If a nested selector is a null pointer, or contains itself, or if there are more than
        100,000 distinct ones.
    """
    _require_selector(sel, "sel")
    nodes = distinct_nodes(sel, _identity, lambda node: _read_checked(node, universe))
    steps = postfix(nodes)
    if steps is not None:
        return steps
    parts = [members(nodes, ids) for ids in id_blocks(universe)]
    return [("set", sorted_unique(np.concatenate([np.empty(0, dtype=np.int64), *parts])))]


def as_ids(ids: Any, name: str = "ids") -> Ids:
    """Return `ids` as int64 (n,); errors name them."""
    array = read_numbers(ids, name)
    if array.ndim != 1:
        raise ArgumentError(f"{name} must have shape (n,), got shape {array.shape}")
    if array.size == 0:
        return np.empty(0, dtype=np.int64)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name} must be integers, got dtype {array.dtype}")
    if array.dtype.kind == "u" and array.dtype.itemsize == 8 and array.max() >= 2**63:
        raise ValueError(f"{name} has {array.max()}, which is not within int64")
    return np.ascontiguousarray(array, dtype=np.int64)


def _identity(sel: Any) -> Hashable:
    """Return the identity of a selector; several proxies may stand for one C++ object."""
    return id(sel) if isinstance(sel, IDSelector) else ("faiss", int(sel.this))


def _read_checked(sel: Any, universe: Universe) -> tuple[Step, tuple[Any, ...]]:
    step, operands = _read_ours(sel) if isinstance(sel, IDSelector) else _read(sel, universe)
    for operand in operands:
        _require_selector(operand, f"a selector inside {type(sel).__name__}")
    return step, operands


def _structure(sel: IDSelector, numbers: dict[Hashable, int]) -> int:
    """Return the number of a selector among distinct structures, which are added to `numbers`."""

    def read(inner: Any) -> tuple[Step, tuple[Any, ...]]:
        if isinstance(inner, _Operator):
            return (type(inner),), tuple(vars(inner).values())
        return (inner,), ()

    found: list[int] = []
    for node in distinct_nodes(sel, _identity, read):
        structure = (node.step, tuple(found[operand] for operand in node.operands))
        found.append(numbers.setdefault(structure, len(numbers)))
    return found[-1]


def _shown(sel: Any, depth: int) -> str:
    if not isinstance(sel, _Operator):
        return repr(sel)
    if depth == 0:
        return f"{type(sel).__name__}(...)"
    operands = (f"{name}={_shown(inner, depth - 1)}" for name, inner in vars(sel).items())
    return f"{type(sel).__name__}({', '.join(operands)})"


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
    raise TypeError(f"sel must be one of waterfill's selectors, got {type(sel).__name__}")


def _read(sel: Any, universe: Universe) -> tuple[Step, tuple[Any, ...]]:
    """Translate a FAISS selector; its proxy has the class of the C++ object or a base class."""
    faiss = loaded_faiss()
    if isinstance(sel, faiss.IDSelectorRange):
        return ("range", int(sel.imin), int(sel.imax)), ()
    if isinstance(sel, faiss.IDSelectorArray):
        return ("set", sorted_unique(_copied(sel.ids, sel.n, np.int64))), ()
    if isinstance(sel, faiss.IDSelectorBitmap):
        return ("bitmap", _copied(sel.bitmap, sel.n, np.uint8)), ()
    if isinstance(sel, faiss.IDSelectorAll):
        return ("all",), ()
    if isinstance(sel, faiss.IDSelectorTranslated):
        own = getattr(sel, "waterfill_sel", None)  # see waterfill.faiss.functions
        if own is not None:
            return ("and",), (IDSelectorAll(), own)
        _require_translated(sel, universe)
    if isinstance(sel, faiss.IDSelectorNot):
        return ("not",), (typed_field(sel, "sel"),)
    for name in ("And", "Or", "XOr"):
        if isinstance(sel, getattr(faiss, f"IDSelector{name}")):
            return (name.lower(),), (typed_field(sel, "lhs"), typed_field(sel, "rhs"))
    return ("set", members_by_faiss(sel, universe)), ()


def _require_translated(sel: Any, universe: Universe) -> None:
    """Refuse a selector that would read beyond its ids: FAISS does not check."""
    size = int(sel.id_map.size())
    ids = universe.ids(0, universe.n)
    if len(ids) and (ids.min() < 0 or ids.max() >= size):
        raise ValueError(
            f"sel: an IDSelectorTranslated of {size} ids selects positions from 0 to {size - 1}, "
            f"and the index has ids from {ids.min()} to {ids.max()}; pass the selector that it "
            "translates"
        )


def typed_field(owner: Any, field: str) -> Any:
    """Return a field of a FAISS object with its dynamic type instead of its declared one.

    SWIG returns a proxy of the declared class. FAISS's Python layer keeps the original proxies with
    the object: the one with the same address has the dynamic type.
    """
    part = getattr(owner, field)
    if part is None:
        return None
    proxies = [*getattr(owner, "referenced_objects", ())]
    proxies += getattr(owner, "_sp_field_refs", {}).values()
    flat = [x for item in proxies for x in (item if isinstance(item, tuple) else (item,))]
    for proxy in flat:
        if isinstance(proxy, type(part)) and int(proxy.this) == int(part.this):
            return proxy
    return part


def _copied(pointer: Any, n: int, dtype: Any) -> NDArray[Any]:
    """Copy n numbers from a SWIG pointer."""
    if n == 0:
        return np.empty(0, dtype=dtype)
    faiss = loaded_faiss()
    return np.array(faiss.rev_swig_ptr(pointer, int(n)), dtype=dtype)


def _require_selector(value: object, name: str) -> None:
    if value is None and not name.isidentifier():
        raise ValueError(f"{name} is missing")
    if not is_selector(value):
        raise TypeError(
            f"{name} must be a waterfill or FAISS IDSelector, got {type(value).__name__}"
        )
