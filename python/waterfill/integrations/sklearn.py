"""scikit-learn: codes as features, and a graph of neighbours."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from waterfill._util.optional import required
from waterfill._util.validation import Metric
from waterfill.data.rows import FloatRows
from waterfill.index.flat import IndexFlat
from waterfill.integrations.code_bytes import code_bytes_for
from waterfill.recipe import Recipe
from waterfill.training.train import Effort

with required("sklearn", "waterfill.integrations.sklearn", "scikit-learn"):
    from scipy.sparse import csr_matrix
    from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
    from sklearn.utils.validation import check_array, check_is_fitted, validate_data

__all__ = ["WaterfillNeighborsTransformer", "WaterfillTransformer"]

_METRICS: dict[str, Metric] = {"euclidean": "l2", "l2": "l2", "cosine": "cosine"}


class WaterfillTransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Compresses rows to codes, and decodes them.

    Parameters
    ----------
    code_bytes : int, optional
        Bytes of a code, without the one for the scale: by default a bit per feature, at least 8.
    weighting : float
        See `waterfill.Plan.waterfill`. The default is the least squared error.
    effort : {'fast', 'balanced', 'best'}
        See `waterfill.Codec.train`.
    random_state : int
        Seed of training.

    Attributes
    ----------
    codec_ : waterfill.Codec
        The trained codec.
    n_features_in_ : int
        Number of features of the rows of `fit`.
    feature_names_in_ : ndarray of str, shape (n_features,)
        If the rows had names.

    Examples
    --------
    >>> codes = WaterfillTransformer(code_bytes=48).fit_transform(X)  # doctest: +SKIP
    """

    def __init__(
        self,
        code_bytes: int | None = None,
        *,
        weighting: float = 0.0,
        effort: Effort = "balanced",
        random_state: int = 0,
    ) -> None:
        self.code_bytes = code_bytes
        self.weighting = weighting
        self.effort = effort
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> WaterfillTransformer:
        """Train the codec.

        Parameters
        ----------
        X : array_like, shape (n, d)
            Rows like those to compress.
        y : object
            Ignored.

        Returns
        -------
        WaterfillTransformer
            The transformer itself.

        Raises
        ------
        ValueError, TypeError
            If `X` has a NaN or an infinity, is sparse, or a parameter is out of range.
        """
        rows = validate_data(self, X, dtype=np.float32, order="C")
        d = rows.shape[1]
        recipe = Recipe(
            d,
            code_bytes_for(d, self.code_bytes),
            weighting=self.weighting,
            seed=self.random_state,
            effort=self.effort,
        )
        self.codec_ = recipe.train(rows, "l2", cells=0)
        return self

    def transform(self, X: Any) -> NDArray[np.uint8]:
        """Return the codes of rows.

        Parameters
        ----------
        X : array_like, shape (n, d)
            The rows.

        Returns
        -------
        uint8 (n, code_bytes + 1)
            The codes.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError, TypeError
            If `X` has a NaN or an infinity, or another number of features.
        """
        check_is_fitted(self)
        return self.codec_.encode(validate_data(self, X, dtype=np.float32, order="C", reset=False))

    def inverse_transform(self, X: Any) -> FloatRows:
        """Return the rows that codes stand for.

        Parameters
        ----------
        X : array_like of int, shape (n, code_bytes + 1)
            Codes of `transform`.

        Returns
        -------
        float32 (n, d)
            The rows.

        Raises
        ------
        ValueError, TypeError
            If `X` are no codes of this transformer.
        """
        check_is_fitted(self)
        codes = check_array(X)
        if not np.issubdtype(codes.dtype, np.integer) and not (codes == np.rint(codes)).all():
            raise ValueError("X: expected codes, which are integers from 0 to 255")
        if codes.min() < 0 or codes.max() > np.iinfo(np.uint8).max:
            raise ValueError(
                f"X: expected codes from 0 to 255, got values from {codes.min()} to {codes.max()}"
            )
        return self.codec_.decode(codes.astype(np.uint8))

    @property
    def _n_features_out(self) -> int:
        return int(self.codec_.code_size)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []
        return tags


class WaterfillNeighborsTransformer(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator
):
    """The graph of the nearest neighbours among the rows of `fit`, from compressed rows.

    As ``sklearn.neighbors.KNeighborsTransformer``, before an estimator with
    ``metric="precomputed"``.

    Parameters
    ----------
    n_neighbors : int
        With ``mode="distance"`` each row gets one more, since a row of `fit` is its own neighbour.
    mode : {'distance', 'connectivity'}
        Whether edges have distances, or ones.
    metric : {'euclidean', 'l2', 'cosine'}
        The distance; of ``cosine`` it is 1 less the cosine.
    code_bytes : int, optional
        As for `WaterfillTransformer`.
    refine : {'float16', 'int8', 'float32', None}
        Rows in memory that re-rank the best candidates, for exact distances.
    random_state : int
        Seed of training.

    Attributes
    ----------
    index_ : waterfill.IndexFlat
        The rows of `fit`.
    n_samples_fit_ : int
        Number of these rows.
    n_features_in_ : int
        Number of their features.
    feature_names_in_ : ndarray of str, shape (n_features,)
        If the rows had names.
    """

    def __init__(
        self,
        n_neighbors: int = 5,
        *,
        mode: str = "distance",
        metric: str = "euclidean",
        code_bytes: int | None = None,
        refine: str | None = "float16",
        random_state: int = 0,
    ) -> None:
        self.n_neighbors = n_neighbors
        self.mode = mode
        self.metric = metric
        self.code_bytes = code_bytes
        self.refine = refine
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> WaterfillNeighborsTransformer:
        """Train a codec on rows, and index them.

        Parameters
        ----------
        X : array_like, shape (n, d)
            The rows.
        y : object
            Ignored.

        Returns
        -------
        WaterfillNeighborsTransformer
            The transformer itself.

        Raises
        ------
        ValueError, TypeError
            If `X` has a NaN or an infinity, is sparse, or a parameter is out of range.
        """
        if self.mode not in ("distance", "connectivity"):
            raise ValueError(f"mode: expected 'distance' or 'connectivity', got {self.mode!r}")
        if self.metric not in _METRICS:
            raise ValueError(f"metric: expected one of {[*_METRICS]}, got {self.metric!r}")
        rows = validate_data(self, X, dtype=np.float32, order="C")
        d = rows.shape[1]
        recipe = Recipe(d, code_bytes_for(d, self.code_bytes), seed=self.random_state)
        metric = _METRICS[self.metric]
        self.index_ = IndexFlat(recipe.train(rows, metric), metric, refine=self.refine)
        self.index_.add(rows)
        self.n_samples_fit_ = len(rows)
        return self

    def transform(self, X: Any) -> Any:
        """Return the graph from rows to their nearest among those of `fit`.

        Parameters
        ----------
        X : array_like, shape (n, d)
            Queries.

        Returns
        -------
        csr_matrix of float32, shape (n, n_fitted)
            Edges of a row are in order of their distances.

        Raises
        ------
        ValueError
            If there are fewer rows than neighbours.
        """
        check_is_fitted(self)
        rows = validate_data(self, X, dtype=np.float32, order="C", reset=False)
        k = self.n_neighbors + (self.mode == "distance")
        if not 1 <= k <= self.n_samples_fit_:
            raise ValueError(
                f"n_neighbors: expected 1 to {self.n_samples_fit_ - (self.mode == 'distance')}, "
                f"since {self.n_samples_fit_} rows were fitted, got {self.n_neighbors}"
            )
        scores, ids = self.index_.search(rows, k)
        edges = np.ones(ids.size, np.float32)
        if self.mode == "distance":
            squared = _METRICS[self.metric] == "l2"
            distances = np.maximum(scores if squared else 1 - scores, 0).ravel()
            edges = np.sqrt(distances) if squared else distances
        starts = np.arange(0, ids.size + 1, k)
        return csr_matrix((edges, ids.ravel(), starts), shape=(len(rows), self.n_samples_fit_))

    @property
    def _n_features_out(self) -> int:
        return self.n_samples_fit_

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []
        return tags
