"""`IndexFlat`: exhaustive search, the replacement for a flat FAISS index."""

from __future__ import annotations

from typing import Any

from waterfill._util.validation import Metric
from waterfill.codec import Codec
from waterfill.index.base import Index
from waterfill.plan import Plan
from waterfill.recipe import Recipe


class IndexFlat(Index):
    """Compressed vectors, searched exhaustively in two or three stages.

    The coarse stage reads half of every code, or less: the high nibbles, whose tables stay in
    registers (fast scan [1]_). The full score of whole bytes is that of product quantization [2]_.
    Of the best ``refine_factor * k`` vectors, those that can be among the results get the full
    score. There are at least 100 candidates, unless `refine_factor` was set. With `refine` the best
    ``k_factor * k`` are scored by exact rows. Ids are positions, as in FAISS: the first vector has
    id 0, and `remove_ids` renumbers the remaining vectors, unless vectors were added with explicit
    ids.

    Parameters
    ----------
    codec : Codec, Plan or Recipe
        A plan or a recipe is trained by `train`, as FAISS's indexes are.
    metric : {'ip', 'l2', 'cosine'} or int
        ``ip``: inner product, higher is nearer. ``l2``: squared Euclidean distance, lower is
        nearer. ``cosine``: inner product of vectors and queries divided by their norms; zero
        vectors stay zero. FAISS's numbers are accepted: METRIC_INNER_PRODUCT (0), METRIC_L2 (1).
    refine : {'float16', 'int8', 'float32'} or array, shape (m, d), optional
        Rows for re-ranking: kept in memory in this type (2, 1 or 4 bytes per dimension), or your
        own array of float32 or float16, such as a memory map. Your array is not copied and must not
        change; its row i is the vector with id i.
    k_factor : float
        Candidates per requested neighbour that the third stage scores. It ranks all candidates,
        and the second stage is skipped, if `k_factor` is at least a sixteenth of `refine_factor` or
        there are at most 64. Rows of a mapped file count as in memory. With your own array,
        `k_factor` must be `refine_factor` or more for that: reading rows from a disk takes longer
        than the second stage.

    Attributes
    ----------
    refine_factor : int
        At least 1; by default the codec's choice. A higher value is slower and finds more of what
        the full score would find.
    coarse_groups : int
        Groups that the coarse stage reads, those that contribute most first: the codec's choice at
        first, and all in a search that scans few vectors (some ten thousand to some hundred
        thousand: the fewer, the more groups the codec leaves out), unless rows rank fewer than 256
        candidates. May be set, from 1 to the number of groups (code bytes); then it holds for every
        search.
    prune_sigma : float
        With cells: a search scans the cells nearest to the query first, and skips a cell if its
        vectors would score less than the results so far even with products with the query that
        are `prune_sigma` standard deviations above zero. The codec's choice at first; may be set,
        at least 0; ``float("inf")`` scans every cell.
    k_factor : float
        At least 1; can be changed.

    Raises
    ------
    ValueError
        For an unknown metric, or one that does not go with the codec: ``cosine`` needs a codec
        trained on vectors of norm 1 (``wf.analyze(x, normalize=True)``), ``l2`` a plan without
        `pq_multiplier`. For another `refine`, or an array of another number of dimensions.
    TypeError
        If `codec` or `refine` has the wrong type.

    Notes
    -----
    With ``q`` a query, ``c`` the centroid of the vector's cell (the mean where the codec has no
    cells), ``u`` the decoded direction, ``rho`` the distance from c and ``s = rho / |u|**alpha``,
    the full score is ``<q, c> + s <q, u>`` for inner products and ``|q - c - s u|^2`` for L2.

    References
    ----------
    .. [1] F. André, A.-M. Kermarrec and N. Le Scouarnec, "Cache locality is not enough:
       high-performance nearest neighbor search with product quantization fast scan", Proceedings of
       the VLDB Endowment 9(4), 2015.
    .. [2] H. Jégou, M. Douze and C. Schmid, "Product quantization for nearest neighbor search",
       IEEE Transactions on Pattern Analysis and Machine Intelligence 33(1), 2011.
    """

    def __init__(
        self,
        codec: Codec | Plan | Recipe,
        metric: Metric | int = "ip",
        *,
        refine: Any = None,
        k_factor: float = 4.0,
    ) -> None:
        super().__init__(codec, metric, refine, k_factor)

    def __repr__(self) -> str:
        if not self.is_trained:
            return f"IndexFlat: not trained, {self.d} dimensions, metric {self.metric!r}"
        return (
            f"IndexFlat: {self.ntotal:,} vectors of {self.d} dimensions in "
            f"{self.bytes_per_vector:.4g} bytes each, {self.nbytes:,} bytes of memory in all, "
            f"metric {self.metric!r}"
        )
