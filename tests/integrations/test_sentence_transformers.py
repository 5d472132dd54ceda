"""Codes and semantic search beside the functions of sentence-transformers, on real embeddings."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support.store_checks import load

import waterfill as wf
from waterfill.integrations.sentence_transformers import (
    quantize_embeddings_waterfill,
    semantic_search_waterfill,
    train_codec,
)

quantization, st_util, torch = load(
    "sentence_transformers.util.quantization", "sentence_transformers.util", "torch"
)

ROWS = 2000


@pytest.fixture(scope="module")
def corpus(base: NDArray[np.float32]) -> NDArray[np.float32]:
    return base[:ROWS]


def ids(hits: Any) -> list[list[int]]:
    return [[hit["corpus_id"] for hit in own] for own in hits]


def overlap(hits: Any, others: Any) -> float:
    pairs = zip(ids(hits), ids(others), strict=True)
    return float(np.mean([len({*a} & {*b}) / len(b) for a, b in pairs]))


def test_it_answers_as_the_function_of_the_host(corpus: Any, queries: NDArray[np.float32]) -> None:
    exact = st_util.semantic_search(queries, corpus, top_k=10, score_function=st_util.dot_score)
    hits, seconds, index = semantic_search_waterfill(queries, corpus, output_index=True)
    assert seconds > 0
    assert overlap(hits, exact) > 0.97
    for own, true in zip(hits, exact, strict=True):
        scores = {hit["corpus_id"]: hit["score"] for hit in true}
        assert [hit["score"] for hit in own] == sorted((h["score"] for h in own), reverse=True)
        for hit in own:
            assert type(hit["corpus_id"]) is int
            score = scores.get(hit["corpus_id"], hit["score"])
            assert hit["score"] == pytest.approx(score, abs=2e-3)
    again, _ = semantic_search_waterfill(queries, corpus_index=index)
    assert again == hits
    theirs, _ = quantization.semantic_search_faiss(queries, corpus_index=index, rescore=False)
    assert ids(theirs) == ids(hits)
    (one,), _ = semantic_search_waterfill(queries[3], corpus_index=index, top_k=3)
    assert one == hits[3][:3]
    few, _ = semantic_search_waterfill(queries[:2], corpus[:4])
    assert [len(own) for own in few] == [4, 4]


def test_codes_find_more_than_binary_ones_of_the_same_size(
    corpus: Any, queries: NDArray[np.float32]
) -> None:
    exact = st_util.semantic_search(queries, corpus, top_k=10, score_function=st_util.dot_score)
    codec = train_codec(corpus[:1500])
    codes = quantize_embeddings_waterfill(corpus, codec)
    binary = quantization.quantize_embeddings(corpus, "ubinary")
    assert codes.dtype == binary.dtype == np.uint8
    assert codes.shape[1] == binary.shape[1] + 1 == 49
    ours, _ = semantic_search_waterfill(queries, codes, codec=codec)
    theirs, _ = quantization.semantic_search_faiss(
        queries, binary, corpus_precision="ubinary", rescore_multiplier=4
    )
    assert overlap(ours, exact) > overlap(theirs, exact)
    assert overlap(ours, exact) > 0.7
    kept, _ = semantic_search_waterfill(queries, corpus, codec=codec, rescore=False)
    assert ids(kept) == ids(ours)
    error = np.square(codec.decode(codes) - corpus).sum(axis=1).mean()
    assert error < 0.3


def test_tensors_and_lists(corpus: Any, queries: NDArray[np.float32]) -> None:
    codec = train_codec(torch.from_numpy(corpus), 24)
    codes = quantize_embeddings_waterfill(corpus[:50], codec)
    assert codes.shape == (50, 25)
    tensor = torch.from_numpy(corpus[:50]).requires_grad_()
    for same in (tensor, [*tensor], [*corpus[:50]], corpus[:50].tolist(), corpus[:50].astype("f8")):
        np.testing.assert_array_equal(quantize_embeddings_waterfill(same, codec), codes)
    half = quantize_embeddings_waterfill(tensor.bfloat16(), codec)
    assert (half == codes).mean() > 0.7
    hits, _ = semantic_search_waterfill(torch.from_numpy(queries), torch.from_numpy(corpus))
    assert hits == semantic_search_waterfill(queries, corpus)[0]
    assert (
        ids(semantic_search_waterfill(corpus[:5], torch.from_numpy(codes), codec=codec)[0])[0][0]
        == 0
    )


def test_any_index_of_ours_is_searched(corpus: Any, queries: Any, tmp_path: Any) -> None:
    exact = st_util.semantic_search(queries, corpus, top_k=10, score_function=st_util.dot_score)
    graph = wf.index_factory(384, "WFHNSW16", 0)
    graph.train(corpus)
    graph.add(corpus)
    with wf.open_index(tmp_path / "a", "a", codec=train_codec(corpus), refine="float16") as folder:
        folder.add(corpus)
        for index in (graph, folder):
            assert overlap(semantic_search_waterfill(queries, corpus_index=index)[0], exact) > 0.9


def test_bad_input(corpus: Any, queries: NDArray[np.float32]) -> None:
    codec = train_codec(corpus[:500], 8)
    with pytest.raises(ValueError, match="corpus_embeddings, corpus_index: expected one of them"):
        semantic_search_waterfill(queries)
    with pytest.raises(ValueError, match="corpus_embeddings, corpus_index: expected one of them"):
        semantic_search_waterfill(queries, corpus, wf.IndexFlat(codec))
    with pytest.raises(ValueError, match="codec, code_bytes: expected none"):
        semantic_search_waterfill(queries, corpus_index=wf.IndexFlat(codec), codec=codec)
    codes = quantize_embeddings_waterfill(corpus, codec)
    with pytest.raises(ValueError, match="codec: expected the one that made the codes, got None"):
        semantic_search_waterfill(queries, codes)
    with pytest.raises(TypeError, match=r"codec: expected a waterfill\.Codec, got str"):
        quantize_embeddings_waterfill(corpus, "binary")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="dimensions"):
        quantize_embeddings_waterfill(corpus[:, :100], codec)
    with pytest.raises(ValueError, match="no rows"):
        train_codec(corpus[:0])
