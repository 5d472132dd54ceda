"""The command recall: of files and folders of waterfill, and of files of FAISS."""

from __future__ import annotations

import faiss
import numpy as np
import pytest

import waterfill as wf
from waterfill.evaluation import measure_recall


@pytest.mark.parametrize("name", ["flat.wf", "lists.wf"])
def test_it_is_the_recall_of_the_library(run, made, name):
    done = run("recall", made / name, made / "base.npy", made / "query.npy", "--json")
    base, queries = np.load(made / "base.npy"), np.load(made / "query.npy")
    want = measure_recall(wf.read_index(made / name), base, queries)
    document = done.document
    assert (document["recall"], document["low"], document["high"]) == pytest.approx(
        (want.recall, want.low, want.high)
    )
    assert (document["queries"], document["vectors"], document["k"]) == (200, 2000, 10)
    text = run("recall", made / name, made / "base.npy", made / "query.npy").out
    assert text.split(": ", 1)[1].strip() == str(want)


def test_more_lists_find_more(run, made):
    arguments = ("recall", made / "lists.wf", made / "base.npy", made / "query.npy", "--json")
    few, all_ = (run(*arguments, "--nprobe", n).document["recall"] for n in (1, 16))
    assert few < all_
    assert all_ > 0.95  # with rows


def test_a_folder(run, made):
    run("build", made / "base.npy", "--codec", made / "codec.wf", "-o", "corpus.wfx")
    done = run("recall", "corpus.wfx", made / "base.npy", made / "query.npy", "--json")
    flat = run("recall", made / "flat.wf", made / "base.npy", made / "query.npy", "--json")
    assert done.document["recall"] == flat.document["recall"]


def test_a_file_of_faiss_with_ids(run, made):
    base = np.load(made / "base.npy")
    index = faiss.index_factory(64, "IVF8,SQ8", faiss.METRIC_INNER_PRODUCT)
    index.train(base)
    index.add_with_ids(base, np.arange(2000) + 10)
    faiss.write_index(index, str(run.directory / "sq.faiss"))
    (run.directory / "ids.txt").write_text("\n".join(map(str, range(10, 2010))))
    arguments = ("recall", "sq.faiss", made / "base.npy", made / "query.npy", "--ids", "ids.txt")
    found = [run(*arguments, "--nprobe", n, "--json").document["recall"] for n in (1, 8)]
    assert found[0] < found[1]
    assert found[1] > 0.97
    done = run(*arguments[:4], code=1)
    assert "base lacks 10 of the 2000 vectors of the index; pass --ids, the id of" in done.err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["flat.wf", "query.npy", "query.npy"], 1, "base lacks 1800 of the 2000"),
        (["flat.wf", "base.npy", "query.npy", "--nprobe", "2"], 2, "needs inverted lists"),
        (["lists.wf", "base.npy", "query.npy", "--nprobe", "99"], 2, "must be from 1 to 16"),
        (["flat.wf", "base.npy", "query.npy", "-k", "3000"], 2, "-k=3000 must be at most"),
        (["base.npy", "base.npy", "query.npy"], 1, "expected an index of float vectors"),
        (["none.wf", "base.npy", "query.npy"], 1, "No such file"),
    ],
)
def test_what_cannot_be_done_is_said(run, made, arguments, code, message):
    given = [made / each if (made / each).exists() else each for each in arguments]
    done = run("recall", *given, code=code)
    assert message in done.err
    assert done.err.count("\n") == 1
