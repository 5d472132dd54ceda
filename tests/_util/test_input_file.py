"""Pipes, sockets, devices and directories where a file is expected: an error, and no waiting."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading

import numpy as np
import pytest
from support.concurrency import PATIENCE

import waterfill as wf
from waterfill._util.input_file import open_input, read_input, require_regular
from waterfill.cli import app
from waterfill.data.vector_files import FORMATS
from waterfill.drift.monitor_state import is_state


@pytest.fixture(params=["pipe", "socket", "device", "directory"])
def special(request, tmp_path):
    """A path that no reader may open, and what an error calls it."""
    path = tmp_path / "special.npy"
    if request.param == "pipe":
        os.mkfifo(path)
    elif request.param == "socket":
        with socket.socket(socket.AF_UNIX) as made:
            made.bind("special.npy")  # below _stay: the name of a socket must be short
    elif request.param == "device":
        path.symlink_to("/dev/zero")  # without end
    else:
        path.mkdir()
    return path, "directory" if request.param == "directory" else f"got a {request.param}"


@pytest.fixture(autouse=True)
def _stay(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)


READERS = {
    "read_index": wf.read_index,
    "read_codec": wf.read_codec,
    "file_kind": wf.io.file_kind,
    "DriftMonitor.load": wf.DriftMonitor.load,
    "CapacityReport.load": wf.loadtest.CapacityReport.load,
    "open_vectors": wf.open_vectors,
    "open_vectors, several": lambda path: wf.open_vectors([path, path]),
    **{
        f"open_vectors, {format}": lambda path, format=format: wf.open_vectors(path, format=format)
        for format in FORMATS
    },
    "open_input": open_input,
    "read_input": read_input,
    "require_regular": require_regular,
}


@pytest.mark.parametrize("name", READERS)
def test_special_files_are_refused_at_once(name, special):
    path, words = special
    raised = []

    def read():
        try:
            READERS[name](path)
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    (error,) = raised
    assert isinstance(error, OSError)
    assert words in str(error)
    assert str(path) in str(error)


def test_a_special_file_is_no_state(special):
    assert not is_state(special[0])


@pytest.mark.parametrize("command", ["info", "analyze", "train", "encode", "search", "serve"])
def test_commands_say_so(command, special, tmp_path, capsys):
    path, words = special
    arguments = {
        "train": [path, "-o", tmp_path / "o.wf"],
        "encode": [path, path, "-o", tmp_path / "o.npy"],
        "search": [path, path],
    }
    code = app.run([command, *map(str, arguments.get(command, [path]))])
    assert code in (1, 2)
    error = capsys.readouterr().err
    assert words in error
    assert "Traceback" not in error


def test_links_to_files_are_followed(tmp_path):
    (tmp_path / "x").write_bytes(b"content")
    (tmp_path / "link").symlink_to("x")
    assert read_input(tmp_path / "link") == b"content"
    require_regular(tmp_path / "link")
    with pytest.raises(FileNotFoundError):
        require_regular(tmp_path / "nothing")


@pytest.fixture(scope="module")
def index():
    rows = np.random.default_rng(0).standard_normal((600, 8)).astype("f4")
    made = wf.IndexFlat(wf.Recipe(8, 4, effort="fast").train(rows, "ip"))
    made.add(rows)
    return made


def through_a_pipe(data, call):
    """Call with the name of a pipe's descriptor, as a shell's <(command) is, that gives `data`."""
    reading, writing = os.pipe()

    def write():
        with contextlib.suppress(BrokenPipeError), os.fdopen(writing, "wb") as file:
            file.write(data)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        return call(f"/dev/fd/{reading}")
    finally:
        os.close(reading)
        thread.join(PATIENCE)


def test_open_pipes_are_read_to_the_end(index, tmp_path):
    wf.write_index(index, tmp_path / "x.wf")
    wf.write_codec(index.codec, tmp_path / "codec.wf")
    data = (tmp_path / "x.wf").read_bytes()
    query = np.ones((1, 8), "f4")
    expected = index.search(query, 3)
    for one, other in zip(
        through_a_pipe(data, wf.read_index).search(query, 3), expected, strict=True
    ):
        np.testing.assert_array_equal(one, other)
    for content in (data, (tmp_path / "codec.wf").read_bytes()):
        read = through_a_pipe(content, wf.read_codec)
        assert read.fingerprint == index.codec.fingerprint
    with pytest.raises(wf.FormatError, match="/dev/fd/"):
        through_a_pipe(data[: len(data) // 2], wf.read_index)
    with pytest.raises(wf.FormatError, match="not a capacity report"):
        through_a_pipe(b"{}", wf.loadtest.CapacityReport.load)
    with pytest.raises(OSError, match="expected a regular file, got a pipe"):
        through_a_pipe(data, lambda path: wf.open_vectors(path, format="npy"))


def test_standard_input_is_read(index, tmp_path):
    document = json.dumps({"manifest": json.loads(index.codec.manifest.to_json())})
    code = "from waterfill._util.input_file import read_input; print(len(read_input('/dev/stdin')))"
    result = subprocess.run(
        [sys.executable, "-c", code], input=document, capture_output=True, text=True, check=True
    )
    assert int(result.stdout) == len(document)
