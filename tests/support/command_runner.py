"""The command `waterfill`: in this process, or in one of its own where a test needs that."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import warnings
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

import waterfill as wf
from waterfill.cli import main

DATA = Path(__file__).resolve().parents[1] / "samples"
COMMAND = [sys.executable, "-m", "waterfill.cli"]
"""The arguments that start a process, for tests of signals, pipes, terminals and memory."""


@dataclass(frozen=True)
class Done:
    """How a run ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)


def environment(**more: str) -> dict[str, str]:
    """Return this process's environment without settings of waterfill, 80 columns wide."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("WATERFILL_")}
    return kept | {"COLUMNS": "80"} | more


class Runner:
    """Runs the command in a directory, within this process.

    It runs what the installed script runs, `waterfill.cli.main`, from its arguments to its exit
    code, and leaves the process as it was: directory, environment, threads, signals, warnings.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def __call__(self, *arguments: Any, code: int = 0, **env: str) -> Done:
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            ended = self.call(*arguments, **env)
        done = Done(ended, out.getvalue(), err.getvalue())
        assert done.code == code, done
        return done

    def call(self, *arguments: Any, **env: str) -> int:
        """Run with the standard streams as they are; return the exit code."""
        with (
            mock.patch.object(sys, "argv", ["waterfill", *map(str, arguments)]),
            mock.patch.dict(os.environ, environment(**env), clear=True),
            _process_state(self.directory),
            pytest.raises(SystemExit) as ended,
        ):
            main()
        assert isinstance(ended.value.code, int)
        return ended.value.code


@contextmanager
def _process_state(directory: Path) -> Any:
    """Change to a directory, and put back what a command changes in its process."""
    here, threads = Path.cwd(), wf.get_num_threads()
    handler = signal.getsignal(signal.SIGTERM)
    os.chdir(directory)
    try:
        with warnings.catch_warnings():
            yield
    finally:
        os.chdir(here)
        wf.set_num_threads(threads)
        signal.signal(signal.SIGTERM, handler)
