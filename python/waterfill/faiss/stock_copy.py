"""Copies of an index as objects of stock FAISS: `to_faiss` and the copy behind `Index.this`."""

from __future__ import annotations

import threading
import warnings
import weakref
from pathlib import Path
from typing import Any

from waterfill._util.optional import loaded_faiss, require_faiss
from waterfill.errors import FaissCopyWarning
from waterfill.faiss.export import export_faiss


def to_faiss(index: Any, *, offsets: bool = True, rows: bool = True) -> Any:
    """Make a stock FAISS index of the same codes: what `export_faiss` writes, in memory.

    Parameters
    ----------
    index : IndexFlat or IndexIVF
    offsets, rows : bool
        As `export_faiss`.

    Returns
    -------
    faiss.IndexPreTransform, IndexRefine or IndexIDMap2
        As it says in ``docs/faiss-export.md``. A copy: later changes of either do not change the
        other.

    Raises
    ------
    ImportError
        If FAISS is not installed: ``pip install "waterfill[faiss]"``.
    ValueError, TypeError, NotTrainedError
        As `export_faiss`.
    """
    faiss = require_faiss("to_faiss")
    # By way of a file, because deserialize_index wants all bytes in memory beside the index.
    import tempfile  # slow to import: it loads all compression modules

    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "index.faiss"
        export_faiss(index, path, offsets=offsets, rows=rows)
        return faiss.read_index(str(path))


_companions: weakref.WeakKeyDictionary[Any, _Companion] = weakref.WeakKeyDictionary()
_guard = threading.Lock()

_PARTS = {
    "IndexPreTransform": ["index"],
    "IndexRefine": ["base_index", "refine_index", "k_factor"],
    "IndexRefineFlat": ["base_index", "refine_index", "k_factor"],
}
_READ = "See docs/faiss-export.md."
_MESSAGES = {
    "stale": (
        "This index has changed since FAISS got its copy of it, which has now been made anew: what "
        "FAISS built on the copy before (an IndexRefineFlat, say) has other vectors now, and does "
        f"not know. {_READ}"
    ),
    "taken": (
        "FAISS has added to its copy of this index, or removed from it. That does not reach the "
        "index, of which FAISS now gets another copy; what was built on the first keeps it. "
        f"{_READ}"
    ),
}


def companion(index: Any) -> Any:
    """Return the stock FAISS equal of an index, as the index is now.

    It belongs to the index and lives as long: composites of FAISS (``IndexRefineFlat(index)``) keep
    its address, and in Python the index itself. After a change of the index the next call fills the
    same object anew; nothing may search in it meanwhile, as in any index of FAISS that changes.
    One that FAISS has changed is left to those who did, and others get a new one.

    Parameters
    ----------
    index : IndexFlat or IndexIVF

    Returns
    -------
    faiss.IndexPreTransform, IndexRefine or IndexIDMap2
        As `to_faiss`.

    Raises
    ------
    ImportError
        If FAISS is not installed: ``pip install "waterfill[faiss]"``.
    ValueError, NotTrainedError
        As `export_faiss`.

    Warns
    -----
    FaissCopyWarning
        Once for an index that has vectors, as the copy loses something of them; once when the copy
        was older than the index, and once when FAISS has changed it. And with every error: FAISS's
        functions turn it into a TypeError that does not say why.
    """
    with _guard:
        kept = _companions.get(index)
        if kept is None:
            kept = _companions[index] = _Companion()
    try:
        found, unsaid = kept.get(index)
    except (ValueError, RuntimeError, OSError) as error:
        _warn(f"FAISS cannot take this index: {error}")
        raise
    for state in unsaid:
        _warn(_MESSAGES.get(state) or _lossy(index))
        kept.said.add(state)  # not before, as FAISS asks again where a warning is an error
    return found


def _warn(message: str) -> None:
    warnings.warn(message, FaissCopyWarning, stacklevel=4)  # where somebody asks for index.this


class _Companion:
    """What FAISS has of one index.

    Two objects that never move: an IndexPreTransform or IndexRefine, whose parts are exchanged, and
    as soon as ids are explicit an IndexIDMap2 over it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._body: Any = None
        self._map: Any = None
        self._owned: list[Any] = []  # those of the two that Python deletes
        self._key: tuple[Any, ...] = ()  # what it was made of
        self._ntotal = 0
        self._retired: list[Any] = []  # those that FAISS has changed: composites may hold them
        self._states: dict[str, None] = {}  # what there is to say, in this order
        self.said: set[str] = set()

    def get(self, index: Any) -> tuple[Any, list[str]]:
        """Return the object, up to date, and what has not yet been said about it."""
        with self._lock, index._writing:  # codes are read: nobody adds or removes
            self._update(index)
            unsaid = [state for state in self._states if state not in self.said]
            return self._body if self._map is None else self._map, unsaid

    def _update(self, index: Any) -> None:
        core = index._trained()
        if self._body is not None:
            self._check_hands()
        key = core.version, getattr(index, "nprobe", None), index.k_factor
        if self._body is None or self._key != key:
            if self._body is not None and self._key[0] != core.version:
                self._states["stale"] = None
            self._fill(to_faiss(index), index)
            self._key, self._ntotal = key, index.ntotal
        if self._ntotal:
            self._states["lossy"] = None

    def _check_hands(self) -> None:
        """Retire a copy that FAISS has changed, or deletes itself (``own_fields``)."""
        owned = all(part.this.own() for part in self._owned)  # if not, they may be gone
        if owned and all(part.ntotal == self._ntotal for part in (self._body, *self._owned)):
            return
        if owned:
            self._states["taken"] = None
        self._retired += self._owned
        self._body = self._map = None

    def _fill(self, fresh: Any, index: Any) -> None:
        faiss = loaded_faiss()
        mapped = isinstance(fresh, faiss.IndexIDMap2)
        body = faiss.downcast_index(fresh.index) if mapped else fresh
        if self._body is None:
            # What the map owns it deletes. Python may not own it instead: SWIG's acquire() counts
            # a reference too few, and after some objects all of FAISS's classes are gone.
            self._owned = [fresh]
            self._body, self._map = body, fresh if mapped else None
            return
        # The fresh one takes the old parts with it.
        if hasattr(body, "chain"):
            self._body.chain.swap(body.chain)
        for part in _PARTS[type(body).__name__]:
            new, old = getattr(body, part), getattr(self._body, part)
            setattr(self._body, part, new)
            setattr(body, part, old)
        if mapped and self._map is None:
            self._body.ntotal = 0  # as IndexIDMap2 demands
            self._map = faiss.IndexIDMap2(self._body)
            self._owned.append(self._map)
        self._body.ntotal = body.ntotal
        if self._map is not None:  # it stays when ids are positions again
            faiss.copy_array_to_vector(index.ids(), self._map.id_map)
            self._map.ntotal = body.ntotal
            self._map.construct_rev_map()


def _lossy(index: Any) -> str:
    lost = "the scale of each vector and the search in stages"
    if getattr(index, "quantizer", None) is not None:
        lost += ", and the quantizer"
    if index.refine is not None and not isinstance(index.refine, str):
        lost += ", and the array to refine with"
    return (
        f"FAISS gets a copy of this index that has its codes and ids, but loses {lost}: it may "
        f"find fewer neighbours. waterfill.write_index keeps everything. {_READ}"
    )
