"""sentence-transformers: codes of embeddings, and semantic search in them.

The functions take what a model's ``encode`` returns, and do without the package itself.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from waterfill.codec import Codec
from waterfill.data.rows import Rows
from waterfill.index.flat import IndexFlat
from waterfill.integrations.code_bytes import code_bytes_for
from waterfill.recipe import Recipe

__all__ = ["quantize_embeddings_waterfill", "semantic_search_waterfill", "train_codec"]

Hits = list[list[dict[str, int | float]]]


def train_codec(calibration_embeddings: Any, code_bytes: int | None = None) -> Codec:
    """Train a codec on embeddings like those that will be quantized.

    Parameters
    ----------
    calibration_embeddings : tensor or array_like, shape (n, d)
        Some thousands are enough.
    code_bytes : int, optional
        Without the byte for the scale: by default a bit per dimension, at least 8 bytes.

    Returns
    -------
    Codec
        For `quantize_embeddings_waterfill`.

    Raises
    ------
    ValueError, TypeError
        If there are no embeddings, or they hold a NaN or an infinity.
    """
    x = _as_array(calibration_embeddings)
    d = Rows(x, "calibration_embeddings").d
    return Recipe(d, code_bytes_for(d, code_bytes)).train(x, "ip", cells=0)


def quantize_embeddings_waterfill(embeddings: Any, codec: Codec) -> NDArray[np.uint8]:
    """Quantize embeddings, as ``sentence_transformers.quantize_embeddings`` does with a precision.

    Parameters
    ----------
    embeddings : tensor or array_like, shape (n, d)
        The embeddings.
    codec : Codec
        Of `train_codec`.

    Returns
    -------
    uint8 (n, codec.code_size)
        ``codec.decode`` makes embeddings of them.

    Raises
    ------
    ValueError, TypeError
        If embeddings have another number of dimensions, or a NaN or an infinity.
    """
    if not isinstance(codec, Codec):
        raise TypeError(
            f"codec: expected a waterfill.Codec, got {type(codec).__name__}; train_codec makes one"
        )
    return codec.encode(_as_array(embeddings))


def semantic_search_waterfill(
    query_embeddings: Any,
    corpus_embeddings: Any = None,
    corpus_index: Any = None,
    *,
    codec: Codec | None = None,
    code_bytes: int | None = None,
    top_k: int = 10,
    rescore: bool = True,
    output_index: bool = False,
) -> tuple[Any, ...]:
    """Search as ``sentence_transformers.util.semantic_search_faiss`` does.

    Parameters
    ----------
    query_embeddings : tensor or array_like, shape (n, d) or (d,)
        Embeddings of the queries.
    corpus_embeddings : tensor or array_like, shape (m, d), optional
        Embeddings, or codes of `quantize_embeddings_waterfill` with their `codec`.
    corpus_index : IndexFlat or IndexIVF, optional
        An index of ours, instead of embeddings.
    codec : Codec, optional
        By default one is trained on the embeddings.
    code_bytes : int, optional
        As for `train_codec`.
    top_k : int
        Most hits per query.
    rescore : bool
        Keep float16 rows of the embeddings, by which the best are scored exactly. Codes alone have
        none.
    output_index : bool
        Whether to return the index, too.

    Returns
    -------
    hits : list of list of dict
        For each query at most `top_k` of ``{"corpus_id": int, "score": float}``, the best first.
        Scores are inner products: cosines if embeddings have norm 1.
    seconds : float
        The time of the search alone.
    index : IndexFlat or IndexIVF
        With `output_index`: for `corpus_index` of the next call.

    Raises
    ------
    ValueError, TypeError
        Unless there are either embeddings or an index; if they do not go together.
    """
    if (corpus_embeddings is None) == (corpus_index is None):
        raise ValueError("corpus_embeddings, corpus_index: expected one of them")
    if corpus_index is None:
        corpus_index = _as_index(corpus_embeddings, codec, code_bytes, rescore)
    elif codec is not None or code_bytes is not None:
        raise ValueError("codec, code_bytes: expected none, since corpus_index has a codec")
    queries = np.atleast_2d(_as_array(query_embeddings))
    started = time.perf_counter()
    scores, ids = corpus_index.search(queries, top_k)
    seconds = time.perf_counter() - started
    hits: Hits = [
        [
            {"corpus_id": int(id), "score": float(score)}
            for id, score in zip(own_ids, own_scores, strict=True)
            if id != -1
        ]
        for own_ids, own_scores in zip(ids, scores, strict=True)
    ]
    return (hits, seconds, corpus_index) if output_index else (hits, seconds)


def _as_index(corpus: Any, codec: Codec | None, code_bytes: int | None, rescore: bool) -> IndexFlat:
    x = _as_array(corpus)
    if x.dtype == np.uint8:
        if codec is None:
            raise ValueError(
                "codec: expected the one that made the codes, got None; pass codec=, or embeddings"
            )
        index = IndexFlat(codec, "ip")
        index.add_sa_codes(x)
        return index
    chosen = train_codec(x, code_bytes) if codec is None else codec
    index = IndexFlat(chosen, "ip", refine="float16" if rescore else None)
    index.add(x)
    return index


def _as_array(embeddings: Any) -> NDArray[Any]:
    """Return embeddings as an array, also tensors on a device or of bfloat16, and lists of them."""
    if hasattr(embeddings, "detach"):
        tensor = embeddings.detach().cpu()
        embeddings = (tensor.float() if tensor.is_floating_point() else tensor).numpy()
    elif isinstance(embeddings, list | tuple):
        embeddings = np.stack([_as_array(each) for each in embeddings]) if embeddings else []
    return np.asarray(embeddings)
