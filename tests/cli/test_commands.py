"""Every command does what the library does, and says so to people and to programs."""

from __future__ import annotations

import importlib.metadata
import os
from pathlib import Path

import faiss
import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.command_runner import DATA

import waterfill as wf
from waterfill.reporting.formatting import smaller

COMMANDS = (
    *("analyze", "optimize", "report", "bench", "reproduce", "train", "encode", "build"),
    *("search", "info", "export-faiss", "add", "remove", "compact", "drift", "ramp", "serve"),
    "estimate",
)


def test_version_and_help(run):
    assert run("--version").out == f"waterfill {importlib.metadata.version('waterfill')}\n"
    page = run("--help").out
    assert page == run().out  # of a bare command, too
    assert all(f"\n  {command} " in page for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example_and_fits(run, command):
    page = run(command, "--help").out
    assert f"\n    waterfill {command} " in page
    assert "--json" in page
    assert max(map(len, page.splitlines())) <= 80


def test_analyze(run, base):
    analysis = wf.analyze(base)
    file = DATA / "base.npy"
    found = run("analyze", file, "--json").document
    assert (found["n"], found["d"], found["dtype"]) == (4800, 384, "float16")
    assert found["effective_rank"] == analysis.effective_rank
    assert found["eigenvalues"] == analysis.eigenvalues.tolist()
    assert [f["kind"] for f in found["findings"]] == [f.kind for f in analysis.findings]
    page = run("analyze", file)
    assert f"{analysis.effective_rank:.1f} of 384" in page.out
    assert max(map(len, page.out.splitlines())) <= 80
    assert "\x1b" not in page.out
    assert page.err == ""
    assert run("analyze", file, "--metric", "cosine", "--json").document["normalized"]


def test_train_is_what_a_recipe_trains(run, made, base_64):
    expected = wf.Recipe(64, 12).train(base_64[:2000], "ip")
    assert wf.read_codec(made / "codec.wf").fingerprint == expected.fingerprint
    arguments = ("--code-bytes", 8, "--metric", "cosine", "--seed", 3, "--effort", "fast")
    files = (made / "base.npy", "--queries", made / "query.npy")
    said = run("train", *files, *arguments, "-o", "c.wf", "--json").document
    codec = wf.read_codec(run.directory / "c.wf")
    assert (said["output"], said["code_size"], said["seed"]) == ("c.wf", codec.code_size, 3)
    assert codec.plan.normalize
    assert codec.plan.query_variances is not None


def test_encode(run, made, base_64):
    np.save(run.directory / "x.npy", base_64)
    said = run("encode", made / "codec.wf", "x.npy", "-o", "codes.npy", "--json").document
    codes = np.load(run.directory / "codes.npy")
    np.testing.assert_array_equal(codes, wf.read_codec(made / "codec.wf").encode(base_64))
    assert said == {"output": "codes.npy", "n": 4800, "code_size": codes.shape[1]}
    run("encode", made / "flat.wf", "x.npy", "-o", "again.npy")  # the codec of an index
    np.testing.assert_array_equal(np.load(run.directory / "again.npy"), codes)


def test_build_and_search(run, made, base_64, queries_64):
    codec = wf.read_codec(made / "codec.wf")
    index = wf.IndexFlat(codec)
    index.add(base_64[:2000])
    assert wf.read_index(made / "flat.wf").codes().tolist() == index.codes().tolist()
    distances, ids = index.search(queries_64, 7)
    run("search", made / "flat.wf", made / "query.npy", "-k", 7, "-o", "result.npz")
    with np.load(run.directory / "result.npz") as found:
        np.testing.assert_array_equal(found["ids"], ids)
        np.testing.assert_array_equal(found["distances"], distances)
    said = run("search", made / "flat.wf", made / "query.npy", "-k", 7, "--json").document
    assert said["ids"] == ids.tolist()
    np.testing.assert_array_equal(np.float32(said["distances"]), distances)
    page = run("search", made / "flat.wf", made / "query.npy", "-k", 2).out
    assert f"{ids[0, 0]} ({distances[0, 0]:.4g})" in page
    assert "190 more queries" in page


def test_build_lists(run, made, queries_64):
    index = wf.read_index(made / "lists.wf")
    assert isinstance(index, wf.IndexIVF)
    assert (index.nlist, index.metric, index.refine, index.ntotal) == (16, "l2", "float16", 2000)
    index.nprobe = 16
    said = run(
        "search", made / "lists.wf", made / "query.npy", "--nprobe", 16, "--k-factor", 8, "--json"
    )
    index.k_factor = 8
    assert said.document["ids"] == index.search(queries_64, 10)[1].tolist()
    index = wf.read_index(made / "lists.wf")
    index.target_recall = 0.6
    said = run("search", made / "lists.wf", made / "query.npy", "--target-recall", 0.6, "--json")
    assert said.document["ids"] == index.search(queries_64, 10)[1].tolist()


def test_shards_of_any_format_are_one_index(run, base_64):
    np.save(run.directory / "a.npy", base_64[:1000])
    with h5py.File(run.directory / "b.h5", "w") as file:
        file["train"] = base_64[1000:1001]
    values = pa.FixedSizeListArray.from_arrays(pa.array(base_64[1001:2000].reshape(-1)), 64)
    table = pa.table({"other": values, "v": values})
    pq.write_table(table.select(["v"]), run.directory / "c.parquet", row_group_size=300)
    shards, day = ("a.npy", "b.h5", "c.parquet"), {"SOURCE_DATE_EPOCH": "0"}
    said = run("build", *shards, "--code-bytes", 8, "-o", "all.wf", "--json", **day)
    assert said.document["n"] == 2000
    np.save(run.directory / "whole.npy", base_64[:2000])
    run("build", "whole.npy", "--code-bytes", 8, "-o", "one.wf", **day)
    assert (run.directory / "all.wf").read_bytes() == (run.directory / "one.wf").read_bytes()
    pq.write_table(table, run.directory / "two.parquet")
    run("analyze", "two.parquet", "--column", "v")
    assert "choose one by key" in run("analyze", "two.parquet", code=1).err


def test_the_format_of_files_can_be_named(run, base_64, queries_64):
    """Of all commands that take vectors; what the files hold counts, not their names."""

    def write(name: str, x: np.ndarray) -> None:
        header = np.array(x.shape, "<u4").tobytes()
        (run.directory / name).write_bytes(header + x.astype("<f4").tobytes())

    write("base.bin", base_64[:1500])
    write("query", queries_64)
    write("base.1B.fbin.crop_nb_1500", base_64[:1500])
    assert "unknown extension '.bin'" in run("analyze", "base.bin", code=1).err
    same = [
        run("analyze", *arguments, "--json").document
        for arguments in (("base.bin", "--format", "fbin"), ("base.1B.fbin.crop_nb_1500",))
    ]
    assert [document.pop("file") for document in same] == ["base.bin", "base.1B.fbin.crop_nb_1500"]
    assert same[0] == same[1]
    queries = ("--queries", "query", "--queries-format", "fbin")
    vectors, small = ("base.bin", "--format", "fbin"), ("--code-bytes", 8)
    run("train", *vectors, *queries, *small, "-o", "codec.wf")
    run("encode", "codec.wf", *vectors, "-o", "codes.npy")
    run("build", *vectors, *queries, *small, "-o", "x.wf")
    run("reproduce", "codec.wf", *vectors, *queries)
    run("drift", "base.bin", "base.bin", "--format", "fbin", *small, "--no-errors")
    said = run("search", "x.wf", "query", "--format", "fbin", "--json").document
    index = wf.read_index(run.directory / "x.wf")
    assert said["ids"] == index.search(queries_64, 10)[1].tolist()
    for arguments, words in (
        (("--format", "csv"), "--format='csv' is not readable: expected one of npy, npz, "),
        (("--format", "fbin", "--queries-format", "fbin"), "--queries-format fbin needs --queries"),
    ):
        assert words in run("train", "base.bin", *arguments, "-o", "y.wf", code=2).err
    assert "expected 96008 bytes" in run("analyze", "base.bin", "--format", "u8bin", code=1).err


def test_the_members_beside_objects(run, base_64):
    texts = np.array(["a"] * 500, dtype=object)
    np.savez(run.directory / "x.npz", embeddings=base_64[:500], texts=texts)
    for arguments in ((), ("--key", "embeddings")):
        assert run("analyze", "x.npz", *arguments, "--json").document["n"] == 500
    assert "objects are not unpickled" in run("analyze", "x.npz", "--key", "texts", code=1).err


def test_queries_of_ann_benchmarks(run, base_64, queries_64):
    with h5py.File(run.directory / "x.hdf5", "w") as file:
        file["train"], file["test"] = base_64[:500], queries_64
    run("build", "x.hdf5", "--code-bytes", 8, "--queries", "x.hdf5", "-o", "x.wf")
    index = wf.read_index(run.directory / "x.wf")
    assert index.codec.plan.query_variances is not None
    said = run("search", "x.wf", "x.hdf5", "--json").document
    assert said["ids"] == index.search(queries_64, 10)[1].tolist()
    said = run("search", "x.wf", "x.hdf5", "--key", "train", "--json").document
    assert said["queries"] == 500


def test_info(run, made):
    codec = wf.read_codec(made / "codec.wf")
    said = run("info", made / "codec.wf", "--json").document
    assert (said["kind"], said["codec"]["cells"]) == ("codec", codec.cells)
    assert "index" not in said
    said = run("info", made / "lists.wf", "--json").document
    index = wf.read_index(made / "lists.wf")
    assert (said["kind"], said["index"]["nlist"]) == ("IVF index", 16)
    assert said["index"]["memory_bytes"] == index.nbytes
    assert said["index"]["refine"] == "float16"
    for name in ("codec.wf", "flat.wf", "lists.wf"):
        page = run("info", made / name).out
        assert "64 dimensions" in page


@pytest.mark.parametrize("refine", [None, "float16", "int8", "float32"])
@pytest.mark.parametrize("ids", [False, True])
def test_sizes_count_all_that_is_stored(run, base_64, refine, ids):
    """Code, row, id, order of insertion and unused space; the file also the codec."""
    index = wf.IndexIVF(wf.Recipe(64, 12), 16, refine=refine)
    index.train(base_64)
    if ids:
        index.add_with_ids(base_64, np.arange(len(base_64)) + 7)
    else:
        index.add(base_64)
    wf.write_index(index, run.directory / "x.wf")
    said = run("info", "x.wf", "--json").document
    found, file_bytes = said["index"], (run.directory / "x.wf").stat().st_size
    row = {None: 0, "float16": 128, "int8": 72, "float32": 256}[refine]
    assert found["bytes_by_part"] == {
        "code": 13,
        "order": 1 + 1 + (1 + 16 / 256) / 8 + 1 / 8,
        **({"id": 8} if ids else {}),
        **({"row": row} if row else {}),
    }
    assert found["bytes_per_vector"] == sum(found["bytes_by_part"].values())
    n = len(base_64)
    assert found["times_smaller"] == pytest.approx(256 / found["bytes_per_vector"])
    assert found["fixed_bytes"] == file_bytes - round(n * found["bytes_per_vector"])
    unused = 16 * 31 * 6  # places in the last blocks, at most, and their bytes
    assert 0 < found["fixed_bytes"] - found["codec_bytes"] < unused + 4000
    assert found["codec_bytes"] == len(index.codec.to_bytes())
    assert found["memory_bytes"] == index.nbytes
    page = " ".join(run("info", "x.wf").out.split())
    assert f"{smaller(found['times_smaller'])} than float32" in page
    assert (f"row {row}" in page) == (refine is not None)
    assert ("id 8" in page) == ids


def test_an_empty_index_has_the_size_of_what_comes(run, made):
    codec = wf.read_codec(made / "codec.wf")
    wf.write_index(wf.IndexFlat(codec), run.directory / "empty.wf")
    each = codec.bytes_per_vector["ip"]
    assert run("info", "empty.wf", "--json").document["index"]["bytes_per_vector"] == each
    assert f"{smaller(256 / each)} than float32" in " ".join(run("info", "empty.wf").out.split())


def test_export_faiss(run, made):
    run("export-faiss", made / "flat.wf", "-o", "x.faiss", "--no-offsets")
    wf.export_faiss(wf.read_index(made / "flat.wf"), run.directory / "y.faiss", offsets=False)
    assert (run.directory / "x.faiss").read_bytes() == (run.directory / "y.faiss").read_bytes()
    assert faiss.read_index(str(run.directory / "x.faiss")).ntotal == 2000


def test_a_build_after_cosine_training_is_cosine(run, made):
    file = made / "base.npy"
    run("train", file, "--code-bytes", 8, "--metric", "cosine", "-o", "c.wf")
    said = run("build", file, "--codec", "c.wf", "-o", "i.wf", "--json").document
    assert said["metric"] == "cosine"


def test_threads_change_nothing(run, made):
    arguments = ("build", made / "base.npy", "--code-bytes", 8, "--threads")
    for threads in (1, 2):
        run(*arguments, threads, "-o", f"{threads}.wf", SOURCE_DATE_EPOCH="0")
    assert (run.directory / "1.wf").read_bytes() == (run.directory / "2.wf").read_bytes()


def test_outputs_leave_nothing_else_behind(made):
    assert sorted(os.listdir(made)) == [
        *("base.npy", "codec.wf", "flat.wf", "lists.wf", "query.npy"),
    ]


def test_far_vectors_are_warned_of_once(run, made, base_64):
    np.save(run.directory / "far.npy", np.concatenate([base_64, 1e9 * base_64]))
    said = run("build", "far.npy", "--codec", made / "codec.wf", "-o", "far.wf")
    lines = said.err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("waterfill: warning: far.npy: 4800 of 9600 vectors are")


RATES = Path(__file__).parents[1] / "sizing" / "rates-768.json"


def test_estimate(run):
    given = ("estimate", "--vectors", "1e9", "--dim", 768, "--code-bytes", 96, "--rates", RATES)
    more = ("--cores", 32, "--lists", 65_536, "--price-per-hour", 2.5, "--currency", "EUR")
    found = run(*given, *more, "--json").document
    expected = wf.sizing.estimate(
        1e9, 768, 96, cores=32, lists=65_536, price_per_hour=2.5, rates=wf.sizing.Rates.load(RATES)
    )
    assert found["build_hours"] == expected.build_hours
    assert found["latency"]["hedged_p99"] == expected.latency.hedged_p99
    assert found["storage"]["codes"] == expected.storage.codes
    page = run(*given, *more).out
    assert f"{expected.build_cost:,.2f} EUR" in page
    assert "151.1 GB in 954 segments" in page
    assert all(f"- {each}" in page for each in expected.assumptions)


def test_estimate_reads_latencies(run):
    (run.directory / "seconds.txt").write_text("0.01\n" * 99 + "0.5\n")
    given = ("estimate", "--vectors", "1e9", "--dim", 768, "--code-bytes", 96, "--rates", RATES)
    found = run(*given, "--latencies", "seconds.txt", "--memory-gb", 2, "--json").document
    assert found["latency"]["p99"] == 0.5
    assert found["latency"]["hedged_p99"] == pytest.approx(0.02)
    (run.directory / "words.txt").write_text("soon\n")
    said = run(*given, "--latencies", "words.txt", code=2).err
    assert "--latencies words.txt: expected numbers" in said


@pytest.mark.slow
def test_estimate_measures_this_machine(run):
    given = ("estimate", "--vectors", "1e6", "--dim", 16, "--code-bytes", 8, "--json")
    first = run(*given, "--save-rates", "rates.json").document
    assert run(*given, "--rates", "rates.json").document == first
