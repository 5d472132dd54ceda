"""The command evaluate: answers of labelled queries."""

from __future__ import annotations

import faiss
import numpy as np
import pytest


@pytest.fixture(scope="module")
def labelled(made):
    """Judgements beside the vectors of `made`: the nearest of each query, by number and name."""
    base, queries = np.load(made / "base.npy"), np.load(made / "query.npy")
    nearest = (queries @ base.T).argmax(axis=1)
    lines = [f"{q} 0 {d} 1" for q, d in enumerate(nearest)]
    (made / "qrels.txt").write_text("\n".join(lines))
    (made / "named.tsv").write_text(
        "query-id\tcorpus-id\tscore\n" + "\n".join(f"q{q}\td{d}\t1" for q, d in enumerate(nearest))
    )
    (made / "docs.txt").write_text("\n".join(f"d{d}" for d in range(len(base))))
    (made / "asked.txt").write_text("\n".join(f"q{q}" for q in range(len(queries))))
    index = faiss.IndexFlatIP(64)
    index.add(base)
    faiss.write_index(index, str(made / "exact.faiss"))
    return made


def test_methods_and_indexes_are_compared(run, labelled):
    at = labelled
    arguments = ("evaluate", at / "base.npy", at / "query.npy")
    index = ("--index", at / "flat.wf", "--index", at / "exact.faiss")
    done = run(*arguments, at / "qrels.txt", "--code-bytes", 12, *index, "--json")
    document = done.document
    assert (document["queries"], document["vectors"]) == (200, 2000)
    methods = {each["name"]: each for each in document["methods"]}
    assert [*methods] == [
        "exact, float32",
        "waterfill 12 bytes",
        "waterfill 12 bytes, rescored",
        "flat.wf",
        "exact.faiss",
    ]
    assert methods["exact, float32"]["ndcg"]["mean"] == 1
    assert methods["exact.faiss"]["difference"]["mean"] == 0
    own, given = methods["waterfill 12 bytes"], methods["flat.wf"]
    assert own["ndcg"]["mean"] == pytest.approx(given["ndcg"]["mean"], abs=0.05)
    assert own["difference"]["low"] <= own["difference"]["mean"] < 0
    names = ("--base-names", at / "docs.txt", "--query-names", at / "asked.txt")
    named = run(*arguments, at / "named.tsv", "--code-bytes", 12, *names, "--json").document
    assert named["methods"][1]["ndcg"] == own["ndcg"]
    text = run(*arguments, at / "qrels.txt", "--code-bytes", 12).out
    assert "200 judged queries, 2,000 documents" in text
    assert f"{own['difference']['mean']:+.3f}" in text


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["named.tsv"], 1, "are row numbers, or those of --query-names and --base-names"),
        (["qrels.txt", "--base-names", "asked.txt"], 1, "expected 2000 names, one on a line"),
        (["qrels.txt", "--code-bytes", "65"], 2, "--code-bytes 65 must be from 1 to the 64"),
        (["docs.txt"], 1, "line 1: expected 'query 0 document gain'"),
        (["none.txt"], 1, "No such file"),
    ],
)
def test_what_cannot_be_done_is_said(run, labelled, arguments, code, message):
    given = [labelled / each if (labelled / each).exists() else each for each in arguments]
    done = run("evaluate", labelled / "base.npy", labelled / "query.npy", *given, code=code)
    assert message in done.err
    assert done.err.count("\n") == 1
