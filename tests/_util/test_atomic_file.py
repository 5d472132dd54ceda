"""Files are replaced as a whole, keep what belongs to the name, and special files stay."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import waterfill as wf
from waterfill._util import atomic_file
from waterfill._util.atomic_file import atomic_write

posix = pytest.mark.skipif(os.name != "posix", reason="modes and special files of POSIX")


@pytest.fixture(params=["unnamed", "named"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With files without a name, and where the file system has none."""
    if request.param == "named":
        monkeypatch.setattr(atomic_file, "_open_unnamed", lambda directory: None)
    return str(request.param)


def write(path: Path, content: bytes = b"new") -> None:
    with atomic_write(path) as file:
        file.write(content)


def write_half(path: Path) -> None:
    with atomic_write(path) as file:
        file.write(b"half")
        raise ZeroDivisionError


@pytest.mark.usefixtures("way")
def test_a_file_is_replaced_or_kept(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write(path, b"old")
    assert path.read_bytes() == b"old"
    with pytest.raises(ZeroDivisionError):
        write_half(path)
    assert path.read_bytes() == b"old"
    write(path)
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a"]


@posix
@pytest.mark.usefixtures("way")
def test_mode_and_links_stay(tmp_path: Path) -> None:
    path, link = tmp_path / "v1", tmp_path / "current"
    umask = os.umask(0o027)
    try:
        write(path, b"old")
    finally:
        os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    for mode in (0o600, 0o664):
        path.chmod(mode)
        write(path)
        assert stat.S_IMODE(path.stat().st_mode) == mode
    link.symlink_to("v1")
    write(link, b"through the link")
    assert link.is_symlink()
    assert path.read_bytes() == b"through the link"
    dangling = tmp_path / "dangling"
    dangling.symlink_to(tmp_path / "v2")
    write(dangling)
    assert (tmp_path / "v2").read_bytes() == b"new"


@posix
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root")
def test_the_owner_stays(tmp_path: Path) -> None:
    write(tmp_path / "a")
    os.chown(tmp_path / "a", 1234, 2345)
    write(tmp_path / "a", b"newer")
    status = (tmp_path / "a").stat()
    assert (status.st_uid, status.st_gid, (tmp_path / "a").read_bytes()) == (1234, 2345, b"newer")


@posix
def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    write(pipe, b"through the pipe")
    reader.join()
    assert read == [b"through the pipe"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_what_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(IsADirectoryError, match="is a directory"):
        write(tmp_path)
    with pytest.raises(FileNotFoundError, match="No such file"):
        write(tmp_path / "none" / "a")
    write(tmp_path / "a", b"old")
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everything
    with pytest.raises(PermissionError, match="Permission denied"):
        write(tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"old"


WRITERS: dict[str, Callable[[Any, Path], None]] = {
    "write_index": wf.write_index,
    "write_codec": lambda index, path: wf.write_codec(index.codec, path),
    "export_faiss": wf.export_faiss,
}


@posix
@pytest.mark.parametrize("name", WRITERS)
def test_every_writer_leaves_special_files_and_links(
    name: str, clustered: NDArray[np.float32], tmp_path: Path
) -> None:
    index = wf.IndexFlat(wf.Recipe(20, 6), "ip")
    index.train(clustered)
    index.add(clustered[:100])
    plain, link, pipe = tmp_path / "plain", tmp_path / "link", tmp_path / "pipe"
    WRITERS[name](index, plain)
    plain.chmod(0o600)
    link.symlink_to(plain)
    expected = plain.read_bytes()
    plain.write_bytes(b"old")
    WRITERS[name](index, link)
    assert link.is_symlink()
    assert stat.S_IMODE(plain.stat().st_mode) == 0o600
    assert plain.read_bytes() == expected
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    WRITERS[name](index, pipe)
    reader.join()
    assert read == [expected]
    WRITERS[name](index, Path("/dev/null"))
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


KILLED = """
import os, sys, signal
from waterfill._util.atomic_file import atomic_write
with atomic_write(sys.argv[1]) as file:
    file.write(b"half")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="O_TMPFILE")
def test_a_killed_process_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write(path, b"old")
    run = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    assert run.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]
    write(path)
    assert path.read_bytes() == b"new"
