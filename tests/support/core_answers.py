"""Everything that a core index answers, to compare two indexes bit by bit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from waterfill import _core

Step = tuple[Any, ...]


def selectors(ids: NDArray[np.int64], rng: np.random.Generator) -> list[list[Step] | None]:
    """Return selector programs, among them sets of some ids: None selects all."""
    some = np.unique(rng.choice(ids, min(len(ids), 40))) if len(ids) else np.empty(0, np.int64)
    low, high = sorted(rng.choice(ids, 2).tolist()) if len(ids) else (0, 5)
    return [None, [("set", some)], [("range", low, high)], [("set", some), ("not",)], [("all",)]]


def answers(
    core: _core.Index, queries: NDArray[np.float32], ids: NDArray[np.int64], seed: int
) -> Iterator[tuple[str, Any]]:
    """Yield the name and the result of many calls.

    ids: the ids that the index should have. seed: of what is asked; use it for both indexes.
    """
    rng = np.random.default_rng(seed)
    n, lists = len(ids), len(core.list_sizes)
    yield "size", core.size
    yield "list sizes", core.list_sizes
    yield "ids", core.ids(0, core.size)
    yield "codes", core.codes(0, core.size)
    first = int(rng.integers(n + 1))
    count = int(rng.integers(n - first + 1))
    yield "some ids", core.ids(first, count)
    yield "some codes", core.codes(first, count)
    rows = core.refine_row_kind is not None
    if rows:
        yield "rows", core.refine_rows(0, core.size)
    asked = np.concatenate([ids, ids[:7] ^ 0x55, [0, 77, 2**62]])
    rng.shuffle(asked)
    for contents in ("codes", *(["rows"] if rows else [])):
        labels, stored = core.find(asked, contents)
        yield f"found {contents}", stored
        yield f"found ids with {contents}", labels >= 0
    given = rng.integers(-1, lists, (len(queries), 3))
    programs = selectors(ids, rng)
    for program, s in ((p, s) for s, p in enumerate(programs)):
        for k, candidates, groups, sigma in (
            (3, 3, 0, 1.0),
            (10, 40, 2, 2.0),
            (5, 100_000, 0, float("inf")),
            (n + 3, n + 3, 0, float("inf")),
        ):
            for probes in (None, 1, max(1, lists // 3), given) if lists > 1 else (None,):
                for refined in (0, 2 * k) if rows else (0,):
                    contents = ("", "codes", "rows" if rows else "")[(s + k) % 3]
                    found = core.search(
                        *(queries, k, candidates, groups, sigma),
                        *(probes, program, refined, contents),
                    )
                    yield f"search {s, k, refined, np.asarray(probes).tolist()}", found
    flat = core.search(queries, max(1, min(n, 20)), max(1, n), 0, float("inf"))[0]
    middle = float(np.sort(flat, axis=None)[flat.size // 2])
    for radius in (middle, float(flat.min()), float("inf"), -float("inf")):
        for probes in (None, 2, given) if lists > 1 else (None,):
            for s, program in enumerate(programs[:3]):
                found = core.range_search(queries, radius, probes, program)
                yield f"range search {s, radius, np.asarray(probes).tolist()}", found


def require_same(
    one: _core.Index,
    other: _core.Index,
    queries: NDArray[np.float32],
    ids: NDArray[np.int64],
    seed: int,
) -> None:
    """Require that two indexes answer alike, to the bit."""
    pairs = zip(answers(one, queries, ids, seed), answers(other, queries, ids, seed), strict=True)
    for (name, first), (_, second) in pairs:
        firsts = first if isinstance(first, tuple) else (first,)
        seconds = second if isinstance(second, tuple) else (second,)
        for a, b in zip(firsts, seconds, strict=True):
            np.testing.assert_array_equal(a, b, err_msg=name, strict=True)
