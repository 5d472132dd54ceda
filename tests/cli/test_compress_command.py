"""The command compress: files of FAISS become indexes, and what cannot be done says why."""

from __future__ import annotations

import faiss
import numpy as np
import pytest

import waterfill as wf

IDS = np.arange(2000) * 3 + 7


@pytest.fixture(scope="module")
def files(made):
    """Files of FAISS beside the vectors of `made`: whole vectors, and codes with ids in lists."""
    base = np.load(made / "base.npy")
    whole = faiss.IndexFlatIP(64)
    whole.add(base)
    faiss.write_index(whole, str(made / "flat.faiss"))
    lists = faiss.index_factory(64, "IVF16,PQ8x4")
    lists.train(base)
    lists.add_with_ids(base, IDS)
    lists.nprobe = 5
    faiss.write_index(lists, str(made / "ivfpq.faiss"))
    np.save(made / "ids.npy", IDS)
    signs = faiss.IndexBinaryFlat(64)
    faiss.write_index_binary(signs, str(made / "binary.faiss"))
    (made / "text.faiss").write_text("no index")
    return made


def test_whole_vectors_become_an_index(run, files):
    done = run("compress", files / "flat.faiss", "--code-bytes", 12, "-o", "new.wf", "--json")
    assert not done.err
    document = done.document
    assert (document["n"], document["metric"], document["has_ids"]) == (2000, "ip", False)
    assert document["faiss_file_bytes"] == (files / "flat.faiss").stat().st_size
    index = wf.read_index(run.directory / "new.wf")
    want = wf.compress(faiss.read_index(str(files / "flat.faiss")), 12)
    assert index.codec.fingerprint == want.codec.fingerprint
    np.testing.assert_array_equal(index.reconstruct_n(), want.reconstruct_n())


def test_codes_are_decoded_or_replaced_by_rows(run, files):
    arguments = ("compress", files / "ivfpq.faiss", "--code-bytes", 16, "-o", "new.wf")
    done = run(*arguments)
    assert "warning: index: IndexIVFPQ keeps codes of 5 bytes" in done.err
    assert "as --rows to avoid it" in done.err
    decoded = wf.read_index(run.directory / "new.wf")
    done = run(*arguments, "--rows", files / "base.npy", "--row-ids", files / "ids.npy")
    assert not done.err
    index = wf.read_index(run.directory / "new.wf")
    for each in (decoded, index):
        assert (each.nlist, each.nprobe, each.metric) == (16, 5, "l2")
        np.testing.assert_array_equal(np.sort(each.ids()), IDS)
    base = np.load(files / "base.npy")
    errors = [
        np.square(each.reconstruct_batch(IDS) - base).sum(1).mean() for each in (decoded, index)
    ]
    assert errors[1] < 0.6 * errors[0]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["ivfpq.faiss", "--rows", "base.npy"], 1, "pass --row-ids, the id of each row"),
        (["flat.faiss", "--rows", "query.npy"], 1, "expected 2000, as many as the index"),
        (["flat.faiss", "--row-ids", "ids.npy"], 2, "needs --rows FILE"),
        (["flat.faiss", "--code-bytes", "99"], 2, "--code-bytes=99 must be from 1"),
        (["ivfpq.faiss", "--nlist", "4"], 2, "--nlist=4: an index with lists keeps its 16"),
        (["binary.faiss"], 1, "expected an index of float vectors"),
        (["text.faiss"], 1, "expected an index of float vectors"),
        (["flat.wf"], 1, "is a file of waterfill already"),
        (["none.faiss"], 1, "No such file"),
    ],
)
def test_what_cannot_be_done_is_said(run, files, arguments, code, message):
    given = [files / each if (files / each).exists() else each for each in arguments]
    done = run("compress", *given, "-o", "new.wf", code=code)
    assert message in done.err
    assert done.err.count("\n") == 1
    assert not (run.directory / "new.wf").exists()


def test_a_folder_is_refused(run, files):
    done = run("compress", files / "flat.faiss", "-o", "new.wfx", code=2)
    assert "new.wfx: expected a file such as new.wf, got the name of a folder" in done.err
    assert "waterfill build" in done.err
    assert not (run.directory / "new.wfx").exists()
