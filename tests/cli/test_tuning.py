"""Commands that optimize and compare."""

from __future__ import annotations

import json

import numpy as np
import pytest

import waterfill as wf
from waterfill.cli.commands import bench
from waterfill.evaluation.faiss_peers import measure_peers


def test_optimize(run, made):
    arguments = ("--max-bytes", 30, "--seed", 5, "--price-per-gb", 3, "-o", "best.wf")
    said = run("optimize", made / "base.npy", *arguments, "--json").document
    codec = wf.read_codec(run.directory / "best.wf")
    assert codec.d == 64
    assert codec.manifest.objective == "best recall in 30 bytes a vector"
    assert said["best"]["bytes_per_vector"] <= 30
    assert said["best"] in said["trials"]
    assert said["best"] in said["frontier"]
    assert (said["complete"], said["seed"], said["metric"], said["k"]) == (True, 5, "ip", 10)
    assert [each["n"] for each in said["expected"]] == [2000, 20_000, 200_000]
    assert all(each["recall"]["low"] <= each["recall"]["recall"] for each in said["expected"])
    assert said["expected"][2]["cost_per_month"] == pytest.approx(
        3e-9 * said["expected"][2]["memory_bytes"]
    )


def test_optimize_for_people(run, made):
    arguments = ("--target-recall", 0.7, "--accuracy", "forgiving_accuracy", "--time-budget", 0)
    page = run("optimize", made / "base.npy", *arguments, "--queries", made / "query.npy").out
    for words in ("recall@10", "Estimates", "Pareto frontier", "stopped early"):
        assert words in page


def test_optimize_refuses_what_cannot_be(run, made):
    said = run("optimize", made / "base.npy", "--target-recall", 1.5, code=2)
    assert said.err.startswith("waterfill: --target-recall=1.5 ")
    assert said.err.count("\n") == 1
    both = ("--target-recall", 0.5, "--max-bytes", 9)
    said = run("optimize", made / "base.npy", *both, code=2)
    assert said.err.startswith("waterfill: --target-recall=0.5 does not go with max_bytes")
    assert "an objective is missing" in run("optimize", made / "base.npy", code=2).err


def test_a_target_out_of_reach_is_told_by_the_exit_code(run, made):
    limits = ("--target-recall", 0.999, "--time-budget", 0, "-o", "best.wf")
    said = run("optimize", made / "base.npy", *limits, "--json", code=3).document
    assert not said["reached"]
    assert "nothing tried reaches" in said["reason"]
    assert wf.read_codec(run.directory / "best.wf").d == 64


def test_report(run, made, base_64):
    arguments = ("--max-bytes", 30, "--time-budget", 0, "--threads", 1, "-o", "page.html")
    np.save(run.directory / "small.npy", base_64[:600])
    run("report", "small.npy", *arguments)
    page = (run.directory / "page.html").read_text()
    assert page.lower().startswith("<!doctype html")
    assert "RaBitQ" in page
    same = run("report", made / "base.npy", *arguments, "--codec", "page.html", code=2)
    assert "--codec page.html is also the name of the page" in same.err
    run("report", "small.npy", *arguments, "--no-peers", "--codec", "best.wf")
    assert wf.read_codec(run.directory / "best.wf").manifest.objective
    assert "RaBitQ" not in (run.directory / "page.html").read_text().split("<script")[0]


def test_bench(run, made, monkeypatch):
    measured = []

    def measure_once(*arguments, **options):
        if not measured:
            measured.append(measure_peers(*arguments, **options))
        return measured[0]

    monkeypatch.setattr(bench, "measure_peers", measure_once)
    arguments = ("--queries", made / "query.npy", "--code-bytes", 12, "--threads", 1)
    file = made / "base.npy"
    said = run("bench", file, *arguments, "--rows", 1500, "--json").document
    names = [row["name"] for row in said["rows"]]
    assert "waterfill 12" in names
    assert {peer.name for peer in measured[0]} == set(names) - {"waterfill 12"}
    assert len(names) > 3
    assert said["n"] == 1500
    assert all(0 < row["recall"] <= 1 for row in said["rows"])
    page = run("bench", file, *arguments, "--rows", 1500).out
    assert all(name in page for name in names)


def test_reproduce(run, made, base_64):
    said = run("reproduce", made / "codec.wf", made / "base.npy", "--json").document
    assert said == {"identical": True, "differences": []}
    np.save(run.directory / "other.npy", base_64[1:2001])
    done = run("reproduce", made / "codec.wf", "other.npy", code=3)
    assert "the vectors differ" in " ".join(done.out.split())
    info = run("info", made / "codec.wf", "--json").document
    for document in (info, info["manifest"]):
        (run.directory / "manifest.json").write_text(json.dumps(document))
        assert "identical codes" in run("reproduce", "manifest.json", made / "base.npy").out


def test_what_was_optimized_is_reproduced(run, made):
    arguments = (
        "--max-bytes",
        30,
        "--queries",
        made / "query.npy",
        "-o",
        "best.wf",
    )
    run("optimize", made / "base.npy", *arguments)
    run("reproduce", "best.wf", made / "base.npy", "--queries", made / "query.npy")
    assert "trained with queries" in run("reproduce", "best.wf", made / "base.npy", code=1).err


def test_reproduce_wants_a_manifest(run, made):
    assert (
        "expected a codec, an index, or the output of"
        in run("reproduce", made / "query.npy", made / "query.npy", code=1).err
    )


def test_info_shows_the_manifest(run, made):
    said = run("info", made / "codec.wf").out
    for words in ("Manifest", "waterfill, ", "sha256", "seed"):
        assert words in said
