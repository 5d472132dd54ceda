"""Bars for people, none for files."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from support.command_runner import COMMAND, environment

pty = pytest.importorskip("pty")


def in_terminal(directory: Path, *arguments: str) -> tuple[int, str, str]:
    """Run with stderr on a terminal; return the exit code, stdout, and what the terminal got."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=directory,
        env=environment(TERM="xterm"),
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:  # Linux's way to say that the other end is closed
            break
        if not part:
            break
        shown += part
    os.close(ours)
    assert process.stdout is not None
    out = process.stdout.read()
    process.stdout.close()
    return process.wait(timeout=120), out, shown.decode()


@pytest.fixture
def big(tmp_path):
    rows = np.lib.format.open_memmap(
        tmp_path / "big.npy", mode="w+", dtype=np.float16, shape=(400_000, 384)
    )
    rows.flush()
    return tmp_path


def test_a_terminal_gets_bars(big, made, base):
    """First with a rate and the time left; training only tells how long it takes."""
    arguments = ("big.npy", "--threads", "1", "-o", "codes.npy")
    code, out, shown = in_terminal(big, "encode", str(made / "codec.wf"), *arguments)
    assert code == 0
    assert "400,000 codes" in out
    assert "\x1b" not in out  # stdout is none
    assert "encoding" in shown
    assert re.search(r"[\d,]+/s", shown)
    assert re.search(r"left \S*0:00:\d\d", shown)
    assert "\x1b[?25h" in shown[-40:]  # the cursor is back

    np.save(big / "base.npy", np.tile(base, (5, 1)))
    arguments = ("base.npy", "--threads", "1", "--effort", "best", "-o", "codec.wf")
    code, _, shown = in_terminal(big, "train", *arguments)
    assert code == 0
    assert re.search(r"training .*0:00:\d\d", shown)
    assert "\x1b[?25h" in shown[-40:]


def test_what_is_quick_gets_none(made):
    code, _, shown = in_terminal(made, "info", "codec.wf")
    assert (code, shown) == (0, "")


def test_a_pipe_gets_none(big, made):
    arguments = ("encode", made / "codec.wf", "big.npy", "--threads", "1", "-o", "codes.npy")
    done = subprocess.run(
        [*COMMAND, *arguments], cwd=big, env=environment(), capture_output=True, timeout=120
    )
    assert done.returncode == 0
    assert done.stderr.count(b"\n") == 1  # a warning: zeros are far from the mean
    assert b"encoding" not in done.stderr
    assert b"\x1b" not in done.stderr
