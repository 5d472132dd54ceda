"""Progress bars appear on a terminal, and nowhere else."""

from __future__ import annotations

import io
import os
import re
import subprocess
import threading
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import pytest
from support.command_runner import COMMAND, Runner, environment

from waterfill._util import progress_display

pty = pytest.importorskip("pty")


def read_all(descriptor: int) -> bytes:
    """Read a terminal until its other end is closed."""
    shown = b""
    while True:
        try:
            part = os.read(descriptor, 4096)
        except OSError:  # Linux's way to say that the other end is closed
            return shown
        if not part:
            return shown
        shown += part


def process_in_terminal(directory: Path, *arguments: str) -> tuple[int, str, str]:
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
    shown = read_all(ours)
    os.close(ours)
    assert process.stdout is not None
    out = process.stdout.read()
    process.stdout.close()
    return process.wait(timeout=120), out, shown.decode()


def in_terminal(directory: Path, *arguments: object) -> tuple[int, str]:
    """Do the same in this process; return the exit code and what the terminal got."""
    ours, theirs = pty.openpty()
    shown: list[bytes] = []
    reader = threading.Thread(target=lambda: shown.append(read_all(ours)))
    reader.start()
    with (
        open(theirs, "w") as terminal,
        redirect_stderr(terminal),
        redirect_stdout(io.StringIO()),
    ):
        code = Runner(directory).call(*arguments, TERM="xterm")
    reader.join(60)
    os.close(ours)
    return code, shown[0].decode()


@pytest.fixture
def big(tmp_path):
    rows = np.lib.format.open_memmap(
        tmp_path / "big.npy", mode="w+", dtype=np.float16, shape=(1_500_000, 64)
    )
    rows.flush()
    return tmp_path


def test_a_bar_has_a_rate_and_the_time_left(big, made):
    arguments = ("big.npy", "--threads", "1", "-o", "codes.npy")
    code, out, shown = process_in_terminal(big, "encode", str(made / "codec.wf"), *arguments)
    assert code == 0
    assert "1,500,000 codes" in out
    assert "\x1b" not in out  # stdout is none
    assert "encoding" in shown
    assert re.search(r"[\d,]+/s", shown)
    assert re.search(r"\d:\d\d left", shown)
    assert "\x1b[?25h" in shown[-40:]  # the cursor is back


def test_training_shows_the_time_that_passes(made, tmp_path, monkeypatch):
    monkeypatch.setattr(progress_display, "DELAY", 0.0)
    arguments = (made / "base.npy", "--code-bytes", 12, "--effort", "best", "-o", "codec.wf")
    code, shown = in_terminal(tmp_path, "train", *arguments)
    assert code == 0
    assert re.search(r"training.*0:00:\d\d", shown)
    assert "\x1b[?25h" in shown[-40:]


def test_the_optimizer_shows_trials_and_the_time_left(made, tmp_path, monkeypatch):
    monkeypatch.setattr(progress_display, "DELAY", 0.0)
    arguments = (made / "base.npy", "--max-bytes", 12, "--metric", "ip")
    code, shown = in_terminal(tmp_path, "optimize", *arguments)
    assert code == 0
    assert "bytes per vector, recall" in shown  # a line for each trial
    assert re.search(r"trials .*\d:\d\d left", shown)


def test_quiet_shows_no_progress_and_verbose_logs(made, tmp_path, monkeypatch):
    monkeypatch.setattr(progress_display, "DELAY", 0.0)
    arguments = ("train", made / "base.npy", "--code-bytes", 12, "--effort", "fast")
    assert in_terminal(tmp_path, *arguments, "-q", "-o", "a.wf") == (0, "")
    code, shown = in_terminal(tmp_path, *arguments, "-q", "-v", "-o", "a.wf")
    assert code == 0
    assert "waterfill.training: trained a codec on" in shown
    assert "begins" not in shown
    assert "training begins" in in_terminal(tmp_path, *arguments, "-vv", "-o", "a.wf")[1]


def test_a_quick_command_shows_no_bar(made, tmp_path, monkeypatch):
    monkeypatch.setattr(progress_display, "DELAY", 600.0)
    arguments = ("encode", made / "codec.wf", made / "base.npy", "-o", "codes.npy")
    assert in_terminal(tmp_path, *arguments) == (0, "")


def test_a_pipe_gets_no_bar(made, run, base_64, monkeypatch):
    monkeypatch.setattr(progress_display, "DELAY", 0.0)
    np.save(run.directory / "far.npy", 1e9 * base_64)
    done = run("encode", made / "codec.wf", "far.npy", "-o", "codes.npy")
    assert done.err.count("\n") == 1  # a warning: all are far from what the codec was trained on
    assert "encoding" not in done.err
    assert "\x1b" not in done.err
