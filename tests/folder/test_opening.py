"""Opening folders: modes, arguments, locks, errors, and what a failed write leaves."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import trained
from support.folder_model import KINDS, Model, codec_of, options_of, some_vectors

import waterfill as wf


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.wfx"


def filled(path: Path, kind: str = "flat", **options: Any) -> Any:
    index = wf.open_index(path, "w", **(options_of(kind) | options))
    index.add(some_vectors(100, seed=1))
    return index


@pytest.mark.parametrize("kind", KINDS)
def test_one_line_makes_a_folder_and_one_opens_it(path: Path, kind: str) -> None:
    model = Model(kind)
    with wf.open_index(path, "a", **options_of(kind)) as index:
        assert isinstance(index, wf.IndexIVF if options_of(kind)["nprobe"] else wf.IndexFlat)
        assert index.path == str(path)
        assert index.segments == []
        index.add(some_vectors(100, seed=1))
        model.add(range(100), some_vectors(100, seed=1))
        model.check(index)
    reader = wf.open_index(path)
    model.check(reader)
    assert reader.metric == index.metric
    assert reader.refine == options_of(kind)["refine"]
    assert getattr(reader, "nprobe", None) == options_of(kind)["nprobe"]


def test_mode_w_makes_it_anew(path: Path) -> None:
    filled(path).close()
    with wf.open_index(path, "w", **options_of("lists")) as index:
        assert index.ntotal == 0
        assert isinstance(index, wf.IndexIVF)
    assert len(list(path.glob("codec-*"))) == 1


def test_a_reader_of_a_folder_that_is_made_anew_takes_it_in(path: Path) -> None:
    filled(path).close()
    reader = wf.open_index(path)
    with wf.open_index(path, "w", **options_of("flat")) as index:
        assert reader.ntotal == 100
        assert reader.search(some_vectors(1, seed=1), 1)[1][0, 0] == 0
        assert reader.refresh()
        assert reader.ntotal == 0
        index.add(some_vectors(3, seed=1))
        assert reader.refresh()
        assert not reader.refresh()
        assert reader.ntotal == 3


def test_a_reader_cannot_change_it(path: Path) -> None:
    filled(path).close()
    reader = wf.open_index(path)
    for change in (
        lambda: reader.add(some_vectors(1, seed=2)),
        lambda: reader.add_with_ids(some_vectors(1, seed=2), [7]),
        lambda: reader.upsert([7], some_vectors(1, seed=2)),
        lambda: reader.add_sa_codes(reader.codes(0, 1)),
        lambda: reader.remove_ids(np.array([1])),
        reader.reset,
        reader.flush,
        reader.compact,
    ):
        with pytest.raises(ValueError, match="mode='a'"):
            change()
    assert reader.ntotal == 100


def test_a_closed_index_says_so(path: Path) -> None:
    index = filled(path)
    index.close()
    index.close()
    for call in (
        lambda: index.search(some_vectors(1, seed=1), 1),
        lambda: index.add(some_vectors(1, seed=1)),
        index.flush,
        index.refresh,
    ):
        with pytest.raises(ValueError, match="closed"):
            call()


def test_one_writer_at_a_time(path: Path) -> None:
    index = filled(path)
    for mode in ("a", "w"):
        with pytest.raises(BlockingIOError, match=f"process {os.getpid()} has the folder open"):
            wf.open_index(path, mode, codec=codec_of("flat"))
    script = "import sys, waterfill as wf; wf.open_index(sys.argv[1], 'a')"
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )
    assert "BlockingIOError" in done.stderr
    assert str(os.getpid()) in done.stderr
    assert index.ntotal == 100
    del index  # without close: the lock goes with it
    wf.open_index(path, "a").close()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"mode": "x"}, ValueError, "'r', 'a', 'w'"),
        ({"sync": "never"}, ValueError, "'commit', 'interval', 'none'"),
        ({"verify": "no"}, ValueError, "'header', 'full'"),
        ({"compaction": "on"}, ValueError, "'background', 'off'"),
        ({"flush_bytes": 0}, ValueError, "flush_bytes"),
        ({"mode": "w"}, ValueError, "codec is needed"),
        ({"mode": "a", "codec": "codec.wf"}, TypeError, "waterfill.Codec, got str"),
        ({"mode": "a", "codec": "cells"}, ValueError, "another than that of the folder"),
        ({"metric": "l2"}, ValueError, "the folder has metric 'ip'"),
        ({"nprobe": 3}, ValueError, "searches all lists"),
        ({"refine": "int8"}, ValueError, "keeps no rows"),
    ],
)
def test_arguments_are_checked(
    path: Path, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    filled(path).close()
    before = sorted(os.listdir(path))
    if options.get("codec") == "cells":
        options = options | {"codec": codec_of("cells")}
    with pytest.raises(error, match=message):
        wf.open_index(path, **options)
    assert sorted(os.listdir(path)) == before
    wf.open_index(path, "a").close()


def test_what_is_not_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="codec=codec"):
        wf.open_index(tmp_path / "none.wfx")
    with pytest.raises(FileNotFoundError, match="codec=codec"):
        wf.open_index(tmp_path / "none.wfx", "a")
    assert not (tmp_path / "none.wfx").exists()
    (tmp_path / "file.wf").write_bytes(b"x")
    with pytest.raises(NotADirectoryError, match="read_index"):
        wf.open_index(tmp_path / "file.wf", "w", codec=codec_of("flat"))
    with pytest.raises(ValueError, match="cells"):
        wf.open_index(tmp_path / "new.wfx", "w", codec=codec_of("flat"), nprobe=4)
    with pytest.raises(TypeError, match="name of a row type"):
        wf.open_index(
            tmp_path / "new.wfx", "w", codec=codec_of("flat"), refine=some_vectors(3, seed=1)
        )


def test_files_of_others_stay(path: Path) -> None:
    path.mkdir()
    (path / "README.txt").write_text("mine")
    index = filled(path)
    index.flush()
    (path / "segment-999999.wf").write_text("left over by a crash")
    index.compact()
    index.close()
    wf.open_index(path, "a").close()
    assert (path / "README.txt").read_text() == "mine"
    assert not (path / "segment-999999.wf").exists()


@pytest.mark.parametrize("sync", ["commit", "interval", "none"])
def test_each_sync_keeps_what_was_added(path: Path, sync: Any) -> None:
    index = filled(path, sync=sync)
    index.remove_ids(np.arange(10))
    assert wf.open_index(path).ntotal == 90
    index.close()
    assert wf.open_index(path, verify="full").ntotal == 90


def test_settings_are_stored_by_flush(path: Path) -> None:
    index = filled(path, "lists", k_factor=3)
    index.nprobe = 7
    index.flush()
    assert wf.open_index(path).nprobe == 7
    assert wf.open_index(path).k_factor == 3
    assert wf.open_index(path, nprobe=2, k_factor=9).nprobe == 2


def test_ids_go_on_after_removals_and_compaction(path: Path) -> None:
    index = filled(path)
    index.remove_ids(np.arange(90, 100))
    index.compact()
    index.close()
    index = wf.open_index(path, "a")
    index.add(some_vectors(2, seed=3))
    assert index.ids()[-2:].tolist() == [100, 101]
    index.add_with_ids(some_vectors(1, seed=4), [2**63 - 1])
    with pytest.raises(ValueError, match="no ids are left"):
        index.add(some_vectors(1, seed=5))
    index.add_with_ids(some_vectors(1, seed=5), [-7])
    assert index.ids()[-1] == -7
    index.close()


def test_bad_vectors_leave_it_as_it_was(path: Path) -> None:
    index = filled(path)
    bad = some_vectors(3, seed=2)
    bad[1, 0] = np.nan
    size = index._log.size
    for call in (
        lambda: index.add(bad),
        lambda: index.upsert([1, 2, 3], bad),
        lambda: index.upsert([1, 1], some_vectors(2, seed=2)),
        lambda: index.upsert([1, -1], some_vectors(2, seed=2)),
        lambda: index.upsert([1], some_vectors(2, seed=2)),
        lambda: index.merge_from(index),
    ):
        with pytest.raises(ValueError, match=r"\w"):
            call()
    assert index._log.size == size
    assert index.ntotal == 100
    index.close()


def test_upsert_with_a_policy_leaves_old_vectors_of_bad_rows(path: Path) -> None:
    index = filled(path)
    bad = some_vectors(3, seed=2)
    bad[1, 0] = np.nan
    with pytest.warns(RuntimeWarning, match="1"):
        index.upsert([1, 2, 200], bad, policy="drop")
    assert index.ntotal == 101
    assert index.ids()[-2:].tolist() == [1, 200]
    index.close()


def test_a_copy_and_a_pickle_read_the_same_folder(path: Path) -> None:
    index = filled(path)
    for twin in (pickle.loads(pickle.dumps(index)), copy.copy(index)):
        assert twin.ntotal == 100
        with pytest.raises(ValueError, match="mode='a'"):
            twin.add(some_vectors(1, seed=1))
    wf.write_index(index, path.parent / "a.wf")
    alone = wf.read_index(path.parent / "a.wf")
    np.testing.assert_array_equal(alone.ids(), index.ids())
    index.close()


FULL = """
import resource, signal, sys
import numpy as np
import waterfill as wf
from support.folder_model import some_vectors
index = wf.open_index(sys.argv[1], "a")
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
n = index.ntotal
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    while True:
        index.add(some_vectors(500, seed=n))
        n += 500
except OSError as error:
    print(error.errno)
assert index.ntotal == n, (index.ntotal, n)
found = index.search(some_vectors(1, seed=1), 1)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
index.add(some_vectors(500, seed=n))
print(index.ntotal)
index.close()
"""


def test_a_full_disk_leaves_what_was_acknowledged(path: Path) -> None:
    filled(path, "rows").close()
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(path), "100000"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )
    assert done.returncode == 0, done.stderr
    number, total = done.stdout.split()
    assert os.strerror(int(number)) == "File too large"
    assert wf.open_index(path, verify="full").ntotal == int(total)


NO_ROOM_FOR_SEGMENTS = """
import resource, sys, warnings
import waterfill as wf
from support.folder_model import some_vectors
def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
index = wf.open_index(sys.argv[1], "a", flush_bytes=1000, compaction="off")
limit(2000)
n = 0
with warnings.catch_warnings(record=True) as said:
    while not said:
        n += 5
        index.add(some_vectors(5, seed=n))
assert "the log cannot be flushed and grows; nothing is lost" in str(said[0].message), said[0]
assert index.ntotal == n
assert index.segments == []
try:
    while True:  # in the end there is no room for the log, either
        index.add(some_vectors(5, seed=0))
        n += 5
except OSError:
    assert index.ntotal == n
limit(resource.RLIM_INFINITY)
while not index.segments:
    n += 5
    index.add(some_vectors(5, seed=n))
print(n)
"""


def test_a_change_is_kept_where_a_flush_after_it_fails(path: Path) -> None:
    """It is in the log, so an error would have its caller repeat it."""
    wf.open_index(path, "w", **options_of("rows")).close()
    done = subprocess.run(
        [sys.executable, "-c", NO_ROOM_FOR_SEGMENTS, str(path)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )
    assert done.returncode == 0, done.stderr
    assert wf.open_index(path, verify="full").ntotal == int(done.stdout)


def test_a_target_recall_makes_lists_and_follows_the_folder(tmp_path, base_64) -> None:
    codec = trained.trained(base_64, 8, cells=40)
    with pytest.raises(ValueError, match="target_recall needs a codec with cells"):
        wf.open_index(tmp_path / "flat.wfx", "w", codec=codec_of("flat"), target_recall=0.9)
    with pytest.raises(ValueError, match="expected one of them"):
        wf.open_index(tmp_path / "both.wfx", "w", codec=codec, nprobe=2, target_recall=0.9)
    path = tmp_path / "lists.wfx"
    with wf.open_index(path, "w", codec=codec, target_recall=0.97) as index:
        index.add(base_64)
        like = wf.IndexIVF(codec, 40, target_recall=0.97)
        like.add(base_64)
        assert index.target_recall == 0.97
        stored = index.nprobe
        assert stored == like.nprobe
        index.flush()
        index.add(base_64)
        index.add(base_64)
        like.add(base_64)
        like.add(base_64)
    reader = wf.open_index(path)
    assert (reader.target_recall, reader.nprobe) == (0.97, like.nprobe)
    assert reader.nprobe < stored  # more vectors than when the number was stored
    assert wf.open_index(path, target_recall=0.5).nprobe < reader.nprobe
    with wf.open_index(path, "a", target_recall=0.6) as index:
        index.flush()
    assert wf.open_index(path).target_recall == 0.6
    with wf.open_index(path, "a", nprobe=7) as index:
        index.flush()
    reader = wf.open_index(path)
    assert (reader.nprobe, reader.target_recall) == (7, None)


def test_an_empty_folder_has_its_target_recall(tmp_path, base_64) -> None:
    codec = trained.trained(base_64, 8, cells=40)
    wf.open_index(tmp_path / "a.wfx", "w", codec=codec, target_recall=0.8).close()
    assert wf.open_index(tmp_path / "a.wfx").target_recall == 0.8
