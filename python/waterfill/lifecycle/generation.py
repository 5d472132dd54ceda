"""Generations of a `SwapIndex`: contents, history events and checks before publication."""

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
_WARM = 8  # warm-up queries for a new index
_WARM_K = 10


@dataclass(frozen=True, kw_only=True)
class Contents:
    """Hashes that identify the contents of an index.

    Attributes
    ----------
    fingerprint : str
        Fingerprint of the codec.
    parent : str or None
        Fingerprint of the codec that it was retrained from (``manifest.parent``).
    sha256 : str
        SHA-256 of the codec's fingerprint, the ids and the codes.
    data_sha256 : str or None
        SHA-256 of the training vectors.
    ntotal : int
        Number of vectors.
    """

    fingerprint: str
    parent: str | None
    sha256: str
    data_sha256: str | None
    ntotal: int

    @classmethod
    def of(cls, index: Index) -> Contents:
        """Compute the hashes of an index; reads all of its codes.

        Parameters
        ----------
        index : IndexFlat or IndexIVF
            The index.

        Returns
        -------
        Contents
            Its hashes and size.
        """
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
    """One entry in the history of a `SwapIndex`: the contents at publication.

    Attributes
    ----------
    generation : int
        Number of the generation.
    what : {'start', 'swap', 'rollback'}
        Operation that published it.
    at : str
        Time of publication, UTC, in ISO 8601 format.
    fingerprint, parent, sha256, data_sha256 : str or None
        As of `Contents`.
    ntotal : int
        Number of vectors.
    """

    generation: int
    what: str
    at: str


@dataclass(frozen=True, eq=False)
class Generation:
    """One published generation of an index; hold it for several calls on the same contents.

    Attributes
    ----------
    number : int
        1 for the first generation; each swap and each rollback adds 1.
    index : IndexFlat or IndexIVF
        The index, with its ids and codec.
    event : Event
        History entry of its publication.
    version : tuple of int
        Version of the index when it was published.
    """

    number: int
    index: Any
    event: Event
    version: tuple[int, int] = field(repr=False)

    @property
    def changed(self) -> bool:
        """Whether vectors were added or removed since publication."""
        return bool(self.index._version != self.version)


class Readiness:
    """Cache of verified and warmed indexes; an index that changes is checked again."""

    def __init__(self) -> None:
        self._checked: WeakKeyDictionary[Index, tuple[tuple[int, int], Contents]] = (
            WeakKeyDictionary()
        )

    def of(self, index: Index, queries: Any = None) -> Contents:
        """Verify and warm an index unless that is cached; return its contents.

        Raises
        ------
        ValueError
            If the index cannot be served.
        """
        version = index._version
        cached = self._checked.get(index)
        if cached is not None and cached[0] == version:
            return cached[1]
        contents = Contents.of(index)
        _check_codec(index)
        _warm(index, queries)
        self._checked[index] = version, contents
        return contents


def publication(index: Index, number: int, what: str, contents: Contents) -> Generation:
    """Return the generation to publish, with its history event."""
    values = {each.name: getattr(contents, each.name) for each in fields(Contents)}
    at = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
    event = Event(generation=number, what=what, at=at, **values)
    return Generation(number, index, event, index._version)


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
    """Return the reasons why new cannot replace old; empty if it can."""
    reasons = []
    for name in ("d", "metric"):
        before, after = getattr(old, name), getattr(new, name)
        if before != after:
            reasons.append(
                f"new: expected {name}={before!r} as in the current index, got {after!r}"
            )
    if same_ids and not _same_ids(old, new):
        reasons.append(
            f"new: expected the ids of the current index in its order ({old.ntotal:,} vectors), "
            f"got other ids ({new.ntotal:,} vectors); apply additions and removals to both, or "
            "pass same_ids=False"
        )
    if changed_since(new, old):
        reasons.append(
            "vectors were added to or removed from the current index after new was retrained from "
            "it; retrain again within writes_held()"
        )
    return reasons


def _same_ids(old: Index, new: Index) -> bool:
    if old.ntotal != new.ntotal:
        return False
    return not (old.has_ids or new.has_ids) or bool(np.array_equal(old.ids(), new.ids()))


def _check_codec(index: Index) -> None:
    codec = index.codec
    assert codec is not None
    if Codec.from_bytes(codec.to_bytes()).fingerprint != codec.fingerprint:
        raise ValueError("new: its codec changes when it is serialized and read back")


def _warm(index: Index, queries: Any) -> None:
    """Search once to build tables and load pages; require finite distances."""
    if index.ntotal == 0:
        return
    if queries is None:
        batch = index.reconstruct_n(0, min(index.ntotal, _WARM))
    else:
        rows = Rows(queries, "canary", index.d)
        batch = rows.take(np.arange(min(rows.n, _WARM)))
    for x in (batch, *batch[:, None]):
        distances, ids = index.search(x, _WARM_K)
        if (ids[:, 0] == -1).any() or not np.isfinite(distances[ids != -1]).all():
            raise ValueError(
                "new: a warm-up search returned no ids or distances that are not finite"
            )
    index.reconstruct(int(index.ids(0, 1)[0]))
