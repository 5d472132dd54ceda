"""What is published at once, what is written down of it, and whether it can be served."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, fields
from datetime import datetime, timezone
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from waterfill.codec import Codec
from waterfill.data.rows import Rows
from waterfill.index.base import Index
from waterfill.lifecycle.retrain import changed_since

_BLOCK = 65_536
_WARM = 8  # queries that a new index is searched with before others may
_WARM_K = 10


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What an index holds, as hashes.

    Attributes
    ----------
    fingerprint, parent : str, str or None
        Of the codec, and of the codec that it was to replace (``manifest.parent``).
    sha256 : str
        Of the codec's fingerprint, the ids and the codes.
    data_sha256 : str or None
        Of the vectors that the codec was trained on.
    ntotal : int
    """

    fingerprint: str
    parent: str | None
    sha256: str
    data_sha256: str | None
    ntotal: int

    @classmethod
    def of(cls, index: Index) -> Contents:
        """Read all of an index."""
        codec, manifest = index.codec, index.manifest
        assert codec is not None
        return cls(
            fingerprint=codec.fingerprint,
            parent=None if manifest is None else manifest.parent,
            sha256=content_sha256(index),
            data_sha256=None if manifest is None else manifest.data_sha256,
            ntotal=index.ntotal,
        )


@dataclass(frozen=True, kw_only=True)
class Event(Contents):
    """One line of a `SwapIndex`'s history: what was published, as it was then.

    Attributes
    ----------
    generation : int
    what : {'start', 'swap', 'rollback'}
    at : str
        Time of publication, UTC.
    """

    generation: int
    what: str
    at: str


@dataclass(frozen=True, eq=False)
class Generation:
    """An index as one publication of it: what a request of several calls holds on to.

    Attributes
    ----------
    number : int
        1 for the first; every swap and every rollback counts one on.
    index : IndexFlat or IndexIVF
        Ids and codec are in it, so that one reference is all that there is to read.
    event : Event
    version : int
        The index's, when it was published.
    """

    number: int
    index: Any
    event: Event
    version: int = field(repr=False)

    @property
    def changed(self) -> bool:
        """Whether vectors were added or removed since."""
        return bool(self.index._trained().version != self.version)


class Readiness:
    """Indexes that were verified and warmed, as long as nothing changes them."""

    def __init__(self) -> None:
        self._kept: WeakKeyDictionary[Index, tuple[int, Contents]] = WeakKeyDictionary()

    def of(self, index: Index, queries: Any = None) -> Contents:
        """Verify and warm an index, once; return what it holds.

        Raises
        ------
        ValueError
            If it cannot be served, with the reason.
        """
        version = index._trained().version
        kept = self._kept.get(index)
        if kept is not None and kept[0] == version:
            return kept[1]
        found = Contents.of(index)
        _check_codec(index)
        _warm(index, queries)
        self._kept[index] = version, found
        return found


def publication(index: Index, number: int, what: str, contents: Contents) -> Generation:
    """Write down what is about to be published."""
    known = {each.name: getattr(contents, each.name) for each in fields(Contents)}
    at = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
    event = Event(generation=number, what=what, at=at, **known)
    return Generation(number, index, event, index._trained().version)


def content_sha256(index: Index) -> str:
    """Return the SHA-256 of an index: its codec's fingerprint, ids and codes in order."""
    core, codec = index._trained(), index.codec
    assert codec is not None
    state = hashlib.sha256(codec.fingerprint.encode())
    size = core.size
    for first in range(0, size, _BLOCK):
        n = min(_BLOCK, size - first)
        state.update(core.ids(first, n).data)
        state.update(core.codes(first, n).data)
    return state.hexdigest()


def misfits(old: Index, new: Index, *, same_ids: bool) -> list[str]:
    """Say why one index cannot stand for another; nothing if it can."""
    found = []
    for name in ("d", "metric"):
        before, after = getattr(old, name), getattr(new, name)
        if before != after:
            found.append(f"new has {name}={after!r}, the index in use {before!r}")
    if same_ids and not _same_ids(old, new):
        found.append(
            f"new has other ids ({new.ntotal:,} vectors) than the index in use ({old.ntotal:,}): "
            "what was added or removed since must be in both, or say same_ids=False"
        )
    if changed_since(new, old):
        found.append(
            "vectors were added to the index in use, or removed from it, since new was made of it: "
            "retrain again, within writes_held()"
        )
    return found


def _same_ids(old: Index, new: Index) -> bool:
    if old.ntotal != new.ntotal:
        return False
    return not (old.has_ids or new.has_ids) or bool(np.array_equal(old.ids(), new.ids()))


def _check_codec(index: Index) -> None:
    codec = index.codec
    assert codec is not None
    if Codec.from_bytes(codec.to_bytes()).fingerprint != codec.fingerprint:
        raise ValueError("the codec of new is another one when it is read back")


def _warm(index: Index, queries: Any) -> None:
    """Search, so that tables are made and pages are there; what comes out must be numbers."""
    if index.ntotal == 0:
        return
    if queries is None:
        asked = index.reconstruct_n(0, min(index.ntotal, _WARM))
    else:
        rows = Rows(queries, "canary", index.d)
        asked = rows.take(np.arange(min(rows.n, _WARM)))
    for part in (asked, *asked[:, None]):
        distances, ids = index.search(part, _WARM_K)
        if (ids[:, 0] == -1).any() or not np.isfinite(distances[ids != -1]).all():
            raise ValueError("a search of new finds nothing, or no finite distances")
    index.reconstruct(int(index.ids(0, 1)[0]))
