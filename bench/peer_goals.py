"""Comparisons of waterfill with the best peer at equal recall, and the ratios to reach."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from recall_curves import LOADS, Curve, Rate, best_at

ROW_TARGETS = (0.80, 0.90, 0.95, 0.99)
_LIST_TARGETS = (0.60, 0.70, 0.80, 0.90, 0.95)
_GRAPH_TARGETS = (0.95, 0.99)
_FLOAT_LINKS = 2 * 32 * 4  # bytes of the links of HNSW32
_TOLERANCE = 1e-9
MIXED = "†"
NOTE = f"{MIXED} The two rates are from different runs: measure both in one (`--retime`)."

Select = Callable[[Curve], bool]


@dataclass(frozen=True)
class Goal:
    """A ratio to reach at one recall and load.

    Attributes
    ----------
    what
        The comparison.
    recall
        The recall at which both are compared.
    ours, peers
        Which curves take part.
    ratio
        The least ratio of queries per second.
    most_bytes
        The largest size of our index; None for that of the peer.
    """

    what: str
    recall: float
    load: str
    ours: Select
    peers: Select
    ratio: float
    most_bytes: float | None = float("inf")


@dataclass(frozen=True)
class Outcome:
    """A goal with the rates measured; `ours` is None if no index of ours reaches the recall."""

    goal: Goal
    ours: Rate | None
    peer: Rate

    @property
    def ratio(self) -> float | None:
        """Our queries per second relative to those of the peer."""
        return self.ours.qps / self.peer.qps if self.ours else None

    @property
    def met(self) -> bool:
        """Whether the goal is met."""
        return self.ratio is not None and self.ratio >= self.goal.ratio

    @property
    def mixed(self) -> bool:
        """Whether the ratio compares rates of different runs."""
        return self.ours is not None and self.ours.curve.run != self.peer.curve.run


def of_kind(library: str, kind: str, text: str = "") -> Select:
    """Return a test for curves of a library and kind with `text` in their names."""
    return lambda one: one.library == library and one.kind == kind and text in one.name


def _peer_graphs(one: Curve) -> bool:
    return one.kind == "graph" and one.library != "waterfill"


def _ours(*kinds: str) -> Select:
    return lambda one: one.library == "waterfill" and one.kind in kinds


def goals(curves: Sequence[Curve], d: int) -> Iterator[Goal]:
    """Yield the goals of a set; those of flat indexes are at the recalls of its peers."""
    for peer in curves:
        flat = peer.kind == "flat" and peer.library != "waterfill" and peer.points
        if flat and peer.library == "turbovec":
            what, ratio = f"flat, recall of {peer.name}, fewer bytes", 1.5
            yield from by_load(what, peer.most, _ours("flat"), _same(peer), ratio, None)
    for peer in curves:
        if peer.kind == "flat" and peer.library == "faiss" and "PQ" in peer.name and peer.points:
            what = f"flat, recall of {peer.name}"
            others = of_kind("faiss", "flat")
            yield from by_load(what, peer.most, _ours("flat"), others, 4)
    rows = of_kind("waterfill", "rows", "float16")
    for target in ROW_TARGETS:
        yield from by_load("lists with rows", target, rows, of_kind("faiss", "rows"), 1.3)
    for label, text in (("RaBitQfs2", "RaBitQ"), ("PQ(d/2)x4fs", f"PQ{d // 2}x4fs")):
        what = f"lists without rows against {label}, its bytes or fewer"
        for target in _LIST_TARGETS:
            peers = of_kind("faiss", "lists", text)
            yield from by_load(what, target, _ours("lists"), peers, 2, None)
    third = (4 * d + _FLOAT_LINKS) / 3
    for target in _GRAPH_TARGETS:
        what = "HNSW, in a third of the bytes of float HNSW"
        ours = _ours("flat", "lists", "rows", "graph")
        yield Goal(what, target, "single", ours, _peer_graphs, 1.5, third)
    if d == 384:
        what = "one query, one list (nprobe 1)"
        peers = of_kind("faiss", "lists", "PQ")
        yield Goal(what, 0, "single", _ours("lists"), peers, 1)


def _same(peer: Curve) -> Select:
    return lambda one: one.name == peer.name


def by_load(
    what: str,
    recall: float,
    ours: Select,
    peers: Select,
    ratio: float,
    most_bytes: float | None = float("inf"),
) -> Iterator[Goal]:
    """Yield the same goal for each load."""
    for load in LOADS:
        yield Goal(what, recall, load, ours, peers, ratio, most_bytes)


def outcomes(
    curves: Sequence[Curve], goals_of: Callable[[Sequence[Curve]], Iterable[Goal]]
) -> Iterator[Outcome]:
    """Yield the outcome of each goal whose recall a peer reaches; `goals_of` yields the goals."""
    timed = [one for one in curves if one.run]
    for goal in goals_of(timed):
        target = goal.recall - _TOLERANCE
        peer = best_at(filter(goal.peers, timed), goal.load, target)
        if peer:
            most_bytes = peer.point.size if goal.most_bytes is None else goal.most_bytes
            ours = best_at(filter(goal.ours, timed), goal.load, target, most_bytes)
            yield Outcome(goal, ours, peer)


def goal_table(rows: Iterable[tuple[str, Outcome]]) -> Iterator[str]:
    """Yield a Markdown table of outcomes, each with the name of its set."""
    yield (
        "| set | what | recall | load | waterfill | bytes | QPS | best peer | bytes | QPS | ratio "
        "| goal |"
    )
    yield "|---|---|--:|---|---|--:|--:|---|--:|--:|--:|--:|"
    mixed = False
    for name, outcome in rows:
        goal, mixed = outcome.goal, mixed or outcome.mixed
        cells = (
            name,
            goal.what,
            f"{goal.recall:.3f}" if goal.recall else "",
            goal.load,
            *_rate(outcome.ours),
            *_rate(outcome.peer),
            _ratio(outcome),
            f"{goal.ratio:.3g}" + ("" if outcome.met else ", missed"),
        )
        yield f"| {' | '.join(cells)} |"
    if mixed:
        yield from ("", NOTE)


def _rate(rate: Rate | None) -> tuple[str, str, str]:
    if rate is None:
        return "none reaches it", "", ""
    return str(rate.point), f"{rate.point.size:,.0f}", f"{rate.qps:,.0f}"


def _ratio(outcome: Outcome) -> str:
    if outcome.ratio is None:
        return ""
    return f"{outcome.ratio:.2f}{MIXED if outcome.mixed else ''}"
