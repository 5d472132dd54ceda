"""A model of an index in a folder: its vectors by order of insertion, as plain arrays."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray
from support.trained import trained

import waterfill as wf

D = 16
KINDS = ("flat", "cells", "lists", "rows")


@functools.cache
def codec_of(kind: str) -> wf.Codec:
    """Return a codec for vectors of `some_vectors`, trained once for all tests."""
    x = some_vectors(2000, seed=1)
    return trained(x, 8, cells=0 if kind == "flat" else 12)


def options_of(kind: str) -> dict[str, Any]:
    """Return the options of `open_index` for a kind of folder."""
    nprobe = 4 if kind in ("lists", "rows") else None
    return {
        "codec": codec_of(kind),
        "nprobe": nprobe,
        "refine": "float16" if kind == "rows" else None,
        "metric": "l2" if kind == "cells" else "ip",
    }


def some_vectors(n: int, seed: int) -> NDArray[np.float32]:
    """Return clustered vectors."""
    rng = np.random.default_rng(seed)
    centers = np.random.default_rng(0).standard_normal((20, D)) * 2
    x = centers[rng.integers(20, size=n)] + rng.standard_normal((n, D))
    return np.ascontiguousarray(x, dtype=np.float32)


class Model:
    """What a folder should hold, and the index in memory that it should equal."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.ids: list[int] = []
        self.vectors: list[NDArray[np.float32]] = []
        self.next_id = 0

    def copy(self) -> Model:
        """Return another model with the same vectors."""
        twin = Model(self.kind)
        twin.ids, twin.vectors, twin.next_id = list(self.ids), list(self.vectors), self.next_id
        return twin

    def add(self, ids: Any, x: NDArray[np.float32]) -> None:
        """Append vectors."""
        self.ids += [int(id) for id in ids]
        self.vectors += list(x)
        self.next_id = max([self.next_id, *(int(id) + 1 for id in ids)])

    def remove(self, ids: Any) -> int:
        """Remove all vectors with some ids; return their number."""
        gone = {int(id) for id in ids}
        kept = [i for i, id in enumerate(self.ids) if id not in gone]
        removed = len(self.ids) - len(kept)
        self.ids = [self.ids[i] for i in kept]
        self.vectors = [self.vectors[i] for i in kept]
        return removed

    def upsert(self, ids: Any, x: NDArray[np.float32]) -> None:
        """Replace vectors."""
        self.remove(ids)
        self.add(ids, x)

    def in_memory(self) -> wf.IndexFlat | wf.IndexIVF:
        """Return an index in memory of the same vectors."""
        options = options_of(self.kind)
        nprobe, codec = options.pop("nprobe"), options.pop("codec")
        index: Any = wf.IndexFlat(codec, **options)
        if nprobe is not None:
            index = wf.IndexIVF(codec, codec.cells, **options)
            index.nprobe = nprobe
        x = np.array(self.vectors, dtype=np.float32).reshape(-1, D)
        index.add_with_ids(x, np.array(self.ids, dtype=np.int64))
        return index

    def check(self, index: Any, seed: int = 0) -> None:
        """Compare an index with the model: ids, codes, lookups, and searches to the bit."""
        expected = self.in_memory()
        assert index.ntotal == len(self.ids)
        np.testing.assert_array_equal(index.ids(), self.ids)
        np.testing.assert_array_equal(index.codes(), expected.codes())
        queries = some_vectors(7, seed=seed + 100)
        compare = [{}, {"params": wf.SearchParameters(sel=wf.IDSelectorRange(0, 50))}]
        for options in compare:
            for found, wanted in zip(
                index.search(queries, 5, **options),
                expected.search(queries, 5, **options),
                strict=True,
            ):
                np.testing.assert_array_equal(found, wanted)
        radius = 30.0 if self.kind == "cells" else 10.0
        for found, wanted in zip(
            index.range_search(queries, radius), expected.range_search(queries, radius), strict=True
        ):
            np.testing.assert_array_equal(found, wanted)
        if self.ids:
            keys = np.random.default_rng(seed).choice(self.ids, 3)
            np.testing.assert_array_equal(
                index.reconstruct_batch(keys), expected.reconstruct_batch(keys)
            )
