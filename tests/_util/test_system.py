"""What systems do differently, on the one that runs the tests."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from support.systems import on_posix

from waterfill._util import system


@pytest.fixture
def handle(tmp_path: Path):
    handle = os.open(tmp_path / "a", os.O_RDWR | os.O_CREAT | system.OPEN_FLAGS, 0o666)
    yield handle
    os.close(handle)


def test_reading_and_writing_anywhere(handle: int) -> None:
    system.write_at(handle, b"line\nand more", 3)
    assert system.read_at(handle, 100, 0) == b"\0\0\0line\nand more"
    assert system.read_at(handle, 4, 3) == b"line"
    assert system.read_at(handle, 4, 100) == b""


LOCKER = """
import os, sys
from waterfill._util import system
handle = os.open(sys.argv[1], os.O_RDWR | system.OPEN_FLAGS)
print(system.try_lock(handle), flush=True)
"""


def test_a_lock_is_for_one_process(handle: int, tmp_path: Path) -> None:
    def locks_elsewhere() -> str:
        command = [sys.executable, "-c", LOCKER, str(tmp_path / "a")]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    assert locks_elsewhere() == "True"  # and the process has ended, so nobody has it
    assert system.try_lock(handle)
    system.write_at(handle, b"owner", 0)
    assert locks_elsewhere() == "False"
    assert (tmp_path / "a").read_bytes() == b"owner"  # which others can read


def test_a_file_that_others_read_is_replaced(tmp_path: Path) -> None:
    target, stop, seen = tmp_path / "a", threading.Event(), set()
    target.write_bytes(b"0" * 1000)

    def read() -> None:
        while not stop.is_set():
            seen.add(system.read_replaced(str(target)))
            time.sleep(0.01)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for number in range(1, 10):
            (tmp_path / "new").write_bytes(str(number).encode() * 1000)
            system.replace(str(tmp_path / "new"), str(target))
    finally:
        stop.set()
        reader.join()
    assert target.read_bytes() == b"9" * 1000
    assert {len(content) for content in seen} == {1000}


def test_what_is_not_there_is_no_longer_removed(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    system.remove_unused(str(tmp_path / "a"))
    system.remove_unused(str(tmp_path / "a"))
    assert not (tmp_path / "a").exists()


@on_posix
def test_other_errors_of_removing_are_raised(tmp_path: Path) -> None:
    (tmp_path / "b").touch()
    with pytest.raises(NotADirectoryError):
        system.remove_unused(str(tmp_path / "b" / "c"))


def test_processes_that_run_and_one_that_has_ended() -> None:
    assert system.is_running(os.getpid())
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        assert system.is_running(process.pid)
        assert process.poll() is None  # asking has not ended it
        process.communicate(b"\n")
    assert not system.is_running(process.pid)


def test_names_in_a_directory_are_synced(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    system.sync_directory(tmp_path)
    if os.name != "nt":
        with pytest.raises(FileNotFoundError):
            system.sync_directory(tmp_path / "none")
