"""Available memory of the machine and of its container."""

from __future__ import annotations

import importlib
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def available_bytes() -> int | None:
    """Return how much more memory this process can use without swapping.

    The minimum of two figures: the available memory of the machine, which needs psutil (extras
    ``retrain`` and ``serve``), and what is left of the container's limit (cgroup v2), which psutil
    does not see. Without psutil only the limit of a container is known.

    Returns
    -------
    int or None
        None if neither is known.
    """
    known = [value for value in (_machine_bytes(), _container_bytes()) if value is not None]
    return min(known) if known else None


def require_memory(required: int, purpose: str) -> None:
    """Raise MemoryError if fewer than `required` bytes are known to be available."""
    available = available_bytes()
    if available is not None and required > available:
        raise MemoryError(
            f"{purpose} takes about {required:,} bytes, and {available:,} are available"
        )


def _machine_bytes() -> int | None:
    try:
        psutil = importlib.import_module("psutil")
    except ImportError:
        return None
    return int(psutil.virtual_memory().available)


def _container_bytes() -> int | None:
    try:
        limit, used = ((_CGROUP / f"memory.{name}").read_text() for name in ("max", "current"))
        stat = dict(line.split() for line in (_CGROUP / "memory.stat").read_text().splitlines())
        # `current` includes the page cache; the kernel drops inactive file pages when needed.
        return int(limit) - int(used) + int(stat.get("inactive_file", 0))
    except (OSError, ValueError):  # not cgroup v2, or 'max': no limit
        return None
