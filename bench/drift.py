"""False alarms, power, attribution and cost of drift detection, on traffic of real vectors.

    python bench/drift.py --streams 1000 --drifts 200

Every detector learns 3,000 rows and judges windows of 500 at alpha 1 %. The first half of the rows
trains the codec; traffic comes of the second. A new topic is a k-means cluster that neither saw.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter

import datasets
import numpy as np
from drift_streams import KINDS, Drift, Rows, Traffic, Window, drifts

import waterfill as wf
from waterfill.drift import DriftMonitor, DriftReport

_REFERENCE, _WINDOW, _PER_REFERENCE = 3000, 500, 20
_CLUSTERS = 40


class World:
    """Vectors of one data set: a codec, traffic, a topic of its own, and another model."""

    def __init__(self, rows: Rows, foreign: Rows, code_bytes: int, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        rows = rows[self.rng.permutation(len(rows))]
        centres = rows[:_CLUSTERS]
        for _ in range(10):
            nearest = np.argmax(2 * rows @ centres.T - np.square(centres).sum(axis=1), axis=1)
            centres = np.stack([rows[nearest == c].mean(axis=0) for c in range(_CLUSTERS)])
        sizes = np.bincount(nearest, minlength=_CLUSTERS)
        topic = int(np.argsort(sizes)[_CLUSTERS // 2])
        self.topic, rest = rows[nearest == topic], rows[nearest != topic]
        half = len(rest) // 2
        plan = wf.Plan.waterfill(wf.analyze(rest[:half]), code_bytes)
        self.codec = wf.Codec.train(rest[:half], plan, metric="ip")
        self.traffic = Traffic(rest[half : half + 20_000], self.rng)
        self.foreign = foreign

    def drifts(self) -> list[Drift]:
        """Draw new drifts."""
        basis = self.codec.plan.basis
        return drifts(self.traffic.pool, basis, self.topic, self.foreign, self.rng)


class Waterfill:
    """Ours, with a detector's two methods."""

    name = "waterfill"

    def __init__(self, codec: wf.Codec, errors: bool = True) -> None:
        self._codec, self._errors = codec, errors

    def learn(self, window: Window) -> None:
        """Make the baseline."""
        self._monitor = DriftMonitor.from_codec(self._codec, errors=self._errors)
        self._monitor.update(*window)
        self.nbytes = self._monitor.nbytes

    def report(self, window: Window) -> DriftReport:
        """Judge a window, as if it were the first."""
        self._monitor.reset()
        self._monitor._data.looks = 0
        self._monitor.update(*window)
        return self._monitor.report()

    def alarms(self, window: Window) -> bool:
        """Whether there is drift."""
        return self.report(window).drift


def false_alarms(world: World, detector: Waterfill, streams: int) -> dict[str, float]:
    """Return the share of streams without drift that give an alarm, by kind of traffic."""
    found = {}
    for kind in KINDS:
        alarms = 0
        for i in range(streams):
            if i % _PER_REFERENCE == 0:
                world.traffic.shuffle()
                detector.learn(world.traffic.reference(kind, _REFERENCE))
            alarms += detector.alarms(world.traffic.window(kind, _WINDOW))
        found[kind] = alarms / streams
    return found


def power(world: World, detector: Waterfill, windows: int) -> dict[str, float]:
    """Return the share of drifted windows that give an alarm, by drift."""
    alarms: Counter[str] = Counter()
    for i in range(windows):
        if i % _PER_REFERENCE == 0:
            world.traffic.shuffle()
            detector.learn(world.traffic.reference("iid", _REFERENCE))
        rows, blocks = world.traffic.window("iid", _WINDOW)
        for drift in world.drifts():
            alarms[drift.name] += detector.alarms((drift.change(rows, world.rng), blocks))
    return {name: alarms[name] / windows for name in alarms}


def attribution(world: World, windows: int) -> dict[str, tuple[int, int]]:
    """Count windows in which the one cause was named first, of those with an alarm."""
    named: Counter[str] = Counter()
    alarmed: Counter[str] = Counter()
    detector = Waterfill(world.codec)
    for i in range(windows):
        if i % _PER_REFERENCE == 0:
            world.traffic.shuffle()
            detector.learn(world.traffic.reference("iid", _REFERENCE))
        rows, blocks = world.traffic.window("iid", _WINDOW)
        for drift in world.drifts():
            if drift.cause is None:
                continue
            report = detector.report((drift.change(rows, world.rng), blocks))
            alarmed[drift.name] += report.drift
            first = report.data.moved.first[:1]
            named[drift.name] += bool(first) and drift.cause == (
                first[0].kind,
                first[0].number,
                first[0].change,
            )
    return {name: (named[name], alarmed[name]) for name in alarmed}


def cost(world: World, errors: bool) -> float:
    """Return the microseconds that `update` takes a vector, in calls of 500: a median."""
    wf.set_num_threads(1)
    detector = Waterfill(world.codec, errors)
    detector.learn(world.traffic.reference("iid", _REFERENCE))
    monitor, seconds = detector._monitor, []
    for _ in range(60):
        rows, _ = world.traffic.window("iid", _WINDOW)
        start = time.perf_counter()
        monitor.update(rows)
        seconds.append((time.perf_counter() - start) / _WINDOW)
    return 1e6 * float(np.median(seconds))


def world_of(name: str, seed: int) -> World:
    """Load a data set, and for another model one of as many dimensions, or a rotation."""
    from drift_streams import rotation

    rows = datasets.load(name).base[:60_000].astype(np.float32)
    d = rows.shape[1]
    if name == "minilm-wordnet-384":
        foreign = datasets.load("mpnet-wordnet-768").base[:, :d].astype(np.float32)
        foreign /= np.linalg.norm(foreign, axis=1, keepdims=True)
    else:
        foreign = rows @ rotation(d, seed)
    return World(rows, foreign, d // 8, seed)


def main() -> None:
    """Print what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="minilm-wordnet-384")
    parser.add_argument("--streams", type=int, default=100, help="without drift, of each kind")
    parser.add_argument("--drifts", type=int, default=50, help="windows of each drift")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    world = world_of(given.data, given.seed)
    detector = Waterfill(world.codec)
    print(
        f"{given.data}: {cost(world, False):.1f} us a vector, {cost(world, True):.1f} with errors"
    )
    for kind, share in false_alarms(world, detector, given.streams).items():
        print(f"false alarms, {kind}: {share:.2%} of {given.streams}", flush=True)
    for name, share in power(world, detector, given.drifts).items():
        print(f"power, {name}: {share:.1%} of {given.drifts}", flush=True)
    for name, (named, alarmed) in attribution(world, given.drifts).items():
        print(f"named first, {name}: {named} of {alarmed} alarms", flush=True)


if __name__ == "__main__":
    main()
