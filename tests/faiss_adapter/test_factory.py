"""Factory strings."""

from __future__ import annotations

import faiss
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import waterfill as wf
from waterfill._util.validation import metric_name
from waterfill.faiss.factory import Description, parse
from waterfill.recipe import Recipe


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("WF48", Description(48)),
        ("WF48,Refine(fp16)", Description(48, refine="fp16")),
        ("WF48,Refine(SQfp16)", Description(48, refine="fp16")),
        ("WF48,Refine(int8)", Description(48, refine="int8")),
        ("WF48,Refine(SQ8)", Description(48, refine="int8")),
        ("WF48,RFlat", Description(48, refine="flat")),
        ("IVF1024,WF48", Description(48, nlist=1024)),
        ("IVF64k,WF8", Description(8, nlist=65536)),
        ("IVF65536_HNSW32,WF32", Description(32, nlist=65536, hnsw=32)),
        ("IVF1M_HNSW,WF32", Description(32, nlist=1 << 20, hnsw=32)),
        ("IDMap2,WF48", Description(48, id_map="IDMap2")),
        (
            "IDMap,IVF16_HNSW8,WF4,Refine(flat)",
            Description(4, id_map="IDMap", nlist=16, hnsw=8, refine="flat"),
        ),
    ],
)
def test_accepted_strings(text, expected):
    assert parse(text) == expected


@pytest.mark.parametrize("nlist", ["IVF16", "IVF64k", "IVF16_HNSW", "IVF16_HNSW8"])
def test_lists_are_spelt_as_faiss_spells_them(nlist):
    theirs = faiss.index_factory(8, f"{nlist},Flat")
    ours = parse(f"{nlist},WF8")
    assert ours.nlist == theirs.nlist
    graph = faiss.downcast_index(theirs.quantizer)
    if ours.hnsw is None:
        assert isinstance(graph, faiss.IndexFlat)
    else:
        assert graph.hnsw.nb_neighbors(0) == 2 * ours.hnsw


@pytest.mark.parametrize(
    ("text", "why", "at"),
    [
        ("", "expected WF and a number of bytes, got ''", 0),
        ("PQ48", "expected WF and a number of bytes, got 'PQ48'", 0),
        ("wf48", "expected WF and a number of bytes, got 'wf48'", 0),
        ("WF", "expected WF and a number of bytes, got 'WF'", 0),
        ("WF0", "'WF0' needs at least 1 byte", 0),
        ("WF-4", "expected WF and a number of bytes, got 'WF-4'", 0),
        ("WF48 ", "expected WF and a number of bytes, got 'WF48 '", 0),
        ("WF٤٨", "expected WF and a number of bytes, got 'WF٤٨'", 0),  # digits, but not ASCII
        ("IVF1024", "expected WF and a number of bytes, got the end", 7),
        ("IVF1024,PQ48", "expected WF and a number of bytes, got 'PQ48'", 8),
        ("IVF0,WF48", "'IVF0' needs at least 1 list", 0),
        ("IDMap2,IVF8_HNSW1,WF4", "'IVF8_HNSW1' needs at least 2 links", 7),
        ("WF48,IVF8", "expected Refine(fp16), Refine(int8) or the end, got 'IVF8'", 5),
        (
            "WF48,Refine(PQ8)",
            "expected Refine(fp16), Refine(int8) or the end, got 'Refine(PQ8)'",
            5,
        ),
        ("WF48,RFlat,RFlat", "expected the end, got 'RFlat'", 11),
        ("IVF8,IDMap,WF4", "expected WF and a number of bytes, got 'IDMap'", 5),
        ("WF48,", "expected Refine(fp16), Refine(int8) or the end, got ''", 5),
        ("OPQ16,WF48", "expected WF and a number of bytes, got 'OPQ16'", 0),
    ],
)
def test_wrong_strings_are_shown_where_and_how(text, why, at):
    with pytest.raises(ValueError, match="\nexpected: ") as caught:
        parse(text)
    lines = str(caught.value).split("\n")
    assert why in lines[0]
    assert repr(text) in lines[0]
    assert lines[2] == " " * (at + 2) + "^"
    assert "[IDMap,|IDMap2,][IVF<lists>[_HNSW<links>],]WF<bytes>" in lines[3]
    for example in ("WF48", "WF48,Refine(fp16)", "IVF1024,WF48", "IVF65536_HNSW32,WF32"):
        assert any(line.split()[:1] == [example] for line in lines)


@given(text=st.text(alphabet="IVFWDMap2Refin(8)_HNSk,", max_size=20))
def test_any_text_is_read_or_refused(text):
    try:
        what = parse(text)
    except ValueError:
        return
    assert what.code_bytes >= 1
    assert what.nlist is None or what.nlist >= 1


@pytest.mark.parametrize(
    ("given", "name"),
    [("ip", "ip"), ("l2", "l2"), ("cosine", "cosine"), (0, "ip"), (faiss.METRIC_L2, "l2")],
)
def test_metrics_are_ours_or_faisss(given, name):
    assert metric_name(given) == name


@pytest.mark.parametrize("given", [2, faiss.METRIC_L1, "L2", True, None, 1.0])
def test_wrong_metrics_are_named(given):
    with pytest.raises(ValueError, match=f"metric={given!r} must be"):
        metric_name(given)


@pytest.mark.parametrize("metric", ["ip", "l2", "cosine"])
def test_a_recipe_is_analysis_plan_and_training(clustered, metric):
    codec = Recipe(20, 6, seed=3).train(clustered, metric)
    plan = wf.Plan.waterfill(wf.analyze(clustered, normalize=metric == "cosine"), 6)
    assert codec.fingerprint == wf.Codec.train(clustered, plan, 3, metric=metric).fingerprint
    wf.IndexFlat(codec, metric)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: parse(48), TypeError, "description must be a str, got int"),
        (lambda: Recipe(8, 9), ValueError, "code_bytes=9 must be from 1 to .* 8"),
        (lambda: Recipe(0, 1), ValueError, "d=0"),
        (lambda: Recipe(8.0, 1), TypeError, "d must be an int"),
        (lambda: Recipe(8, True), TypeError, "code_bytes must be an int"),
        (lambda: wf.index_factory(8, "WF48"), ValueError, "code_bytes=48 must be .* 8"),
        (lambda: wf.index_factory(8, "WF8", 4), ValueError, "metric=4"),
    ],
)
def test_wrong_arguments_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_recipe_wants_its_dimensions(clustered):
    with pytest.raises(ValueError, match="x has 20 dimensions, expected 16"):
        Recipe(16, 4).train(clustered, "ip")


@pytest.mark.parametrize("metric", ["ip", "l2", "cosine", 0, 1])
@pytest.mark.parametrize(
    "text", ["WF6", "IDMap2,WF6", "WF6,Refine(fp16)", "IVF16,WF6", "IVF16_HNSW8,WF6,Refine(int8)"]
)
def test_made_indexes_work(clustered, metric, text):
    index = wf.index_factory(20, text, metric)
    assert isinstance(index, wf.IndexIVF if "IVF" in text else wf.IndexFlat)
    assert not index.is_trained
    assert index.codec is None
    assert index.d == 20
    assert index.metric == metric_name(metric)
    index.train(clustered)
    assert index.is_trained
    ids = np.arange(len(clustered)) * 7 if "IDMap" in text else np.arange(len(clustered))
    if "IDMap" in text:
        index.add_with_ids(clustered, ids)
    else:
        index.add(clustered)
    if "IVF" in text:
        assert index.nlist == 16
        index.nprobe = 8
    labels = index.search(clustered[:100], 10)[1]
    assert np.isin(labels, ids).all()
    if index.metric != "ip":
        assert np.mean([ids[i] in labels[i] for i in range(100)]) > 0.9


def test_the_default_metric_is_faisss():
    assert wf.index_factory(20, "WF6").metric == "l2"
    assert wf.index_factory(20, "WF6").metric_type == faiss.index_factory(20, "Flat").metric_type
