"""nDCG and MRR of labelled queries: against trec_eval, of every method, with their intervals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.doc_examples import needs_docs, run_example

from waterfill.evaluation import Judgements, evaluate_answers, read_qrels
from waterfill.evaluation.answer_methods import default_methods, exact, peer_methods, waterfill
from waterfill.evaluation.answers import bootstrap, score

DOCUMENTS = 30


def judged(gains):
    triples = [(str(q), str(d), g) for q, own in gains.items() for d, g in own.items()]
    return Judgements.of(triples, [str(q) for q in range(5)], [str(d) for d in range(DOCUMENTS)])


@given(
    st.dictionaries(
        st.integers(0, 4),
        st.dictionaries(st.integers(0, DOCUMENTS - 1), st.integers(1, 3), min_size=1),
        min_size=1,
    ),
    st.integers(1, 12),
    st.integers(0, 99),
)
def test_scores_are_those_of_trec_eval(gains, k, seed):
    trec = pytest.importorskip("pytrec_eval")
    judgements = judged(gains)
    rng = np.random.default_rng(seed)
    found = np.stack([rng.permutation(DOCUMENTS)[:k] for _ in judgements.queries])
    ndcg, ranks = score(found, judgements, k)
    qrels = {f"q{q}": {f"d{d}": g for d, g in own.items()} for q, own in gains.items()}
    run = {
        f"q{q}": {f"d{d}": float(k - rank) for rank, d in enumerate(row)}
        for q, row in zip(judgements.queries, found, strict=True)
    }
    want = trec.RelevanceEvaluator(qrels, {f"ndcg_cut.{k}", "recip_rank"}).evaluate(run)
    for q, own, rank in zip(judgements.queries, ndcg, ranks, strict=True):
        assert own == pytest.approx(want[f"q{q}"][f"ndcg_cut_{k}"])
        assert rank == pytest.approx(want[f"q{q}"]["recip_rank"])


def test_scores_by_hand():
    judgements = judged({1: {4: 1.0}, 3: {5: 1.0, 6: 1.0}})
    ndcg, ranks = score(np.array([[9, 4, 7], [5, -1, 6]]), judgements, 3)
    np.testing.assert_allclose(ranks, [0.5, 1])
    np.testing.assert_allclose(ndcg, [1 / np.log2(3), 1.5 / (1 + 1 / np.log2(3))])


def test_documents_that_are_not_stored_count_as_missed():
    with pytest.warns(RuntimeWarning, match="1 relevant documents have no row, such as 'gone'"):
        judgements = Judgements.of([("0", "0", 1), ("0", "gone", 1)], ["0"], ["0"])
    assert score(np.array([[0]]), judgements, 2)[0][0] == pytest.approx(1 / (1 + 1 / np.log2(3)))
    with pytest.warns(RuntimeWarning, match="1 relevant queries have no row, such as '7'"):
        Judgements.of([("0", "0", 1), ("7", "0", 1), ("8", "0", 0)], ["0"], ["0"])
    with pytest.raises(ValueError, match="no query has a relevant document among the rows"):
        Judgements.of([("0", "0", 0)], ["0"], ["0"])
    with pytest.raises(ValueError, match="query_ids: expected each id once, got 1 repeated"):
        Judgements.of([("0", "0", 1)], ["0", "0"], ["0"])


def test_both_forms_of_files_are_read(tmp_path):
    (tmp_path / "trec").write_text("q1 0 d1 2\nq1 0 d2 0\n\nq2\t0\td1\t1\n")
    (tmp_path / "beir").write_text("query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t0\nq2\td1\t1\n")
    want = [("q1", "d1", 2.0), ("q1", "d2", 0.0), ("q2", "d1", 1.0)]
    assert read_qrels(tmp_path / "trec") == want
    assert read_qrels(tmp_path / "beir") == want
    (tmp_path / "bad").write_text("q1 d1 2\nq1 d1\n")
    with pytest.raises(ValueError, match="bad: line 2: expected 'query 0 document gain'"):
        read_qrels(tmp_path / "bad")
    (tmp_path / "bad").write_text("q1 d1 2\nq1 d1 high\n")
    with pytest.raises(ValueError, match="line 2: expected a number as gain, got 'high'"):
        read_qrels(tmp_path / "bad")


def test_bootstrap_intervals_hold_what_they_say():
    rng = np.random.default_rng(1)
    held = 0
    for seed in range(300):
        found = bootstrap(rng.normal(0.3, 1, size=80), seed)
        held += found.low <= 0.3 <= found.high
    assert 0.9 < held / 300 < 0.98


@pytest.fixture(scope="module")
def labelled(base, queries):
    """Each query's exact nearest vector is its answer: then exact search has an MRR of 1."""
    nearest = (queries @ base[:2000].T).argmax(axis=1)
    triples = [(str(q), str(d), 1.0) for q, d in enumerate(nearest)]
    names = [str(n) for n in range(2000)]
    return base[:2000], queries, Judgements.of(triples, names[: len(queries)], names)


def test_more_bits_lose_less(labelled):
    base, queries, judgements = labelled
    answers = evaluate_answers(base, queries, judgements)
    assert [each.name for each in answers] == [each.name for each in default_methods(384)]
    by_name = {each.name: each for each in answers}
    true = by_name["exact, float32"]
    assert true.mrr.mean == true.mean_ndcg.mean == 1
    sizes = ("0.5 bits", "1 bit", "2 bits")
    lost = [by_name[f"waterfill {bits}"].difference(true) for bits in sizes]
    assert lost[0].mean < lost[1].mean < lost[2].mean < 0
    for bits, own in zip(sizes, lost, strict=True):
        assert own.low <= own.mean <= own.high
        rescored = by_name[f"waterfill {bits}, rescored"]
        assert rescored.difference(true).mean > own.mean
        assert (rescored.bytes_per_vector, rescored.row_bytes) == (
            384 * float(bits.split()[0]) / 8 + 1 + 768,
            768,
        )


@pytest.mark.parametrize("metric", ["ip", "l2", "cosine"])
def test_the_other_methods_run(labelled, metric):
    base, queries, judgements = labelled
    methods = [exact(), *peer_methods(384)[4:], waterfill(48, queries=queries)]
    answers = evaluate_answers(base, queries, judgements, metric=metric, methods=methods)
    sizes = {each.name: each.bytes_per_vector for each in answers}
    assert sizes["binary"] == 48
    assert sizes["int8"] == 384
    mrr = {each.name: each.mrr.mean for each in answers}
    assert mrr["exact, float32"] == 1
    assert mrr["int8"] > 0.95
    assert mrr["binary"] < mrr["binary, rescored"]
    assert mrr["RaBitQ"] < mrr["RaBitQ, rescored"]
    assert mrr["waterfill 48 bytes, fitted to queries"] > mrr["binary"]


def test_rows_must_match_the_judgements(labelled):
    base, queries, judgements = labelled
    with pytest.raises(ValueError, match="judgements are of query 199, and queries has 5 rows"):
        evaluate_answers(base, queries[:5], judgements)


@needs_docs
def test_the_example_of_the_page_runs(labelled, tmp_path, monkeypatch, capsys):
    base, queries, _ = labelled
    np.save(tmp_path / "base.npy", base[:600])
    np.save(tmp_path / "query.npy", queries[:20])
    nearest = (queries[:20] @ base[:600].T).argmax(axis=1)
    lines = [f"{query} 0 {document} 1" for query, document in enumerate(nearest)]
    (tmp_path / "qrels.txt").write_text("\n".join(lines))
    run_example("answers.md", monkeypatch, tmp_path)
    assert len(capsys.readouterr().out.splitlines()) == 6
