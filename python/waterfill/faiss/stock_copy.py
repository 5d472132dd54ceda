"""Stock FAISS copies of an index: `to_faiss`, and the copy behind `Index.this`."""

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
    """Return a stock FAISS index with the same codes, as `export_faiss` writes it.

    Parameters
    ----------
    index : IndexFlat or IndexIVF
    offsets, rows : bool
        As `export_faiss`.

    Returns
    -------
    faiss.IndexPreTransform, IndexRefine or IndexIDMap2
        An independent copy; ``docs/faiss-export.md`` describes its structure.

    Raises
    ------
    ImportError
        If FAISS is not installed: ``pip install "waterfill[faiss]"``.
    ValueError, TypeError, NotTrainedError
        As `export_faiss`.
    """
    faiss = require_faiss("to_faiss")
    import tempfile  # slow to import: it loads the compression modules

    # A file needs less memory: deserialize_index would hold all bytes besides the index.
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "index.faiss"
        export_faiss(index, path, offsets=offsets, rows=rows)
        return faiss.read_index(str(path))


_copies: weakref.WeakKeyDictionary[Any, _StockCopy] = weakref.WeakKeyDictionary()
_copies_lock = threading.Lock()

_PARTS = {
    "IndexPreTransform": ["index"],
    "IndexRefine": ["base_index", "refine_index", "k_factor"],
    "IndexRefineFlat": ["base_index", "refine_index", "k_factor"],
}
_SEE_DOCS = "See docs/faiss-export.md."
_MESSAGES = {
    "stale": (
        "This index has changed since FAISS got its copy, and the copy has been updated. "
        "Composites built on the copy before (for example an IndexRefineFlat) now contain other "
        f"vectors and are out of date. {_SEE_DOCS}"
    ),
    "modified": (
        "FAISS has added vectors to its copy of this index or removed some. The change does not "
        "reach the index. FAISS now gets a new copy; composites built on the old copy keep it. "
        f"{_SEE_DOCS}"
    ),
}


def stock_copy(index: Any) -> Any:
    """Return the stock FAISS copy that belongs to an index, updated to its current state.

    The copy lives as long as the index: FAISS composites (``IndexRefineFlat(index)``) keep its
    address, and in Python a reference to the index. After a change of the index, the next call
    updates the same object in place; no search may run in it during the update, as in any FAISS
    index that changes. If FAISS has changed the copy, that copy is kept for the composites that use
    it, and a new one is created.

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
        Once per index with vectors, because the copy is lossy; once when the copy was out of date;
        once when FAISS has changed it. Also with every error, because FAISS's functions turn it
        into a TypeError without a reason.
    """
    with _copies_lock:
        copy = _copies.get(index)
        if copy is None:
            copy = _copies[index] = _StockCopy()
    try:
        stock, unreported = copy.get(index)
    except (ValueError, RuntimeError, OSError) as error:
        _warn(f"FAISS cannot take this index: {error}")
        raise
    for state in unreported:
        _warn(_MESSAGES.get(state) or _lossy_message(index))
        copy.reported.add(state)  # after the warning: a filter may raise it, and FAISS then retries
    return stock


def _warn(message: str) -> None:
    warnings.warn(message, FaissCopyWarning, stacklevel=4)  # points at index.this


class _StockCopy:
    """The stock copy of one index.

    Its objects keep their addresses: an IndexPreTransform or IndexRefine, whose parts an update
    exchanges, and an IndexIDMap2 around it once ids are explicit.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._body: Any = None
        self._map: Any = None
        self._owned: list[Any] = []  # objects that Python deletes
        self._key: tuple[Any, ...] = ()  # state of the index at the last update
        self._ntotal = 0
        self._retired: list[Any] = []  # changed by FAISS; composites may still use them
        self._states: dict[str, None] = {}  # warnings due, in this order
        self.reported: set[str] = set()

    def get(self, index: Any) -> tuple[Any, list[str]]:
        """Return the updated copy, and the states to warn about."""
        with self._lock, index._writing:  # blocks additions and removals
            self._update(index)
            unreported = [state for state in self._states if state not in self.reported]
            return self._body if self._map is None else self._map, unreported

    def _update(self, index: Any) -> None:
        core = index._trained()
        if self._body is not None:
            self._retire_if_changed()
        key = core.version, getattr(index, "nprobe", None), index.k_factor
        if self._body is None or self._key != key:
            if self._body is not None and self._key[0] != core.version:
                self._states["stale"] = None
            self._fill(to_faiss(index), index)
            self._key, self._ntotal = key, index.ntotal
        if self._ntotal:
            self._states["lossy"] = None

    def _retire_if_changed(self) -> None:
        """Retire a copy that FAISS has changed or will delete (``own_fields``)."""
        owned = all(part.this.own() for part in self._owned)  # if FAISS owns one, it may be deleted
        if owned and all(part.ntotal == self._ntotal for part in (self._body, *self._owned)):
            return
        if owned:
            self._states["modified"] = None
        self._retired += self._owned
        self._body = self._map = None

    def _fill(self, fresh: Any, index: Any) -> None:
        faiss = loaded_faiss()
        mapped = isinstance(fresh, faiss.IndexIDMap2)
        body = faiss.downcast_index(fresh.index) if mapped else fresh
        if self._body is None:
            # The IDMap2 deletes the index that it owns, so Python must not own it as well. SWIG's
            # acquire() cannot undo that: it counts one reference too few and frees FAISS's classes.
            self._owned = [fresh]
            self._body, self._map = body, fresh if mapped else None
            return
        # `fresh` takes the old parts and deletes them.
        if hasattr(body, "chain"):
            self._body.chain.swap(body.chain)
        for part in _PARTS[type(body).__name__]:
            new, old = getattr(body, part), getattr(self._body, part)
            setattr(self._body, part, new)
            setattr(body, part, old)
        if mapped and self._map is None:
            self._body.ntotal = 0  # IndexIDMap2 requires it
            self._map = faiss.IndexIDMap2(self._body)
            self._owned.append(self._map)
        self._body.ntotal = body.ntotal
        if self._map is not None:  # even if ids are positions again
            faiss.copy_array_to_vector(index.ids(), self._map.id_map)
            self._map.ntotal = body.ntotal
            self._map.construct_rev_map()


def _lossy_message(index: Any) -> str:
    lost = "the scale of each vector and the staged search"
    if getattr(index, "quantizer", None) is not None:
        lost += ", and the quantizer"
    if index.refine is not None and not isinstance(index.refine, str):
        lost += ", and the refinement array"
    return (
        f"FAISS gets a copy of this index with its codes and ids. The copy loses {lost}, and may "
        f"find fewer neighbours. waterfill.write_index keeps everything. {_SEE_DOCS}"
    )
