"""An index in a folder: built, described, searched, changed and compacted by commands."""

from __future__ import annotations

import signal
import subprocess

import numpy as np
import pytest
from support.command_runner import COMMAND, environment

import waterfill as wf


@pytest.fixture
def folder(run, made):
    """Build a folder of 2,000 vectors; the name is as the commands of `run` have it."""
    run("build", made / "base.npy", "--codec", made / "codec.wf", "-o", "a.wfx")
    return "a.wfx"


@pytest.fixture
def new(run, base_64):
    """A file of 100 more vectors, and ids for them."""
    np.save(run.directory / "new.npy", base_64[2000:2100])
    np.save(run.directory / "ids.npy", np.arange(50, 150))
    (run.directory / "ids.txt").write_text("".join(f"{id}\n" for id in range(50, 150)))
    return base_64[2000:2100]


def opened(run, folder):
    return wf.open_index(run.directory / folder, verify="full")


def test_build_makes_a_folder_with_the_same_answers(run, made, folder, queries_64):
    index = wf.read_index(made / "flat.wf")
    with opened(run, folder) as ours:
        np.testing.assert_array_equal(ours.codes(), index.codes())
        assert ours.log_bytes == 0
        assert len(ours.segments) == 1
    assert ", id 8" not in run("info", folder).out  # ids that are numbered take no space
    said = run("search", folder, made / "query.npy", "-k", 5, "--json").document
    assert said["ids"] == index.search(queries_64, 5)[1].tolist()
    arguments = ("--code-bytes", 8, "--nlist", 16, "--refine", "float16", "--metric", "l2")
    said = run("build", made / "base.npy", *arguments, "-o", "lists.wfx", "--json").document
    assert (said["n"], said["output"]) == (2000, "lists.wfx")
    with opened(run, "lists.wfx") as lists:
        assert isinstance(lists, wf.IndexIVF)
        assert (lists.nlist, lists.metric, lists.refine) == (16, "l2", "float16")
    assert sorted(each.name for each in run.directory.iterdir()) == ["a.wfx", "lists.wfx"]


def test_commands_that_read_an_index_read_a_folder(run, made, folder):
    run("encode", folder, made / "query.npy", "-o", "a.npy")
    run("encode", made / "codec.wf", made / "query.npy", "-o", "b.npy")
    np.testing.assert_array_equal(*(np.load(run.directory / name) for name in ("a.npy", "b.npy")))
    run("build", made / "base.npy", "--codec", folder, "-o", "b.wfx")
    run("export-faiss", folder, "-o", "a.faiss")
    assert (run.directory / "a.faiss").stat().st_size > 0


def test_info(run, folder, new):
    run("remove", folder, 3, 4)
    run("add", folder, "new.npy")
    with wf.open_index(run.directory / folder, "a", compaction="off") as index:
        index.remove_ids(np.array([5]))  # in the log
    said = run("info", folder, "--json").document
    assert said["kind"] == "folder"
    assert said["index"]["n"] == 2097
    files = (run.directory / folder).iterdir()
    assert said["file_bytes"] == sum(each.stat().st_size for each in files)
    page = run("info", folder).out
    assert "segments" in page
    assert "2,097 of 64 dimensions" in page


def test_add(run, folder, new):
    assert "a.wfx: 100 vectors added, 2,100 in all" in run("add", folder, "new.npy").out
    said = run("add", folder, "new.npy", "new.npy", "--json").document
    assert said == {"folder": "a.wfx", "added": 200, "replaced": 0, "n": 2300}
    with opened(run, folder) as index:
        np.testing.assert_array_equal(index.ids(), np.arange(2300))
        np.testing.assert_array_equal(index.codes(2000, 100), index.codec.encode(new))
        assert index.log_bytes == 0  # opens at once


@pytest.mark.parametrize("ids", ["ids.npy", "ids.txt"])
def test_add_with_ids_and_upsert(run, folder, new, ids):
    for _ in range(2):  # it can be repeated
        said = run("add", folder, "new.npy", "--ids", ids, "--upsert", "--json").document
        assert said == {"folder": "a.wfx", "added": 100, "replaced": 100, "n": 2000}
    with opened(run, folder) as index:
        np.testing.assert_array_equal(index.ids(1900, 100), np.arange(50, 150))
        np.testing.assert_array_equal(index.codes(1900, 100), index.codec.encode(new))
    said = run("add", folder, "new.npy", "--ids", ids, "--json").document
    assert said["n"] == 2100  # ids may occur twice, as with add_with_ids


def test_remove(run, folder, new):
    assert "a.wfx: 2 vectors removed, 1,998 left" in run("remove", folder, 7, 8, 5000).out
    said = run("remove", folder, "--ids", "ids.txt", "--json").document
    assert said == {"folder": "a.wfx", "removed": 100, "n": 1898}
    assert run("remove", folder, "--ids", "ids.npy", "--json").document["removed"] == 0
    with opened(run, folder) as index:
        assert not {7, 8, *range(50, 150)} & set(index.ids().tolist())
    assert run("remove", folder, "--json", "--", -5).document["removed"] == 0


def test_compact(run, folder, new):
    run("add", folder, "new.npy")
    run("remove", folder, *range(100))
    with opened(run, folder) as index:
        ids = index.ids()
        assert len(index.segments) == 2
    said = run("compact", folder, "--json").document
    assert (said["segments_before"], said["segments"], said["removed"]) == (2, 1, 100)
    assert said["bytes"] < said["bytes_before"]
    with opened(run, folder) as index:
        np.testing.assert_array_equal(index.ids(), ids)
        assert [each["removed"] for each in index.segments] == [0]
    assert "1 of 1 segments, 0 removed" in run("compact", folder).out


BAD = {
    "a folder that was built from something else": (
        ["build", "new.npy", "--code-bytes", 8, "-o", "a.wfx"],
        1,
        "a.wfx was built otherwise: this call has a source with",
    ),
    "a folder of something else": (
        ["build", "new.npy", "--code-bytes", 8, "-o", "other.wfx"],
        2,
        "-o other.wfx exists, and was not built; waterfill add adds vectors",
    ),
    "a column of ids in a file": (
        ["build", "new.npy", "--id-column", "id", "-o", "b.wfx"],
        1,
        "a .npy file has no columns, such as 'id' for ids",
    ),
    "ids twice in a build": (
        ["build", "new.npy", "--id-column", "id", "--ids", "ids.npy", "-o", "b.wfx"],
        2,
        "--ids and --id-column both give ids",
    ),
    "workers for a file": (
        ["build", "new.npy", "--workers", 2, "-o", "b.wf"],
        2,
        "--workers applies to an index in a folder; give -o b.wfx",
    ),
    "no size": (
        ["build", "new.npy", "--memory", "lots", "-o", "b.wfx"],
        2,
        "--memory='lots': expected bytes, such as",
    ),
    "no parent": (
        ["build", "new.npy", "--code-bytes", 8, "-o", "no/b.wfx"],
        2,
        "does not exist; create it",
    ),
    "upsert without ids": (["add", "a.wfx", "new.npy", "--upsert"], 2, "--upsert needs --ids FILE"),
    "nothing to remove": (["remove", "a.wfx"], 2, "expected the ids to remove"),
    "ids twice": (["remove", "a.wfx", 3, "--ids", "ids.npy"], 2, "expected the ids to remove"),
    "too large an id": (["remove", "a.wfx", 2**63], 2, "is no id: expected an int64"),
    "no folder": (["add", "b.wfx", "new.npy"], 1, "no index in this folder; waterfill build"),
    "a file": (["compact", "new.npy"], 1, "new.npy: expected a folder, got a file"),
    "too few ids": (["add", "a.wfx", "new.npy", "--ids", "few.txt"], 1, "expected 100 ids, one"),
    "no ids": (["remove", "a.wfx", "--ids", "words.txt"], 1, "line 2: expected an id within int64"),
    "ids of no kind": (["remove", "a.wfx", "--ids", "new.npy"], 1, "array of integers, got shape"),
    "the missing id": (["add", "a.wfx", "one.npy", "--ids", "missing.txt"], 1, "id -1 stands for"),
    "an id twice": (
        ["add", "a.wfx", "two.npy", "--ids", "twice.txt", "--upsert"],
        1,
        "expected each id once, because --upsert replaces vectors",
    ),
    "other dimensions": (["add", "a.wfx", "narrow.npy"], 1, "expected 64 dimensions, as in a.wfx"),
}


@pytest.mark.parametrize("case", BAD)
def test_errors_change_nothing(run, folder, new, case):
    np.save(run.directory / "one.npy", new[:1])
    np.save(run.directory / "two.npy", new[:2])
    np.save(run.directory / "narrow.npy", new[:3, :8])
    (run.directory / "other.wfx").mkdir()
    (run.directory / "other.wfx" / "letter.txt").write_text("mine")
    for name, text in {"few": "1\n", "words": "1\nx\n", "missing": "-1\n", "twice": "7\n7"}.items():
        (run.directory / f"{name}.txt").write_text(text)
    arguments, code, words = BAD[case]
    done = run(*arguments, code=code)
    assert words in done.err
    assert done.err.count("\n") == 1
    with opened(run, folder) as index:
        assert index.ntotal == 2000


def test_a_folder_that_another_process_changes(run, folder, new):
    with wf.open_index(run.directory / folder, "a"):
        for command in (("add", folder, "new.npy"), ("remove", folder, 1), ("compact", folder)):
            error = run(*command, code=1).err
            assert "has the folder open for changes; end it first" in error
            assert "mode=" not in error
        assert run("info", folder, "--json").document["index"]["n"] == 2000


def test_blocks_that_were_added_stay(run, folder, base_64):
    x = np.tile(base_64, (15, 1))  # more than a block
    x[-1, 3] = np.nan
    np.save(run.directory / "bad.npy", x)
    error = run("add", folder, "bad.npy", code=1).err
    assert "bad.npy: row 71999" in error
    with opened(run, folder) as index:
        kept = index.ntotal - 2000
    assert 0 < kept < len(x)
    assert f"the first {kept:,} of 72,000 vectors are in a.wfx now" in error


def test_a_build_that_is_interrupted_goes_on(run, made):
    np.save(run.directory / "large.npy", np.ones((3_000_000, 64), "f2"))
    arguments = ["build", "large.npy", "--codec", str(made / "codec.wf"), "-o", "b.wfx"]
    with subprocess.Popen(
        [*COMMAND, *arguments, "--workers", "1"],
        cwd=run.directory,
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        while process.poll() is None and not list(run.directory.glob("b.wfx/segment-*")):
            pass
        process.send_signal(signal.SIGINT)
        error = process.communicate()[1]
    assert process.returncode == 130
    assert error == "waterfill: interrupted; repeat the command to go on with b.wfx\n"
    assert "the build of this folder is not finished" in run("info", "b.wfx", code=1).err
    done = run(*arguments, "--json")
    assert done.document["resumed"] >= 1
    assert done.document["n"] == 3_000_000
    again = run(*arguments, "--json")
    assert again.document["finished_before"]
    assert "b.wfx was finished before; nothing was done" in again.err


def test_a_build_from_a_folder_of_tables(run, base_64, made):
    parquet = pytest.importorskip("pyarrow.parquet")
    arrow = pytest.importorskip("pyarrow")
    (run.directory / "lake" / "day").mkdir(parents=True)
    for i in range(3):
        rows = slice(400 * i, 400 * (i + 1))
        table = {"key": np.arange(400) + 1000 * i, "text": ["a"] * 400}
        column = arrow.FixedSizeListArray.from_arrays(base_64[rows].reshape(-1), 64)
        parquet.write_table(
            arrow.table(table | {"embedding": column}), run.directory / f"lake/day/{i}.parquet"
        )
    options = ("--codec", made / "codec.wf", "--workers", 2, "--memory", "600MB")
    where = ("--column", "embedding", "--id-column", "key", "-o", "b.wfx")
    said = run("build", "lake", *where, *options, "--json").document
    assert (said["n"], said["segments"]) == (1200, 1)
    with opened(run, "b.wfx") as index:
        assert index.ids().tolist() == [i + 1000 * j for j in range(3) for i in range(400)]
        np.testing.assert_array_equal(index.codes(), index.codec.encode(base_64[:1200]))
