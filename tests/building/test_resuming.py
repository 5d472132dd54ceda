"""A build goes on after a kill, does nothing when it is finished, and refuses another call."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import waterfill as wf

KILLS = int(os.environ.get("WATERFILL_KILLS", "4"))

BUILDER = """
import sys, time
import waterfill as wf
source, out, codec = sys.argv[1:]
print("start", flush=True)
trained = wf.read_codec(codec) if codec else wf.Recipe(64, 16, effort="fast")
options = {} if source.endswith("npy") else {"ids": "id", "key": "vector", "refine": "float16"}
built = wf.build(source, out, trained, shard_rows=60, workers=2, **options)
print(built.resumed, flush=True)
"""


def builder(*arguments):
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
        "SOURCE_DATE_EPOCH": "1700000000",  # of the codec's manifest
    }
    return subprocess.Popen(
        [sys.executable, "-c", BUILDER, *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )


def finished(*arguments):
    with builder(*arguments) as process:
        lines = process.communicate()[0].split()
    assert process.returncode == 0
    return int(lines[-1])


@pytest.mark.parametrize(("name", "trains"), [("all.npy", True), ("lake", False)])
def test_a_killed_build_ends_as_an_undisturbed_one(
    files, tmp_path, codec_64, contents, name, trains
):
    wf.write_codec(codec_64, tmp_path / "codec.wf")
    codec = "" if trains else tmp_path / "codec.wf"
    begin = time.monotonic()
    assert finished(files / name, tmp_path / "whole.wfx", codec) == 0
    seconds = time.monotonic() - begin
    rng = random.Random(5)
    out, resumed = tmp_path / "a.wfx", 0
    for _ in range(KILLS):
        with builder(files / name, out, codec) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(rng.uniform(0, seconds))
            process.send_signal(signal.SIGKILL)
            process.wait()
        if (out / "MANIFEST").exists():
            finished(files / name, out, codec)  # removes the journal, if the kill came before that
            assert contents(out) == contents(tmp_path / "whole.wfx")
            shutil.rmtree(out)  # once more from the start
        else:
            resumed += 1
    finished(files / name, out, codec)
    assert contents(out) == contents(tmp_path / "whole.wfx")
    assert wf.open_index(out, verify="full").ntotal == 3000


class KilledError(BaseException):
    """Ends a build where a crash would."""


@contextlib.contextmanager
def crash_after(step, monkeypatch):
    """Let the process end, as far as the build can tell, behind one of its syncs."""
    real, calls = os.fsync, iter(range(10**6))

    def fsync(handle):
        real(handle)
        if next(calls) == step:
            raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        yield


@pytest.mark.parametrize("step", range(17))
def test_a_build_goes_on_after_a_crash_at_each_write(
    files, tmp_path, codec_64, contents, monkeypatch, step
):
    """Crashes between a segment and its line in the journal, and around the manifest."""
    arguments = (files / "all.npy", tmp_path / "a.wfx", codec_64)
    wf.build(files / "all.npy", tmp_path / "whole.wfx", codec_64, shard_rows=1000)
    with crash_after(step, monkeypatch), pytest.raises(KilledError):
        wf.build(*arguments, shard_rows=1000, workers=1)
    wf.build(*arguments, shard_rows=1000, workers=1)
    assert contents(tmp_path / "a.wfx") == contents(tmp_path / "whole.wfx")


def test_a_finished_build_does_nothing(files, tmp_path, codec_64, contents):
    out = tmp_path / "a.wfx"
    first = wf.build(files / "lake", out, codec_64, shard_rows=500)
    times = {name: os.stat(out / name).st_mtime_ns for name in contents(out)}
    again = wf.build(files / "lake", out, codec_64, memory="2GB", workers=7)
    assert (first.finished_before, again.finished_before) == (False, True)
    assert again.vectors == first.vectors
    assert "it was finished before, nothing was done" in str(again)
    assert times == {name: os.stat(out / name).st_mtime_ns for name in contents(out)}
    with wf.open_index(out, "a") as index:
        index.remove_ids(np.arange(10))
    assert wf.build(files / "lake", out, codec_64).finished_before
    assert wf.open_index(out).ntotal == 2990


OTHERS = {
    "codec": ({"codec": wf.Recipe(64, 8)}, "another codec"),
    "metric": ({"metric": "l2"}, "metric='l2' instead of 'ip'"),
    "rows": ({"refine": "int8"}, "refine='int8' instead of None"),
    "ids": ({"ids": "id"}, "other ids"),
    "shards": ({"shard_rows": 400}, "shard_rows=400 instead of 500"),
    "source": ({"source": "part-1.parquet"}, "a source without .*part-0.parquet"),
    "more": ({"source": "."}, "a source with .*all.fbin, which was not part of it"),
}


@pytest.mark.parametrize("state", ["finished", "unfinished"])
@pytest.mark.parametrize("case", OTHERS)
def test_another_call_is_refused(files, tmp_path, codec_64, case, state):
    out = tmp_path / "a.wfx"
    changed, words = OTHERS[case]
    options = {"codec": codec_64, "source": "lake", "shard_rows": 500, "key": "vector"} | changed
    where = {"lake": "lake", ".": "."}.get(options["source"], f"lake/{options['source']}")
    if where == ".":
        options["key"] = None
    del options["source"]
    wf.build(files / "lake", out, codec_64, shard_rows=500)
    if state == "unfinished":
        os.unlink(out / "MANIFEST")
    with pytest.raises(ValueError, match=words) as error:
        wf.build(files / where, out, **options)
    assert "delete the folder, or choose another one" in str(error.value)
    assert ("is being built" if state == "unfinished" else "was built") in str(error.value)


def test_a_file_that_changed_is_refused(files, tmp_path, codec_64, vectors):
    shutil.copy(files / "all.npy", tmp_path / "a.npy")
    wf.build(tmp_path / "a.npy", tmp_path / "a.wfx", codec_64)
    np.save(tmp_path / "a.npy", vectors[:2000])
    with pytest.raises(ValueError, match=r"another state of .*a\.npy, which has changed since"):
        wf.build(tmp_path / "a.npy", tmp_path / "a.wfx", codec_64)


def test_an_iterator_goes_on(tmp_path, codec_64, vectors, contents):
    def batches(stop=3000, scale=1.0, error=False):
        for first in range(0, stop, 100):
            yield vectors[first : first + 100] * np.float32(scale)
        if error:
            raise OSError("the line is cut")

    wf.build(batches(), tmp_path / "whole.wfx", codec_64, shard_rows=400)
    out = tmp_path / "a.wfx"
    with pytest.raises(OSError, match="the line is cut"):
        wf.build(batches(1700, error=True), out, codec_64, shard_rows=400)
    with pytest.raises(ValueError, match="gives other vectors than in the run before"):
        wf.build(batches(scale=2.0), out, codec_64, shard_rows=400)
    with pytest.raises(ValueError, match="gives fewer vectors than in the run before"):
        wf.build(batches(800), out, codec_64, shard_rows=400)
    assert wf.build(batches(), out, codec_64, shard_rows=400).resumed == 4
    assert contents(out) == contents(tmp_path / "whole.wfx")


def test_a_damaged_journal_or_segment_costs_the_step(
    files, tmp_path, codec_64, contents, monkeypatch
):
    wf.build(files / "all.npy", tmp_path / "whole.wfx", codec_64, shard_rows=500)
    out = tmp_path / "a.wfx"
    with crash_after(18, monkeypatch), pytest.raises(KilledError):
        wf.build(files / "all.npy", out, codec_64, shard_rows=500, workers=1)
    journal = out / "BUILD.journal"
    lines = journal.read_bytes().splitlines(keepends=True)
    assert len(lines) >= 5
    journal.write_bytes(b"".join(lines[:-1]) + lines[-1][:-7])  # torn
    segment = sorted(out.glob("segment-*"))[0]
    segment.write_bytes(segment.read_bytes()[:-1])
    (out / "segment-000077.wf").write_bytes(b"left behind")
    built = wf.build(files / "all.npy", out, codec_64, shard_rows=500)
    assert built.resumed == len(lines) - 3
    assert contents(out) == contents(tmp_path / "whole.wfx")


def test_a_journal_that_the_system_takes_in_pieces(
    files, tmp_path, codec_64, contents, monkeypatch
):
    wf.build(files / "all.npy", tmp_path / "whole.wfx", codec_64, shard_rows=1000)
    out, real = tmp_path / "a.wfx", os.write
    monkeypatch.setattr(os, "write", lambda handle, data: real(handle, memoryview(data)[:7]))
    with crash_after(8, monkeypatch), pytest.raises(KilledError):
        wf.build(files / "all.npy", out, codec_64, shard_rows=1000, workers=1)
    assert wf.build(files / "all.npy", out, codec_64, shard_rows=1000).resumed >= 1
    assert contents(out) == contents(tmp_path / "whole.wfx")


def test_what_is_in_the_way(files, tmp_path, codec_64):
    with wf.open_index(tmp_path / "index.wfx", "w", codec=codec_64) as index:
        with pytest.raises(FileExistsError, match="that was not built from a source"):
            wf.build(files / "all.npy", tmp_path / "index.wfx", codec_64)
        assert index.ntotal == 0
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "a.txt").touch()
    with pytest.raises(FileExistsError, match=r"the folder has other files, such as a\.txt"):
        wf.build(files / "all.npy", tmp_path / "mine", codec_64)
    assert os.listdir(tmp_path / "mine") == ["a.txt"]
    with pytest.raises(FileExistsError, match="expected a folder or nothing, got a file"):
        wf.build(files / "all.npy", tmp_path / "mine" / "a.txt", codec_64)


def test_one_process_builds_a_folder(files, tmp_path, codec_64):
    out = tmp_path / "a.wfx"

    def meanwhile(progress):
        with pytest.raises(BlockingIOError, match="has the folder open for changes"):
            wf.build(files / "all.npy", out, codec_64)

    wf.build(files / "all.npy", out, codec_64, progress=meanwhile)


def test_an_unfinished_folder_is_no_index(files, tmp_path, codec_64):
    out = tmp_path / "a.wfx"
    wf.build(files / "all.npy", out, codec_64)
    os.unlink(out / "MANIFEST")
    for mode, codec in (("r", None), ("a", codec_64)):
        with pytest.raises(FileNotFoundError, match="the build of this folder is not finished"):
            wf.open_index(out, mode, codec=codec)
    with wf.open_index(out, "w", codec=codec_64) as index:
        assert index.ntotal == 0
    assert not (out / "BUILD").exists()
