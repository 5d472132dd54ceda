"""Processes that serve a folder: what they acknowledge is kept, and others can read it."""

from __future__ import annotations

import functools
import resource
import signal

import httpx
import numpy as np
import pytest
from support.concurrency import PATIENCE, until
from support.server_process import exit_code, serving

import waterfill as wf

get, post, delete = (
    functools.partial(call, timeout=PATIENCE) for call in (httpx.get, httpx.post, httpx.delete)
)
D = 8
AT_ONCE = ("--drain-seconds", "0")


def add(process, rows):
    answer = post(f"{process.url}/add", json={"vectors": rows.tolist()})
    assert answer.status_code == 200, answer.text
    return answer.json()["ids"]


def found(process, row, **more):
    body = {"vector": row.tolist(), "k": 1, **more}
    answer = post(f"{process.url}/search", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()["ids"][0]


def test_sigterm_closes_the_folder(folder, rows):
    with serving(folder, *AT_ONCE, "--sync", "interval") as process:
        assert "changes are kept in the folder" in process.said
        assert add(process, rows[:2]) == [200, 201]
        with pytest.raises(BlockingIOError, match=f"process {process.child.pid} has the folder"):
            wf.open_index(folder, "a")
        process.child.send_signal(signal.SIGTERM)
        assert process.end() == 0
    assert "lost" not in process.said
    assert process.lines[-1] == "waterfill: stopped"
    with wf.open_index(folder, "a") as index:
        assert index.ntotal == 202
        assert index.log_bytes > 0


def test_a_file_warns_that_its_changes_are_lost(files, rows):
    with serving(files / "one.wf", *AT_ONCE) as process:
        assert "changes are in memory only" in process.said
        add(process, rows[:1])
        process.child.send_signal(signal.SIGTERM)
        assert process.end() == 0
    assert "warning: changes to the index are lost" in process.said


def test_a_second_service_is_refused(folder, capsys):
    with serving(folder) as process:
        assert exit_code(folder) == 1
        pid = process.child.pid
    error = capsys.readouterr().err
    assert f"process {pid} has the folder open for changes; end it first, or serve" in error
    assert "--read-only" in error
    assert "Traceback" not in error


def test_a_kill_and_a_restart(folder, rows):
    with serving(folder) as process:
        ids = add(process, rows[500:503])
        delete(f"{process.url}/vectors/{ids[1]}")
        process.child.kill()
        process.end()
    with serving(folder) as process:
        assert found(process, rows[500], ids=ids[:1]) == ids[:1]
        assert found(process, rows[501], ids=ids[1:2]) == []
        assert add(process, rows[503:504]) == [203]


def test_read_only_services_follow_the_writer(folder, rows):
    follow = ("--read-only", "--refresh-seconds", "0.02")
    with serving(folder, *follow) as reader, serving(folder, "--read-only") as other:
        for _ in range(2):  # the first writer is killed
            with serving(folder) as writer:
                ids = add(writer, rows[600:605])
                until(lambda ids=ids: found(reader, rows[600], ids=ids[:1]) == ids[:1])
                post(f"{writer.url}/remove", json={"ids": ids[:1]})
                until(lambda ids=ids: found(reader, rows[600], ids=ids[:1]) == [])
                until(lambda ids=ids: found(other, rows[601], ids=ids[1:2]) == ids[1:2])
        answer = post(f"{reader.url}/add", json={"vectors": rows[:1].tolist()})
        assert (answer.status_code, answer.json()) == (403, {"error": "this service is read-only"})
        # Another writer compacts: files that the readers have mapped are removed.
        with wf.open_index(folder, "a") as index:
            index.upsert([3], rows[700:701])
            index.compact()
        until(lambda: found(reader, rows[700], ids=[3, 4]) == [3])
        assert not any("cannot be refreshed" in line for line in reader.lines + other.lines)


def test_a_folder_that_goes_away_leaves_a_reader_with_what_it_has(folder, rows, tmp_path):
    with serving(folder, "--read-only", "--refresh-seconds", "0.01") as reader:
        folder.rename(tmp_path / "b.wfx")
        reader.wait_for("the folder cannot be refreshed")
        for _ in range(20):
            assert len(found(reader, rows[0])) == 1
        (tmp_path / "b.wfx").rename(folder)
        with wf.open_index(folder, "a") as index:
            index.add(rows[800:801])
        until(lambda: found(reader, rows[800], ids=[200]) == [200])
        assert sum("cannot be refreshed" in line for line in reader.lines) == 1


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="limits of other processes")
def test_a_full_disk(folder, rows):
    with serving(folder, *AT_ONCE) as process:
        add(process, rows[:16])
        size = max(each.stat().st_size for each in folder.glob("log-*"))
        resource.prlimit(process.child.pid, resource.RLIMIT_FSIZE, (size + 1, -1))
        vectors = {"vectors": rows[16:32].tolist()}
        for path, body in (
            ("/add", vectors),
            ("/upsert", {"ids": [*range(16)], **vectors}),
            ("/remove", {"ids": [1]}),
        ):
            answer = post(f"{process.url}{path}", json=body)
            assert answer.status_code == 503
            expected = "the change could not be written: File too large"
            assert answer.json() == {"error": expected}
        assert delete(f"{process.url}/vectors/1").status_code == 503
        assert len(found(process, rows[0])) == 1
        assert get(f"{process.url}/readyz").status_code == 200
        resource.prlimit(process.child.pid, resource.RLIMIT_FSIZE, (-1, -1))
        assert add(process, rows[16:17]) == [216]
        process.child.send_signal(signal.SIGTERM)
        assert process.end() == 0
    assert "a change could not be written" in process.said
    index = wf.open_index(folder, verify="full")
    np.testing.assert_array_equal(index.ids(), np.arange(217))
    expected = rows[[*range(200), *range(17)]].astype(np.float16)
    np.testing.assert_array_equal(index.reconstruct_n(), expected)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--save",), "--save is for an index file"),
        (("--swap-folder", "."), "--swap-folder is for an index file"),
        (
            ("--refresh-seconds", "3"),
            "changes by other processes; add --read-only",
        ),
        (("--read-only", "--sync", "none"), "--sync is about changes, which --read-only refuses"),
        (("--read-only", "--refresh-seconds", "0"), "refresh_seconds=0.0 must be at least"),
        (("--sync", "sometimes"), "'sometimes' is not one of 'commit', 'interval', 'none'"),
    ],
)
def test_options_of_a_folder(folder, capsys, options, words):
    assert exit_code(folder, *options) == 2
    assert words in capsys.readouterr().err


def test_options_of_a_file(files, capsys):
    for option in (("--sync", "none"), ("--refresh-seconds", "1")):
        assert exit_code(files / "one.wf", *option) == 2
        assert f"{option[0]} is for an index in a folder" in capsys.readouterr().err
    assert exit_code(files / "one.wf", "--save", "--read-only") == 2
    assert "--save is about changes" in capsys.readouterr().err


def test_a_folder_without_an_index(tmp_path, capsys):
    assert exit_code(tmp_path) == 1
    assert "no index in this folder; waterfill build" in capsys.readouterr().err
