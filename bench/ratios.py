"""Print the ratios of waterfill's speed to that of its peers from a pytest-benchmark file.

Run ``pytest bench --benchmark-json=FILE.json``, then ``python bench/ratios.py FILE.json``.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Speed:
    """One measurement: vectors or queries per second, from the median round."""

    group: str
    library: str
    name: str
    rate: float


def read(path: Path) -> list[Speed]:
    """Read the measurements that have labels, in file order."""
    saved = json.loads(path.read_text(encoding="utf-8"))["benchmarks"]
    return [_speed(one) for one in saved if "library" in one["extra_info"]]


def _speed(saved: dict[str, Any]) -> Speed:
    info = saved["extra_info"]
    rate = info["items"] / saved["stats"]["median"]
    return Speed(saved["group"], info["library"], info["name"], rate)


def table(speeds: Sequence[Speed]) -> Iterator[str]:
    """Yield the lines of a Markdown table: waterfill against each peer of its group."""
    yield "| step | waterfill | per second | peer | per second | ratio |"
    yield "|---|---|--:|---|--:|--:|"
    order = {
        group: position for position, group in enumerate(dict.fromkeys(s.group for s in speeds))
    }
    by_group = groupby(sorted(speeds, key=lambda s: order[s.group]), key=lambda s: s.group)
    for group, members in by_group:
        measured = list(members)
        for ours in (s for s in measured if s.library == "waterfill"):
            for peer in (s for s in measured if s.library != "waterfill"):
                cells = (
                    group,
                    ours.name,
                    f"{ours.rate:,.0f}",
                    peer.name,
                    f"{peer.rate:,.0f}",
                    f"{ours.rate / peer.rate:.2f}",
                )
                yield f"| {' | '.join(cells)} |"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(description="Print a table of speed ratios to peers.")
    parser.add_argument("file", type=Path, help="file of --benchmark-json or --benchmark-save")
    args = parser.parse_args(arguments)
    try:
        speeds = read(args.file)
    except (OSError, ValueError, KeyError) as error:
        print(f"error: {args.file} is not a pytest-benchmark file: {error!r}", file=sys.stderr)
        return 1
    print(*table(speeds), sep="\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
