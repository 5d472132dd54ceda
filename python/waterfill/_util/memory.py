"""How much memory is left, where the system says so."""

from __future__ import annotations

from pathlib import Path

_MEMINFO = Path("/proc/meminfo")
_GROUP = Path("/sys/fs/cgroup")


def available_bytes() -> int | None:
    """Return what can still be used: of the machine, or of the container if that is less.

    None where the system does not say (other than Linux).
    """
    found = [value for value in (_machine(), _container()) if value is not None]
    return min(found) if found else None


def require_memory(wanted: int, what: str) -> None:
    """Raise MemoryError if so many bytes are not there."""
    left = available_bytes()
    if left is not None and wanted > left:
        raise MemoryError(f"{what} takes about {wanted:,} bytes, and {left:,} are available")


def _machine() -> int | None:
    try:
        for line in _MEMINFO.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) << 10
    except (OSError, ValueError):
        pass
    return None


def _container() -> int | None:
    try:
        most, used = ((_GROUP / f"memory.{name}").read_text() for name in ("max", "current"))
        stat = dict(line.split() for line in (_GROUP / "memory.stat").read_text().splitlines())
        # Pages of files are counted as used, and given back when they are wanted.
        return int(most) - int(used) + int(stat.get("inactive_file", 0))
    except (OSError, ValueError):  # 'max': no limit
        return None
