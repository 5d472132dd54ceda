"""``waterfill serve`` in a process of its own, or in that of the tests if it fails to start."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator

from support.concurrency import PATIENCE, until

COMMAND = [sys.executable, "-m", "waterfill.cli", "serve"]


class Process:
    """A process that serves, and the lines of its stderr."""

    def __init__(self, *arguments, **environment):
        self.child = subprocess.Popen(
            [*COMMAND, *map(str, arguments), "--port", "0", "--threads", "1"],
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | environment,
        )
        self.lines = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self):
        for line in self.child.stderr:
            self.lines.append(line.rstrip())

    @property
    def said(self):
        return "\n".join(self.lines)

    def wait_for(self, words):
        until(lambda: words in self.said or self.child.poll() is not None)
        assert words in self.said, self.said

    @property
    def port(self):
        self.wait_for(" serves ")
        return int(re.search(r"http://\S+:(\d+) serves", self.said)[1])

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def end(self):
        """Wait until it exits; return the exit code."""
        code = self.child.wait(PATIENCE)
        self._reader.join(PATIENCE)
        self.child.stderr.close()
        return code


@contextlib.contextmanager
def serving(*arguments, **environment) -> Iterator[Process]:
    """Start a process, and kill it at the end if it still runs."""
    process = Process(*arguments, **environment)
    try:
        process.wait_for("ready: ")
        yield process
    finally:
        if process.child.poll() is None:
            process.child.kill()
            process.end()


def exit_code(*arguments) -> int:
    """Run the command in this process, to its end; return its exit code."""
    from waterfill.cli import app

    handler = signal.getsignal(signal.SIGTERM)
    loggers = [logging.getLogger(name) for name in ("waterfill.server", "uvicorn.error")]
    former = [(logger.handlers, logger.propagate, logger.level) for logger in loggers]
    try:
        with warnings.catch_warnings():
            return app.run(["serve", *map(str, arguments), "--port", "0"])
    finally:
        signal.signal(signal.SIGTERM, handler)
        for logger, (handlers, propagate, level) in zip(loggers, former, strict=True):
            logger.handlers, logger.propagate = handlers, propagate
            logger.setLevel(level)
