"""Curves of recall against speed: measured points, frontiers, and interpolation between points."""

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
    """An index at one setting.

    Attributes
    ----------
    index
        The name of the index, such as one of FAISS's factory strings.
    setting
        Search attributes by name.
    size
        Stored bytes per vector, including ids and partly filled blocks, excluding what an index
        stores once, such as codebooks.
    recall
        Share of the true neighbours that are found.
    qps
        Queries per second by load. A point of an old file may have the rate of one load only.
    """

    index: str
    setting: Setting
    size: float
    recall: float
    qps: Mapping[str, float]

    def __str__(self) -> str:
        values = (f"{name} {value:g}" for name, value in self.setting.items())
        return ", ".join([self.index, *values])


@dataclass(frozen=True)
class Curve:
    """The points of one method; its indexes differ in their number of lists only.

    Attributes
    ----------
    kind
        ``flat``, ``lists``, ``rows`` (lists with rows to refine with) or ``graph``.
    run
        The run that timed the points interleaved; empty before, when rates are approximate.
    """

    name: str
    library: str
    kind: str
    run: str = ""
    points: list[Point] = field(default_factory=list)

    @property
    def size(self) -> float:
        """Stored bytes per vector, of the largest index."""
        return max((point.size for point in self.points), default=0.0)

    @property
    def most(self) -> float:
        """The highest recall of any point."""
        return max((point.recall for point in self.points), default=0.0)


def frontier(points: Iterable[Point], load: str) -> list[Point]:
    """Return the Pareto-optimal points of recall and speed, by ascending recall."""
    kept: list[Point] = []
    for point in sorted(points, key=lambda one: (-one.qps.get(load, 0), -one.recall)):
        if load in point.qps and (not kept or point.recall > kept[-1].recall):
            kept.append(point)
    return kept


def around(points: Iterable[Point], load: str, targets: Mapping[float, int]) -> list[Point]:
    """Return points of the frontier next to each target recall: so many below, so many above."""
    ordered = frontier(points, load)
    selected: set[int] = set()
    for target, number in targets.items():
        first = next((i for i, one in enumerate(ordered) if one.recall >= target), len(ordered))
        selected.update(range(max(first - number, 0), min(first + number, len(ordered))))
    return [ordered[i] for i in sorted(selected)]


@dataclass(frozen=True)
class Rate:
    """Queries per second at a recall, and the setting that reaches this recall."""

    qps: float
    point: Point
    curve: Curve


def rate_at(
    curve: Curve, load: str, target: float, most_bytes: float = float("inf")
) -> Rate | None:
    """Return the rate at a recall, interpolated along the frontier.

    Parameters
    ----------
    curve
        The points.
    load
        ``batch`` or ``single``.
    target
        The recall.
    most_bytes
        Points of larger indexes are ignored.

    Returns
    -------
    Rate or None
        None above the highest recall.
    """
    ordered = frontier((one for one in curve.points if one.size <= most_bytes), load)
    if not ordered or ordered[-1].recall < target:
        return None
    if ordered[0].recall >= target:
        return Rate(ordered[0].qps[load], ordered[0], curve)
    low, high = next(pair for pair in pairwise(ordered) if pair[1].recall >= target)
    share = (target - low.recall) / (high.recall - low.recall)
    qps = exp((1 - share) * log(low.qps[load]) + share * log(high.qps[load]))
    return Rate(qps, high, curve)


def best_at(
    curves: Iterable[Curve], load: str, target: float, most_bytes: float = float("inf")
) -> Rate | None:
    """Return the highest rate of any curve at a recall, as `rate_at` does for one curve."""
    rates = (rate_at(curve, load, target, most_bytes) for curve in curves)
    return max((rate for rate in rates if rate), key=lambda rate: rate.qps, default=None)


class Curves:
    """Curves by title and name, optionally backed by a file."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self.sections: dict[str, dict[str, Curve]] = {}
        if path is not None and path.is_file():
            for title, rows in json.loads(path.read_text()).items():
                for row in rows:
                    points = [Point(**point) for point in row.pop("points")]
                    self.section(title)[row["name"]] = Curve(**row, points=points)

    def section(self, title: str) -> dict[str, Curve]:
        """Return the curves with this title, by name."""
        return self.sections.setdefault(title, {})

    def keep(self, title: str, curves: Iterable[Curve]) -> None:
        """Add or replace curves and write the file."""
        self.section(title).update({one.name: one for one in curves})
        if self._path is not None:
            stored = {
                title: [asdict(curve) for curve in section.values()]
                for title, section in self.sections.items()
            }
            write_json(self._path, stored)


def speed_table(curves: Sequence[Curve], load: str, targets: Sequence[float]) -> Iterator[str]:
    """Yield a Markdown table of queries per second at each recall."""
    heads = " | ".join(f"{target:.2f}" for target in targets)
    yield f"| QPS, {load}, at a recall of | bytes | highest recall | {heads} |"
    yield "|---|--:|--:" + "|--:" * len(targets) + "|"
    for curve in curves:
        rates = [rate_at(curve, load, target) for target in targets]
        cells = " | ".join(f"{rate.qps:,.0f}" if rate else "" for rate in rates)
        yield f"| {curve.name} | {curve.size:.0f} | {curve.most:.3f} | {cells} |"
