"""Bars for people, none for files."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.cli.conftest import COMMAND, environment

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
def big(tmp_path, base):
    np.save(tmp_path / "big.npy", np.tile(base, (10, 1)).astype(np.float16))
    return tmp_path


ARGUMENTS = ("build", "big.npy", "--effort", "best", "--threads", "1", "-o", "big.wf")


@pytest.mark.skipif(sys.platform == "win32", reason="no terminals of this kind")
def test_a_terminal_gets_bars(big):
    code, out, shown = in_terminal(big, *ARGUMENTS)
    assert code == 0
    assert "48,000 vectors" in out
    assert "\x1b" not in out  # stdout is none
    assert "training" in shown
    assert "adding" in shown
    assert re.search(r"[\d,]+/s", shown)  # the rate, and the time left
    assert "left" in shown
    assert shown.endswith("\x1b[?25h") or "\x1b[?25h" in shown[-40:]  # the cursor is back


def test_what_is_quick_gets_none(made):
    code, _, shown = in_terminal(made, "info", "codec.wf")
    assert (code, shown) == (0, "")


def test_a_pipe_gets_none(big):
    done = subprocess.run(
        [*COMMAND, *ARGUMENTS], cwd=big, env=environment(), capture_output=True, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, b"")
