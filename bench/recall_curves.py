"""Curves of recall against speed: measured points and interpolation between them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from math import exp, log
from pathlib import Path

from results import write_json

Setting = Mapping[str, float]  # values of search attributes

LOADS = ("batch", "single")


@dataclass(frozen=True)
class Point:
    """A setting with its recall and its queries per second by load."""

    setting: Setting
    recall: float
    qps: Mapping[str, float]


@dataclass(frozen=True)
class Curve:
    """The points of one method.

    Attributes
    ----------
    family
        The method without its number of lists; comparisons use the best number.
    size
        Stored bytes per vector, excluding ids and list numbers.
    refined
        Whether a third stage scores rows stored in addition to the codes.
    most
        The highest recall of any setting.
    """

    name: str
    family: str
    library: str
    size: int
    refined: bool
    most: float
    points: list[Point] = field(default_factory=list)


def frontier(points: Iterable[Point], load: str) -> list[Point]:
    """Return the Pareto-optimal points of recall and speed, by ascending recall."""
    kept: list[Point] = []
    for point in sorted(points, key=lambda one: (-one.qps.get(load, 0), -one.recall)):
        if load in point.qps and (not kept or point.recall > kept[-1].recall):
            kept.append(point)
    return kept


def around(points: Iterable[Point], load: str, targets: Sequence[float]) -> list[Point]:
    """Return the points of the frontier next to the target recalls."""
    ordered = frontier(points, load)
    selected: set[int] = set()
    for target in targets:
        first = next((i for i, one in enumerate(ordered) if one.recall >= target), None)
        if first is not None:
            selected.update(range(max(first - 2, 0), min(first + 2, len(ordered))))
    return [ordered[i] for i in sorted(selected)]


def qps_at(points: Iterable[Point], load: str, target: float) -> float | None:
    """Return queries per second at a recall, interpolated; None above the highest recall."""
    ordered = frontier(points, load)
    if not ordered or ordered[-1].recall < target:
        return None
    if ordered[0].recall >= target:
        return ordered[0].qps[load]
    low, high = next(pair for pair in pairwise(ordered) if pair[1].recall >= target)
    share = (target - low.recall) / (high.recall - low.recall)
    return exp((1 - share) * log(low.qps[load]) + share * log(high.qps[load]))


class Curves:
    """Curves by title and name, optionally backed by a file."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._sections: dict[str, dict[str, Curve]] = {}
        if path is not None and path.is_file():
            for title, rows in json.loads(path.read_text()).items():
                for row in rows:
                    points = [Point(**point) for point in row.pop("points")]
                    self.section(title)[row["name"]] = Curve(**row, points=points)

    def section(self, title: str) -> dict[str, Curve]:
        """Return the curves with this title, by name."""
        return self._sections.setdefault(title, {})

    def keep(self, title: str, curves: Iterable[Curve]) -> None:
        """Add or replace curves and write the file."""
        self.section(title).update({one.name: one for one in curves})
        if self._path is not None:
            stored = {
                title: [asdict(curve) for curve in section.values()]
                for title, section in self._sections.items()
            }
            write_json(self._path, stored)


@dataclass(frozen=True)
class Family:
    """The curves of one method with different numbers of lists."""

    name: str
    library: str
    curves: list[Curve]

    @property
    def size(self) -> int:
        """Stored bytes per vector."""
        return max(curve.size for curve in self.curves)

    @property
    def most(self) -> float:
        """The highest recall of any curve."""
        return max(curve.most for curve in self.curves)

    @property
    def refined(self) -> bool:
        """Whether rows are stored in addition to the codes."""
        return self.curves[0].refined

    def qps(self, load: str, target: float) -> float | None:
        """Return queries per second at a recall with the best number of lists."""
        rates = [qps_at(curve.points, load, target) for curve in self.curves]
        return max((rate for rate in rates if rate is not None), default=None)


def families(curves: Iterable[Curve]) -> list[Family]:
    """Group curves by method, in order of first appearance."""
    groups: dict[str, list[Curve]] = {}
    for curve in curves:
        groups.setdefault(curve.family, []).append(curve)
    return [Family(name, group[0].library, group) for name, group in groups.items()]


def speed_table(
    groups: Sequence[Family], load: str, targets: Sequence[float], k: int
) -> Iterator[str]:
    """Yield a Markdown table of queries per second at each recall."""
    heads = " | ".join(f"{target:.2f}" for target in targets)
    yield f"| QPS, {load}, at recall@{k} of | bytes | highest recall | {heads} |"
    yield "|---|--:|--:" + "|--:" * len(targets) + "|"
    for group in groups:
        cells = " | ".join(_rate(group.qps(load, target)) for target in targets)
        yield f"| {group.name} | {group.size} | {group.most:.3f} | {cells} |"


def ratio_table(groups: Sequence[Family], load: str, targets: Sequence[float]) -> Iterator[str]:
    """Yield a Markdown table of waterfill's rates relative to those of its peers.

    Methods are compared with peers that refine if and only if they do. The last row shows the
    smallest peer that reaches the recall.
    """
    heads = " | ".join(f"{target:.2f}" for target in targets)
    yield f"| ratio of QPS, {load} | peer | its bytes | {heads} |"
    yield "|---|---|--:" + "|--:" * len(targets) + "|"
    for ours in (one for one in groups if one.library == "waterfill"):
        peers = [
            one for one in groups if one.library != "waterfill" and one.refined == ours.refined
        ]
        for peer in peers:
            cells = [_ratio(ours, peer, load, target) for target in targets]
            yield f"| {ours.name} | {peer.name} | {peer.size} | {' | '.join(cells)} |"
        cells = [_cheapest(ours, peers, load, target) for target in targets]
        yield f"| {ours.name} | smallest peer that reaches it | | {' | '.join(cells)} |"


def _rate(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"


def _ratio(ours: Family, peer: Family, load: str, target: float) -> str:
    rate, other = ours.qps(load, target), peer.qps(load, target)
    return f"{rate / other:.2f}" if rate and other else ""


def _cheapest(ours: Family, peers: Iterable[Family], load: str, target: float) -> str:
    eligible = [peer for peer in peers if peer.qps(load, target) is not None]
    if not eligible:
        return "none"
    # The faster one of peers of equal size.
    peer = min(eligible, key=lambda one: (one.size, -(one.qps(load, target) or 0)))
    return f"{_ratio(ours, peer, load, target)} ({peer.name}, {peer.size})"
