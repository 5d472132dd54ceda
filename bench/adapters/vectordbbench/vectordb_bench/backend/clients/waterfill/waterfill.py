"""waterfill as a database of VectorDBBench: a managed index in a folder."""

import logging
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import waterfill as wf

from ...filter import Filter, FilterOp
from ..api import VectorDB
from .config import WaterfillIndexConfig

log = logging.getLogger(__name__)

_LARGEST_ID = 2**63 - 1


class Waterfill(VectorDB):
    """An index in a folder that trains and tunes itself.

    One process inserts, and any number of processes search. So `init` opens nothing: the first
    insertion opens the folder for changes, the first search opens it to read.
    """

    name = "Waterfill"
    supported_filter_types = [FilterOp.NonFilter, FilterOp.NumGE]  # noqa: RUF012

    def __init__(
        self,
        dim: int,
        db_config: dict,
        db_case_config: WaterfillIndexConfig,
        collection_name: str = "vectordbbench.wfx",
        drop_old: bool = False,
        **kwargs: Any,
    ) -> None:
        self._dim = dim
        self._options = db_case_config.index_param()
        self._folder = Path(db_config["path"]) / collection_name
        self._index: Any = None
        self._writes = False
        self._filter: Any = None
        self._opening: Any = None
        if drop_old:
            shutil.rmtree(self._folder, ignore_errors=True)

    @contextmanager
    def init(self) -> Iterator[None]:
        """Let methods open the folder, and close it at the end."""
        self._opening = threading.Lock()
        try:
            yield
        finally:
            self._close()
            self._opening = None  # which cannot be sent to another process

    def _close(self) -> None:
        index, self._index, self._writes = self._index, None, False
        if index is not None:
            index.close()

    def _open(self, *, to_write: bool) -> Any:
        index = self._index
        if index is not None and self._writes >= to_write:
            return index
        with self._opening:
            if self._index is None or self._writes < to_write:
                self._close()
                self._index = self._opened(to_write)
                self._writes = to_write
            return self._index

    def _opened(self, to_write: bool) -> Any:
        if not to_write:
            return wf.open_index(self._folder)
        return wf.open_index(self._folder, "a", d=self._dim, background="off", **self._options)

    def insert_embeddings(
        self,
        embeddings: list[list[float]],
        metadata: list[int],
        labels_data: list[str] | None = None,
        tenant_labels_data: list[str] | None = None,
        **kwargs: Any,
    ) -> tuple[int, Exception | None]:
        """Store vectors under their ids; they are on the disk when this returns."""
        try:
            rows = np.asarray(embeddings, np.float32)
            self._open(to_write=True).upsert(np.asarray(metadata, np.int64), rows)
        except Exception as error:
            log.warning("Failed to insert into %s: %s", self._folder, error)
            return 0, error
        return len(metadata), None

    def optimize(self, data_size: int | None = None) -> None:
        """Do what the index would do in the background: train, encode, choose its lists."""
        index = self._open(to_write=True)
        for event in index.maintain():
            log.info("waterfill: %s: %s", event.what, event.words)
        log.info("%s", index.health())

    def prepare_filter(self, filters: Filter) -> None:
        """Keep the filter of the searches that follow."""
        if filters.type == FilterOp.NonFilter:
            self._filter = None
        elif filters.type == FilterOp.NumGE:
            selected = wf.IDSelectorRange(filters.int_value, _LARGEST_ID)
            self._filter = wf.SearchParameters(sel=selected)
        else:
            msg = f"filters: expected none or ids from a number on, got {filters}"
            raise ValueError(msg)

    def search_embedding(self, query: list[float], k: int = 100, **kwargs: Any) -> list[int]:
        """Return the ids of the k nearest vectors."""
        index = self._open(to_write=False)
        rows = np.asarray([query], np.float32)
        found = index.search(rows, k, params=self._filter)[1][0]
        return found[found >= 0].tolist()
