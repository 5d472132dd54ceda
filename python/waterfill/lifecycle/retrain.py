"""`retrain`: train a new codec for an index and re-encode its vectors."""

from __future__ import annotations

import warnings
import weakref
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from waterfill import _core
from waterfill._util.memory import require_memory
from waterfill._util.optional import require_faiss
from waterfill._util.progress import Meter, Option, metered
from waterfill.analysis import analyze_rows
from waterfill.codec import Codec
from waterfill.data.block_source import CountedRows
from waterfill.data.rows import FloatRows, Rows
from waterfill.index.base import Index
from waterfill.index.flat import IndexFlat
from waterfill.index.ivf import IndexIVF
from waterfill.lifecycle.index_vectors import DECODED, StoredRows, check_order, decoded
from waterfill.reproduction import plan_like
from waterfill.training.manifest import describe_plan

Kind = TypeVar("Kind", IndexFlat, IndexIVF)

_ERROR_ROWS = 4096  # rows of the sample to measure errors on
_ADDED_RUNS = 16  # runs of stored vectors to measure the added error on
_ADDED_RUN_ROWS = 128

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
    progress: Option = False,
) -> Kind:
    """Return a new index with the vectors of `index`, encoded by a codec trained on `new_sample`.

    The new index has the same type, ids, order, metric, lists, `refine` and settings. Settings that
    were set explicitly keep their values; training chooses the others again. The old index does not
    change and can be searched meanwhile. Additions and removals wait while its vectors are
    re-encoded, but not while the codec is trained. Vectors added later are not in the new index;
    `SwapIndex.swap` detects that and refuses it.

    Parameters
    ----------
    index : IndexFlat or IndexIVF
        A trained index. A FAISS quantizer is cloned and gets the new centroids.
    new_sample : array_like, shape (n, d)
        Training vectors, like those to be added. Plan, code size, weighting, cells and effort are
        those of the old codec's manifest.
    vectors : array_like or BlockSource, shape (ntotal, d), optional
        The original vectors in order of position, as `ids` returns them. They are read in blocks.
        By default the refinement rows of the index are encoded. An index without any decodes its
        codes, and this loses more recall than a better codec gains.
    queries : array_like, shape (m, d), optional
        See `Codec.train`. Required if the old codec was trained with queries.
    seed : int, optional
        Random seed; by default that of the old codec.
    progress : bool or callable, optional
        See `Codec.train`.

    Returns
    -------
    IndexFlat or IndexIVF
        Its codec's ``manifest.parent`` is the `fingerprint` of the old codec. Its
        ``manifest.measured`` has ``retrained_from`` (source of the encoded vectors) and squared
        errors relative to the variance of `new_sample`: ``relative_error_before`` (old codec) and
        ``relative_error_once`` (new codec). If decoded vectors were encoded, it also has
        ``relative_error_twice`` (new codec after old codec) and ``relative_error_added`` (new codes
        of stored vectors against their old codes).

    Raises
    ------
    ValueError
        If the sample or `vectors` do not match the index, `vectors` are in another order, the
        sample has too few rows for the lists, or queries are missing.
    TypeError
        If an argument has the wrong type.
    NotTrainedError
        If the index is not trained.
    MemoryError
        If the system reports too little memory for a second index.

    Warns
    -----
    RuntimeWarning
        If decoded vectors were re-encoded; the message states the loss.
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
    with metered(progress) as meter:
        codec = _train(index, new_sample, queries, seed, meter)
        new = _empty_like(index, codec)
        with index._writing:
            stored = StoredRows(index)
            if (
                rows is not None and rows.n != core.size
            ):  # the index has changed since the first check
                check_order(index, rows)
            meter.begin("encoding", core.size)
            source = stored if rows is None else rows.source
            new._append(CountedRows(source, meter.advance), _ids(core), "retrain", "raise")
            _origins[new] = weakref.ref(core), core.version
            measured: dict[str, Any] = {
                "retrained_from": stored.name if rows is None else "vectors argument"
            }
            measured |= _errors(index, new, sample, twice=measured["retrained_from"] == DECODED)
    assert codec.manifest is not None
    assert index.codec is not None
    parent = index.codec.fingerprint
    codec.manifest = replace(codec.manifest, parent=parent, measured=measured)
    if "relative_error_twice" in measured and new.ntotal:
        _warn(new.ntotal, measured)
    return new


def changed_since(new: Index, old: Index) -> bool:
    """Whether old has changed since new was retrained from it; False if not known."""
    core, version = _origins.get(new, (None, 0))
    return core is not None and core() is old._core and old._trained().version != version


def _train(index: Index, sample: Any, queries: Any, seed: int | None, meter: Meter) -> Codec:
    codec = index.codec
    assert codec is not None
    manifest = codec.manifest
    settings: dict[str, Any]
    if manifest is None:  # read from a file older than format 1.3
        plan = describe_plan(codec.plan)
        settings = {"seed": 0, "cells": codec.cells, "metric": index.metric}
    else:
        plan, settings = manifest.plan, dict(manifest.training)
        if manifest.queries_sha256 is not None and queries is None:
            raise ValueError(
                "queries: the codec was trained with queries; expected an array, got None"
            )
    if settings["cells"] is None or isinstance(index, IndexIVF):
        settings["cells"] = codec.cells
    if seed is not None:
        settings["seed"] = seed
    analysis = analyze_rows(Rows(sample), normalize=plan["normalize"], meter=meter)
    new = Codec.train(
        sample, plan_like(plan, analysis), queries=queries, progress=meter, **settings
    )
    if isinstance(index, IndexIVF) and new.cells != index.nlist:
        raise ValueError(f"new_sample: expected at least nlist={index.nlist} rows, got {new.cells}")
    return new


def _empty_like(index: Kind, codec: Codec) -> Kind:
    refine, factor = index.refine, index.k_factor
    if isinstance(index, IndexIVF):
        quantizer = index._faiss_quantizer()
        if quantizer is not None:
            quantizer = require_faiss("an index with a FAISS quantizer").clone_index(quantizer)
            quantizer.reset()
        lists = IndexIVF(
            codec, index.nlist, quantizer, metric=index.metric, refine=refine, k_factor=factor
        )
        if index.target_recall is None:
            lists.nprobe = index.nprobe
        else:
            lists.target_recall = index.target_recall
        new: Any = lists
    else:
        new = IndexFlat(codec, index.metric, refine=refine, k_factor=factor)
    new._given = dict(index._given)
    new.verbose, new.metric_arg = index.verbose, index.metric_arg
    if index._keeps_ids:
        new._keep_ids()
    elif index.has_ids:
        new._trained().keep_ids()
    empty: Kind = new
    return empty


def _ids(core: _core.Index) -> Any:
    return core.ids(0, core.size) if core.has_ids else None


def _errors(old: Index, new: Index, sample: Rows, *, twice: bool) -> dict[str, float]:
    """Return squared errors on rows of the sample, relative to their variance."""
    chosen = np.unique(np.linspace(0, sample.n - 1, min(sample.n, _ERROR_ROWS)).astype(np.int64))
    x = old._prepare(sample.take(chosen))
    variance = float(np.square(x - x.mean(axis=0), dtype=np.float64).sum()) or 1.0

    def error(decoded_x: FloatRows) -> float:
        return float(np.square(decoded_x - x, dtype=np.float64).sum()) / variance

    old_codec, new_codec = old.codec, new.codec
    assert old_codec is not None
    assert new_codec is not None
    codes = old_codec._encode_block(x)  # Codec.encode would warn about outliers
    errors = {
        "relative_error_before": error(old_codec.decode(codes)),
        "relative_error_once": error(new_codec.decode(new_codec._encode_block(x))),
    }
    if twice:
        recoded = new_codec._encode_block(old._prepare(old._decode(codes)))
        errors["relative_error_twice"] = error(new_codec.decode(recoded))
        errors["relative_error_added"] = _added_error(old, new)
    return errors


def _added_error(old: Index, new: Index) -> float:
    """Return the squared error of new codes against the decoded vectors that they encode."""
    last = max(old.ntotal - _ADDED_RUN_ROWS, 0)
    starts = np.unique(np.linspace(0, last, _ADDED_RUNS).astype(int))
    runs = [(int(first), min(_ADDED_RUN_ROWS, old.ntotal - int(first))) for first in starts]
    before = old._prepare(np.concatenate([decoded(old, *run) for run in runs]))
    codec, core = new.codec, new._trained()
    assert codec is not None
    after = np.concatenate([codec.decode(core.codes(*run)) for run in runs])
    centered = before - before.mean(axis=0) if len(before) else before
    variance = float(np.square(centered, dtype=np.float64).sum())
    return float(np.square(before - after, dtype=np.float64).sum()) / (variance or 1.0)


def _warn(n: int, measured: dict[str, Any]) -> None:
    once, twice = measured["relative_error_once"], measured["relative_error_twice"]
    warnings.warn(
        f"the index has no refinement rows, so {n:,} vectors were decoded and encoded again. On "
        f"new_sample this gives a squared error of {twice:.1%} of the variance, against {once:.1%} "
        "when the original vectors are encoded: expect lower recall than that of the old index, "
        "and compare them. Pass vectors=, or create indexes with refinement rows "
        "(refine='float16')",
        RuntimeWarning,
        stacklevel=3,
    )
