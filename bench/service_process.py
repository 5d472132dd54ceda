"""A context manager that runs a service in a separate process."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PATIENCE = 60.0  # seconds until it listens


@contextmanager
def served(script: Path, *arguments: object) -> Iterator[int]:
    """Run a script that serves on ``--port``; give the port.

    Parameters
    ----------
    script : Path
    *arguments
        Others, as `str`.

    Yields
    ------
    int

    Raises
    ------
    RuntimeError
        If it ends, or does not listen.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    process = subprocess.Popen([sys.executable, script, "--port", str(port), *map(str, arguments)])
    try:
        _listening(process, port)
        yield port
    finally:
        process.kill()
        process.wait()


def _listening(process: subprocess.Popen[bytes], port: int) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"the service ended with status {process.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"the service does not listen within {PATIENCE:g} s")
