"""`compress`: make a compressed index from a FAISS index."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from waterfill._util.optional import loaded_faiss
from waterfill._util.progress import Meter, Option, metered
from waterfill._util.validation import Metric
from waterfill.codec import Codec
from waterfill.data.row_policy import Policy, admit, as_policy, caller_stacklevel
from waterfill.data.rows import FloatRows, Rows
from waterfill.faiss.given_rows import with_rows
from waterfill.faiss.stored_index import Stored
from waterfill.faiss.stored_vectors import stored_vectors
from waterfill.index.flat import IndexFlat
from waterfill.index.ivf import IndexIVF, as_nlist
from waterfill.index.recall_warnings import warn_of_training
from waterfill.index.selector_graph import Ids
from waterfill.plan import Plan
from waterfill.recipe import Recipe
from waterfill.training.cells import Cells
from waterfill.training.train import Effort

LOG = logging.getLogger("waterfill.faiss")

_BLOCK_BYTES = 16 << 20


def compress(
    index: Any,
    code_bytes: int = 48,
    *,
    plan: Plan | None = None,
    nlist: int | None = None,
    refine: Any = None,
    rows: Any = None,
    row_ids: Any = None,
    queries: Any = None,
    seed: int = 0,
    effort: Effort = "balanced",
    policy: Policy = "raise",
    cells: Cells = "auto",
    progress: Option = False,
) -> IndexFlat | IndexIVF:
    """Compress a FAISS index; ids and metric stay the same.

    Vectors are read block by block, without a copy of all of them: beyond the new index, memory is
    needed for a training sample and one block. `index` is not changed and may be deleted
    afterwards.

    An index that keeps codes (``IndexPQ``, ``IndexScalarQuantizer``, ``IndexRaBitQ`` and so on), or
    fewer dimensions, has lost what it does not keep. Its vectors are decoded, with a warning: the
    new index then finds at best what `index` finds. Give the original vectors as `rows` if you
    still have them; ids, metric and lists are taken from `index`.

    Parameters
    ----------
    index : faiss.Index
        Of float vectors, with METRIC_INNER_PRODUCT or METRIC_L2. Full vectors are read as they are
        from IndexFlat, IndexIVFFlat, IndexHNSWFlat, IndexNSGFlat, from an IndexRefineFlat, whose
        codes are passed by, and behind rotations (``OPQMatrix``, ``RandomRotationMatrix``); all
        others are decoded. They may be within IndexIDMap, IndexIDMap2 or IndexPreTransform, and in
        shards of an IndexShards, which become one index, or replicas. An IndexPreTransform that
        normalises and has inner products becomes an index with the metric ``cosine``.
    code_bytes : int
        Bytes per code, 1 to d, without the byte for the scale.
    plan : Plan, optional
        Used instead of `code_bytes`.
    nlist : int, optional
        Make an IndexIVF with this number of lists. An index with inverted lists always becomes an
        IndexIVF with the same lists, centroids and `nprobe`; behind a transformation that cannot be
        undone, with as many new ones. So do shards with lists of their own.
    refine : {'float16', 'int8', 'float32'} or array, shape (m, d), optional
        As for `IndexFlat` and `IndexIVF`.
    rows : array_like or BlockSource, shape (m, d), optional
        The vectors that were added to `index`, instead of decoded ones. A sample is compared with
        the codes.
    row_ids : array_like of int64, shape (m,), optional
        The id of each of `rows`, in any order; there may be more than `index` has. Without it,
        `rows` are in the order in which they were added, or their numbers are the ids.
    queries : array_like, shape (m, d), optional
        See `Codec.train`.
    seed : int
        See `Codec.train`.
    effort : {'fast', 'balanced', 'best'}
        See `Codec.train`.
    policy : {'raise', 'drop', 'quarantine'}
        What to do with vectors that hold a NaN or an infinity: see `IndexFlat.add`. With ``drop``
        and ``quarantine`` ids that are positions become explicit, so that the others keep theirs.
    cells : int, 'auto', or array_like, shape (c, d)
        See `Codec.train`; not with lists, which are the cells.
    progress : bool or callable, optional
        See `Codec.train`.

    Returns
    -------
    IndexFlat or IndexIVF
        With explicit ids for IndexIDMap and IndexIDMap2, and for inverted lists whose ids are not
        0 to n - 1.

    Raises
    ------
    TypeError
        If `index` is no FAISS index of float vectors, or cannot give its vectors back.
    ValueError
        If the metric is neither inner product nor L2, the index has no vectors or one with a NaN
        or an infinity, there are more bytes than dimensions or more lists than vectors, or `rows`
        are not those of the index.

    Warns
    -----
    RuntimeWarning
        If vectors are decoded, or left out.
    """
    policy = as_policy(policy)
    stored = stored_vectors(index)
    if stored.n == 0:
        raise ValueError("index has no vectors; add vectors to it before it is compressed")
    _check_plan(plan, stored.d)
    lists = stored.lists
    if lists is not None and nlist is not None:
        raise ValueError(
            f"nlist={nlist}: an index with lists keeps its {lists.nlist}; leave nlist out"
        )
    if nlist is not None and as_nlist(nlist) > stored.n:
        raise ValueError(f"nlist={nlist} must be at most the {stored.n} vectors of the index")
    if (nlist is not None or lists is not None) and not _is_auto(cells):
        raise ValueError("cells: expected 'auto' with lists, which are the cells; leave it out")
    if rows is not None or row_ids is not None:
        stored = with_rows(stored, rows, row_ids)
    stored.read()
    if nlist is not None:
        cells = nlist
    quantizer: Any = None
    if lists is not None:
        cells = nlist = lists.nlist
        if lists.quantizer is not None:
            quantizer = loaded_faiss().clone_index(lists.quantizer)
            cells = np.asarray(quantizer.reconstruct_n(0, nlist))
    with metered(progress) as meter:
        meter.begin("sample", None)
        sample = _usable(stored.sample(seed), policy)
        codec = _train(sample, code_bytes, plan, seed, cells, queries, stored.metric, effort, meter)
        _warn_of_losses(stored, codec)
        warn_of_training(codec, stored.metric, stored.n, refine)
        made = _filled(stored, codec, nlist, quantizer, refine, policy, meter)
    faiss = loaded_faiss()  # loaded, as `index` is one of its objects
    if isinstance(faiss.downcast_index(index), faiss.IndexIDMap):
        made._keep_ids()
    LOG.info("compressed a FAISS index: %r", made)
    return made


def _filled(
    stored: Stored,
    codec: Codec,
    nlist: int | None,
    quantizer: Any,
    refine: Any,
    policy: Policy,
    meter: Meter,
) -> IndexFlat | IndexIVF:
    """Return an index with the stored vectors."""
    made: IndexFlat | IndexIVF
    if nlist is None:
        made = IndexFlat(codec, stored.metric, refine=refine)
    else:
        made = IndexIVF(codec, nlist, quantizer, metric=stored.metric, refine=refine)
        if stored.lists is not None:
            made.nprobe = stored.lists.nprobe
    meter.begin("encoding", stored.n)
    for ids, block in blocks(stored, with_ids=policy != "raise"):
        if ids is None:
            made.add(block)
        else:
            made.add_with_ids(block, ids, policy=policy)
        meter.advance(len(block))
    return made


def blocks(stored: Stored, *, with_ids: bool = False) -> Iterator[tuple[Ids | None, FloatRows]]:
    """Yield vectors and their ids; None for ids that are positions, unless `with_ids`."""
    vectors = stored.read()
    count = max(1, _BLOCK_BYTES // (4 * stored.d))
    all_ids = np.arange(stored.n) if with_ids and stored.ids is None else stored.ids
    for first in range(0, stored.n, count):
        n = min(count, stored.n - first)
        yield None if all_ids is None else all_ids[first : first + n], vectors.read(first, n)


def _is_auto(cells: Any) -> bool:
    return isinstance(cells, str) and cells == "auto"


def _check_plan(plan: Any, d: int) -> None:
    if plan is not None and not isinstance(plan, Plan):
        raise TypeError(f"plan must be a waterfill.Plan, got {type(plan).__name__}")
    if plan is not None and plan.d != d:
        raise ValueError(f"plan has {plan.d} dimensions, expected {d} as in the index")


def _warn_of_losses(stored: Stored, codec: Codec) -> None:
    if stored.losses:
        warnings.warn(
            f"index: {'; '.join(stored.losses)}. Vectors are decoded, and what they have lost "
            f"stays lost beside what codes of {codec.code_size} bytes lose: the new index finds at "
            "best the neighbours that the old one finds. Pass the original vectors as rows= to "
            "avoid it",
            RuntimeWarning,
            stacklevel=caller_stacklevel(),
        )


def _usable(sample: FloatRows, policy: Policy) -> Any:
    """Return the rows of a sample that can be used; those of the index are reported later."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return admit(Rows(sample, "index"), policy).rows.source


def _train(
    sample: Any,
    code_bytes: int,
    plan: Plan | None,
    seed: int,
    cells: Cells,
    queries: Any,
    metric: Metric,
    effort: Effort,
    meter: Meter,
) -> Codec:
    options: Any = {"cells": cells, "queries": queries, "progress": meter}
    if plan is None:
        recipe = Recipe(int(sample.shape[1]), code_bytes, seed=seed, effort=effort)
        return recipe.train(sample, metric, **options)
    return Codec.train(sample, plan, seed, metric=metric, effort=effort, **options)
