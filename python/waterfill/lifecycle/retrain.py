"""An index with a codec of today's vectors, and everything else as it was."""

from __future__ import annotations

import warnings
import weakref
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from waterfill import _core
from waterfill._util.memory import require_memory
from waterfill._util.optional import require_faiss
from waterfill.analysis import analyze
from waterfill.codec import Codec
from waterfill.data.rows import FloatRows, Rows
from waterfill.index.base import Index
from waterfill.index.flat import IndexFlat
from waterfill.index.ivf import IndexIVF
from waterfill.lifecycle.index_vectors import DECODED, Stored, check_order, decoded
from waterfill.reproduction import plan_like
from waterfill.training.manifest import describe_plan

Kind = TypeVar("Kind", IndexFlat, IndexIVF)

_MEASURED = 4096  # rows of the sample that errors are measured on
_TWICE = 16, 128  # stretches of stored vectors, and rows of each

_origins: weakref.WeakKeyDictionary[Index, tuple[weakref.ref[_core.Index], int]] = (
    weakref.WeakKeyDictionary()
)


def retrain(
    index: Kind,
    new_sample: Any,
    *,
    vectors: Any = None,
    queries: Any = None,
    seed: int | None = None,
) -> Kind:
    """Train a codec like the index's on other vectors, and encode all that is stored with it.

    The new index is of the same kind and has the same ids in the same order, metric, lists,
    `refine` and settings; what was set by hand stays set, what training had chosen it chooses
    anew. The old one is not changed and can be searched meanwhile. Adding to it and removing from
    it wait while its vectors are encoded again, not while the codec is trained; what is added
    after that is not in the new index, and `SwapIndex.swap` notices.

    Parameters
    ----------
    index : IndexFlat or IndexIVF
        Trained. A quantizer of FAISS's is cloned, and given the new centroids.
    new_sample : array_like, shape (n, d)
        Vectors like those to come. The codec is trained on them as the old one's manifest says:
        plan, bytes, weighting, cells, effort.
    vectors : array_like or BlockSource, shape (ntotal, d), optional
        The vectors themselves, if you have them: in order of position, as `ids` gives it. Read in
        blocks. By default the rows that the index keeps to refine with are encoded; where it keeps
        none, what its codes decode to, which loses more than a better codec gains.
    queries : array_like, shape (m, d), optional
        See `Codec.train`; wanted if the old codec was trained with queries.
    seed : int, optional
        By default the old codec's.

    Returns
    -------
    IndexFlat or IndexIVF
        Its codec's ``manifest.parent`` is the old one's `fingerprint`, and ``manifest.measured``
        has ``retrained_from`` (what was encoded) and, as shares of the variance of `new_sample`,
        the squared errors ``relative_error_before`` (old codec), ``relative_error_once`` (new) and,
        where decoded vectors were encoded, ``relative_error_twice`` (new after old) and
        ``relative_error_added`` (the new codes of stored vectors against their old ones).

    Raises
    ------
    ValueError
        If the sample or `vectors` do not go with the index, `vectors` are in another order, the
        sample has too few rows for the lists, or queries are missing.
    TypeError
        If an argument has the wrong type.
    NotTrainedError
        If the index is not trained.
    MemoryError
        If the system says that there is no room for a second index.

    Warns
    -----
    RuntimeWarning
        If decoded vectors had to be encoded again, with what that loses.
    """
    if not isinstance(index, Index) or type(index) not in (IndexFlat, IndexIVF):
        raise TypeError(
            f"index must be a waterfill.IndexFlat or IndexIVF, got {type(index).__name__}"
        )
    core = index._trained()
    sample = Rows(new_sample, "new_sample", index.d)
    rows = None if vectors is None else Rows(vectors, "vectors", index.d)
    if rows is not None:
        check_order(index, rows)
    require_memory(index.nbytes + core.size * (core.codec.groups + 16), "a second index")
    codec = _train(index, new_sample, queries, seed)
    made = _empty_like(index, codec)
    with index._writing:
        stored = Stored(index)
        if rows is not None and rows.n != core.size:  # since they were compared
            check_order(index, rows)
        made._append(stored if vectors is None else vectors, _ids(core), "retrain", "raise")
        _origins[made] = weakref.ref(core), core.version
        measured: dict[str, Any] = {
            "retrained_from": stored.name if rows is None else "vectors that were given"
        }
        measured |= _errors(index, made, sample, twice=measured["retrained_from"] == DECODED)
    assert codec.manifest is not None
    assert index.codec is not None
    parent = index.codec.fingerprint
    codec.manifest = replace(codec.manifest, parent=parent, measured=measured)
    if "relative_error_twice" in measured and made.ntotal:
        _warn(made.ntotal, measured)
    return made


def changed_since(new: Index, old: Index) -> bool:
    """Whether an index was changed after another was made of it; False if that is not known."""
    core, version = _origins.get(new, (None, 0))
    return core is not None and core() is old._core and old._trained().version != version


def _train(index: Index, sample: Any, queries: Any, seed: int | None) -> Codec:
    codec = index.codec
    assert codec is not None
    manifest = codec.manifest
    settings: dict[str, Any]
    if manifest is None:  # of a file before format 1.3
        plan = describe_plan(codec.plan)
        settings = {"seed": 0, "cells": codec.cells, "metric": index.metric}
    else:
        plan, settings = manifest.plan, dict(manifest.training)
        if manifest.queries_sha256 is not None and queries is None:
            raise ValueError("queries: the codec was trained with queries; give some like them")
    if settings["cells"] is None or isinstance(index, IndexIVF):
        settings["cells"] = codec.cells
    if seed is not None:
        settings["seed"] = seed
    analysis = analyze(sample, normalize=plan["normalize"])
    made = Codec.train(sample, plan_like(plan, analysis), queries=queries, **settings)
    if isinstance(index, IndexIVF) and made.cells != index.nlist:
        raise ValueError(f"new_sample has {made.cells} rows, too few for nlist={index.nlist} lists")
    return made


def _empty_like(index: Kind, codec: Codec) -> Kind:
    refine, factor = index.refine, index.k_factor
    if isinstance(index, IndexIVF):
        quantizer = index.quantizer
        if quantizer is not None:
            quantizer = require_faiss("an index with a FAISS quantizer").clone_index(quantizer)
            quantizer.reset()
        lists = IndexIVF(
            codec, index.nlist, quantizer, metric=index.metric, refine=refine, k_factor=factor
        )
        lists.nprobe = index.nprobe
        made: Any = lists
    else:
        made = IndexFlat(codec, index.metric, refine=refine, k_factor=factor)
    made._given = dict(index._given)
    made.verbose, made.metric_arg = index.verbose, index.metric_arg
    if index._keeps_ids:
        made._keep_ids()
    elif index.has_ids:
        made._trained().keep_ids()
    kept: Kind = made
    return kept


def _ids(core: _core.Index) -> Any:
    return core.ids(0, core.size) if core.has_ids else None


def _errors(old: Index, new: Index, sample: Rows, *, twice: bool) -> dict[str, float]:
    """Measure squared errors on rows of the sample, as shares of their variance."""
    chosen = np.unique(np.linspace(0, sample.n - 1, min(sample.n, _MEASURED)).astype(np.int64))
    x = old._prepare(sample.take(chosen))
    spread = float(np.square(x - x.mean(axis=0), dtype=np.float64).sum()) or 1.0

    def error(made: FloatRows) -> float:
        return float(np.square(made - x, dtype=np.float64).sum()) / spread

    first, second = old.codec, new.codec
    assert first is not None
    assert second is not None
    codes = first._encode_block(x)  # without a word about rows that are far out
    found = {
        "relative_error_before": error(first.decode(codes)),
        "relative_error_once": error(second.decode(second._encode_block(x))),
    }
    if twice:
        again = second._encode_block(old._prepare(old._decode(codes)))
        found["relative_error_twice"] = error(second.decode(again))
        found["relative_error_added"] = _added(old, new)
    return found


def _added(old: Index, new: Index) -> float:
    """Compare new codes of stored vectors with the decoded ones that they were made of."""
    stretches, rows = _TWICE
    starts = np.unique(np.linspace(0, max(old.ntotal - rows, 0), stretches).astype(int))
    parts = [(int(first), min(rows, old.ntotal - int(first))) for first in starts]
    was = old._prepare(np.concatenate([decoded(old, *part) for part in parts]))
    codec, core = new.codec, new._trained()
    assert codec is not None
    now = np.concatenate([codec.decode(core.codes(*part)) for part in parts])
    spread = float(np.square(was - was.mean(axis=0), dtype=np.float64).sum()) if len(was) else 0.0
    return float(np.square(was - now, dtype=np.float64).sum()) / (spread or 1.0)


def _warn(n: int, measured: dict[str, Any]) -> None:
    once, twice = measured["relative_error_once"], measured["relative_error_twice"]
    warnings.warn(
        f"the index keeps no vectors, so {n:,} were decoded from their codes and encoded again. On "
        f"rows of new_sample that makes a squared error of {twice:.1%} of the variance, where "
        f"encoding the vectors themselves would make one of {once:.1%}: expect the new index to "
        "find fewer neighbours than the old one does, and compare them. Give vectors=, or keep "
        "rows to refine with (refine='float16') from the start",
        RuntimeWarning,
        stacklevel=3,
    )
