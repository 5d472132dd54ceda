"""Commands that optimize and compare, where the library has what they call."""

from __future__ import annotations

import importlib.util
import json

import numpy as np
import pytest

import waterfill as wf
from cli.harness import DATA
from waterfill.cli import benchmark
from waterfill.cli.inputs import read_queries, read_stored

QUERY = DATA / "query.npy"


def needs(there: bool, what: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not there, reason=f"{what} is not in this build")


needs_optimize = needs(hasattr(wf, "optimize"), "wf.optimize")
needs_report = needs(callable(getattr(wf, "report", None)), "wf.report")
needs_peers = needs(importlib.util.find_spec("waterfill.tuning.peers") is not None, "peers")
needs_manifest = needs(importlib.util.find_spec("waterfill.manifest") is not None, "manifest")


@needs_optimize
def test_optimize(run, made):
    arguments = ("--max-bytes", 30, "--seed", 5, "-o", "best.wf")
    said = run("optimize", made / "base.npy", *arguments, "--json").document
    codec = wf.read_codec(run.directory / "best.wf")
    assert codec.d == 384
    assert said["best"]["bytes_per_vector"] <= 30
    assert said["best"] in said["trials"]
    assert said["best"] in said["frontier"]
    assert (said["complete"], said["seed"], said["metric"], said["k"]) == (True, 5, "ip", 10)
    page = run("optimize", made / "base.npy", "--target-recall", 0.7, "--queries", QUERY).out
    assert "recall@10" in page
    assert "No other beats these" in page


@needs_optimize
def test_optimize_refuses_what_cannot_be(run, made):
    said = run("optimize", made / "base.npy", "--target-recall", 1.5, code=2)
    assert said.err.startswith("waterfill: --target-recall=1.5 ")
    assert said.err.count("\n") == 1


@needs_optimize
@needs_report
def test_report(run, made):
    run("report", made / "base.npy", "--max-bytes", 30, "-o", "page.html")
    page = (run.directory / "page.html").read_text()
    assert page.lower().startswith("<!doctype html")


@needs_peers
def test_bench(run, made):
    arguments = ("--queries", QUERY, "--code-bytes", 24, "--threads", 1)
    said = run("bench", made / "base.npy", *arguments, "--json").document
    names = [row["name"] for row in said["rows"]]
    assert "waterfill 24" in names
    assert len(names) > 1
    assert said["n"] == 2000
    assert all(0 < row["recall"] <= 1 for row in said["rows"])
    assert "waterfill 24" in run("bench", made / "base.npy", *arguments).out


@needs_manifest
def test_reproduce(run, made, base):
    said = run("reproduce", made / "codec.wf", made / "base.npy", "--json").document
    assert said == {"identical": True, "differences": []}
    np.save(run.directory / "other.npy", base[1:2001])
    done = run("reproduce", made / "codec.wf", "other.npy", code=1)
    assert "other codes: " in done.out
    manifest = run("info", made / "codec.wf", "--json").document["manifest"]
    (run.directory / "manifest.json").write_text(json.dumps(manifest))
    run("reproduce", "manifest.json", made / "base.npy")


@needs_manifest
def test_reproduce_wants_a_manifest(run, made):
    assert "wanted is a manifest" in run("reproduce", QUERY, QUERY, code=1).err


@pytest.mark.parametrize("metric", ["ip", "l2", "cosine"])
def test_what_bench_measures(made, metric):
    vectors = read_stored(made / "base.npy", None)
    case = benchmark.draw(vectors, read_queries(QUERY, None, 384), metric, 10, 1000, 0)
    assert case.base.shape == (1000, 384)
    scores = case.queries @ case.base.T
    if metric == "l2":
        scores = 2 * scores - (case.base**2).sum(axis=1)
    best = np.sort(scores, axis=1)[:, -10]
    found = np.take_along_axis(scores, case.truth, axis=1)
    assert (found >= best[:, None] - 1e-5).all()
    measured = benchmark.measure(case, 96, 0)
    assert 0.8 < measured.recall < 1
    assert measured.bytes_per_vector > 97
    held_out = benchmark.draw(vectors, None, metric, 10, 10_000, 0)
    assert (len(held_out.base), len(held_out.queries)) == (1800, 200)
