"""An index backend for MTEB: its retrieval and reranking tasks, answered from codes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from waterfill._util.optional import require
from waterfill._util.validation import Metric
from waterfill.data.arrays import read_numbers
from waterfill.data.rows import FloatRows
from waterfill.evaluation.ground_truth import true_neighbours
from waterfill.index.flat import IndexFlat
from waterfill.integrations.code_bytes import code_bytes_for
from waterfill.recipe import Recipe

__all__ = ["WaterfillSearchIndex"]

_METRICS: dict[str, Metric] = {"dot": "ip", "cosine": "cosine", "euclidean": "l2"}
_FEWEST = 256  # documents from which a codec is trained; fewer are searched as they are

Found = tuple[list[list[float]], list[list[int]]]


class WaterfillSearchIndex:
    """Searches documents in codes, for ``mteb.models.SearchEncoderWrapper(index_backend=)``.

    A codec is trained on the documents of each task; fewer than 256 are compared as they are. A
    task then scores the model and the compression together.

    Parameters
    ----------
    model : EncoderProtocol
        As of MTEB's own backends: it says which similarity to use.
    code_bytes : int, optional
        Bytes per document, without that of the scale; by default a bit per dimension.
    refine : {'float16', 'int8', 'float32'}, optional
        Rows that give the best candidates exact scores; without, scores are estimates.
    seed : int
        Of the training.

    Raises
    ------
    ImportError
        If MTEB is not installed: ``pip install ".[mteb]"``.
    ValueError
        If the model's similarity is not the dot product, the cosine or the Euclidean distance.
    """

    def __init__(
        self, model: Any, code_bytes: int | None = None, *, refine: Any = None, seed: int = 0
    ) -> None:
        require("mteb", "waterfill.integrations.mteb", "mteb")
        similarity = model.mteb_model_meta.similarity_fn_name
        name = str(getattr(similarity, "value", similarity))
        if name not in _METRICS:
            raise ValueError(
                f"model: expected a similarity of {', '.join(_METRICS)}, got {name}; use a model "
                "whose mteb_model_meta names one of them"
            )
        self.metric = _METRICS[name]
        self._options = code_bytes, refine, seed
        self.clear()

    def clear(self) -> None:
        """Forget all documents."""
        self._index: IndexFlat | None = None
        self._rows: FloatRows | None = None
        self._names: list[str] = []

    def add_documents(self, embeddings: Any, idxs: Sequence[str]) -> None:
        """Add documents; the first of them train the codec.

        Parameters
        ----------
        embeddings : tensor or array, shape (n, d)
            Of the documents; of any real dtype.
        idxs : sequence of str
            Their ids.
        """
        rows = _floats(embeddings)
        if self._index is None:
            kept = rows if self._rows is None else np.vstack([self._rows, rows])
            if len(kept) < _FEWEST:
                self._rows = kept
            else:
                self._index, self._rows = self._trained(kept), None
                self._index.add(kept)
        else:
            self._index.add(rows)
        self._names += [str(each) for each in idxs]

    def _trained(self, rows: FloatRows) -> IndexFlat:
        code_bytes, refine, seed = self._options
        d = int(rows.shape[1])
        recipe = Recipe(d, code_bytes_for(d, code_bytes), seed=seed)
        return IndexFlat(recipe.train(rows, self.metric), self.metric, refine=refine)

    def search(
        self,
        embeddings: Any,
        top_k: int,
        similarity_fn: Callable[[Any, Any], Any],
        top_ranked: Mapping[str, Sequence[str]] | None = None,
        query_idx_to_id: Mapping[int, str] | None = None,
    ) -> Found:
        """Search all documents, or rank those of `top_ranked`.

        Parameters
        ----------
        embeddings : tensor or array, shape (m, d)
            Of the queries; of any real dtype.
        top_k : int
            Number of documents for each.
        similarity_fn : callable
            Of the model; scores follow from the metric instead, as of MTEB's own backend of FAISS.
        top_ranked : mapping of str to sequence of str, optional
            Documents to rank, by query.
        query_idx_to_id : mapping of int to str, optional
            Ids of the queries, with `top_ranked`.

        Returns
        -------
        scores : list of list of float
            Higher is better; of a Euclidean model the negative distances.
        numbers : list of list of int
            Positions of the documents, in the order in which they were added; with `top_ranked` in
            its lists.

        Raises
        ------
        ValueError
            If there are no documents, or `top_ranked` comes without `query_idx_to_id`.
        """
        if not self._names:
            raise ValueError("no documents; call add_documents first")
        queries = _floats(embeddings)
        if top_ranked is None:
            return self._best(queries, min(top_k, len(self._names)))
        if query_idx_to_id is None:
            raise ValueError("query_idx_to_id must be given with top_ranked")
        places = {name: place for place, name in enumerate(self._names)}
        scores: list[list[float]] = []
        numbers: list[list[int]] = []
        for row, query in enumerate(queries):
            documents = [places[name] for name in top_ranked.get(query_idx_to_id[row], ())]
            own = self._similarities(query, documents)
            best = np.argsort(-own, kind="stable")[:top_k]
            scores.append(own[best].tolist())
            numbers.append(best.tolist())
        return scores, numbers

    def _best(self, queries: FloatRows, k: int) -> Found:
        if self._index is not None:
            distances, numbers = self._index.search(queries, k)
        else:
            assert self._rows is not None
            numbers = true_neighbours(self._rows, queries, self.metric, k)
            distances = self._exact(queries, self._rows, numbers)
        if self.metric == "l2":
            distances = -np.sqrt(np.maximum(distances, 0))
        return distances.tolist(), numbers.tolist()

    def _exact(self, queries: FloatRows, rows: FloatRows, numbers: Any) -> Any:
        near = rows[numbers].astype(np.float64)
        wide = queries.astype(np.float64)[:, None]
        if self.metric == "l2":
            return np.square(near - wide).sum(axis=2)
        products = (near * wide).sum(axis=2)
        if self.metric == "cosine":
            norms = np.linalg.norm(near, axis=2) * np.linalg.norm(wide, axis=2)
            products /= np.where(norms > 0, norms, 1)
        return products

    def _similarities(self, query: FloatRows, documents: list[int]) -> Any:
        """Return the scores of some documents, which are decoded."""
        if not documents:
            return np.empty(0)
        numbers = np.array(documents)
        rows = self._decoded(numbers)
        own = self._exact(query[None], rows, np.arange(len(rows))[None])[0]
        return -np.sqrt(own) if self.metric == "l2" else own

    def _decoded(self, numbers: Any) -> FloatRows:
        if self._index is not None:
            return self._index.reconstruct_batch(numbers)
        assert self._rows is not None
        return self._rows[numbers]


def _floats(embeddings: Any) -> FloatRows:
    values = embeddings.cpu() if hasattr(embeddings, "cpu") else embeddings
    rows: FloatRows = np.ascontiguousarray(read_numbers(values, "embeddings"), np.float32)
    return rows
