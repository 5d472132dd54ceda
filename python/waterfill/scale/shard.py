"""An actor that searches its share of a folder's segments."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from typing import Any

from waterfill import _core
from waterfill.folder.snapshot import open_state
from waterfill.scale.cluster import require_ray

Found = tuple[Any, ...]
"""What `_core.Index.search_share` returns."""


@dataclass(frozen=True)
class Generation:
    """What a folder held at one time, so that each actor can open the same.

    Attributes
    ----------
    key : str
        Differs for each generation.
    path : str
    manifest : bytes
    log : list of ObjectRef
        The bytes of the log up to that time, in a list so that they are sent on demand only.
    """

    key: str
    path: str
    manifest: bytes
    log: list[Any]


class Shard:
    """Searches some parts of an index. It maps all files, and reads those parts.

    Any actor can answer for any parts, so that others step in for one that has died.
    """

    def __init__(self) -> None:
        self._open: dict[str, _core.Index] = {}
        self._opening = threading.Lock()

    def ping(self) -> int:
        """Return the number of the process."""
        return os.getpid()

    def prepare(self, generation: Generation) -> None:
        """Open a generation."""
        self._core(generation)

    def forget(self, key: str) -> None:
        """Close a generation that no search uses any more."""
        self._open.pop(key, None)

    def search(
        self,
        generation: Generation,
        parts: tuple[int, int],
        thresholds: Any,
        arguments: tuple[Any, ...],
    ) -> Found:
        """Return the candidates of some parts; `arguments` are the others of `search_share`."""
        _core.set_own_threads(1)
        search: Any = self._core(generation).search_share
        found: Found = search(*arguments, parts, thresholds)
        return found

    def _core(self, generation: Generation) -> _core.Index:
        with self._opening:
            if generation.key not in self._open:
                manifest = _core.Manifest.from_bytes(generation.manifest)
                log = require_ray().get(generation.log[0])
                self._open[generation.key] = open_state(generation.path, manifest, log)
            return self._open[generation.key]
