"""Available memory: psutil's figure for the machine, and the limit of the container."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from waterfill._util import memory


@pytest.fixture
def cgroup(tmp_path, monkeypatch):
    """A container with 700 bytes left: 1,000 less 400, and 100 of page cache."""
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("400\n")
    (tmp_path / "memory.stat").write_text("anon 300\ninactive_file 100\n")
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    return tmp_path


def machine_with(available):
    return SimpleNamespace(virtual_memory=lambda: SimpleNamespace(available=available))


@pytest.mark.parametrize(("machine", "left"), [(650, 650), (5000, 700)])
def test_the_lesser_of_machine_and_container_is_left(cgroup, monkeypatch, machine, left):
    monkeypatch.setitem(sys.modules, "psutil", machine_with(machine))
    assert memory.available_bytes() == left


def test_without_psutil_the_container_is_known(cgroup, monkeypatch):
    monkeypatch.setitem(sys.modules, "psutil", None)
    assert memory.available_bytes() == 700
    (cgroup / "memory.max").write_text("max\n")
    assert memory.available_bytes() is None
    memory.require_memory(1 << 60, "a second index")


def test_psutil_says_what_the_machine_has(tmp_path, monkeypatch):
    psutil = pytest.importorskip("psutil")
    monkeypatch.setattr(memory, "_CGROUP", tmp_path / "absent")
    assert 0 < memory.available_bytes() <= psutil.virtual_memory().total


def test_too_little_is_an_error(cgroup, monkeypatch):
    monkeypatch.setitem(sys.modules, "psutil", machine_with(5000))
    memory.require_memory(700, "a second index")
    with pytest.raises(MemoryError, match=r"^a second index takes about 701 bytes, and 700 are"):
        memory.require_memory(701, "a second index")
