"""A context manager that runs an HTTP service in a separate process."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

START_TIMEOUT = 60.0  # seconds


@contextmanager
def served(script: Path, *arguments: object) -> Iterator[int]:
    """Run a script that serves on ``--port``; yield the port.

    Parameters
    ----------
    script : Path
    *arguments
        Further command-line arguments, converted with `str`.

    Yields
    ------
    int

    Raises
    ------
    RuntimeError
        If the process exits or does not listen within 60 s.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    process = subprocess.Popen([sys.executable, script, "--port", str(port), *map(str, arguments)])
    try:
        _wait_until_listening(process, port)
        yield port
    finally:
        process.kill()
        process.wait()


def _wait_until_listening(process: subprocess.Popen[bytes], port: int) -> None:
    end = time.monotonic() + START_TIMEOUT
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"the service exited with status {process.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"the service did not listen within {START_TIMEOUT:g} s")
