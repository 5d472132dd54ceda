"""False alarms, power, attribution and cost of drift detection, on traffic of real vectors.

    python bench/drift.py --streams 1000 --drifts 200
    python bench/drift.py --detectors waterfill,ks,mmd --streams 200

Every detector learns 3,000 rows and judges windows of 500 at alpha 1 %. The first half of the rows
trains the codec; traffic comes of the second. A new topic is a k-means cluster that neither saw.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable, Iterator

import datasets
import numpy as np
from drift_detectors import ESTABLISHED, Detector
from drift_streams import KINDS, Drift, Rows, Traffic, Window, drifts, normalized, subtle

import waterfill as wf
from waterfill.drift.monitor import DriftMonitor
from waterfill.drift.report import DriftReport

_REFERENCE, _WINDOW, _PER_REFERENCE = 3000, 500, 20
_TIMED = 9  # times that a step is timed, of which the median counts
_CLUSTERS = 40


class World:
    """Vectors of one data set: a codec, traffic, a topic of its own, and another model."""

    def __init__(self, rows: Rows, foreign: Rows, code_bytes: int, seed: int) -> None:
        self.seed = seed
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
        self.normal = bool(np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-3))

    def rewind(self, part: int) -> None:
        """Begin a part of the bench: every detector meets the same rows in it."""
        self.rng = self.traffic.rng = np.random.default_rng((self.seed, part))

    def drifts(self) -> list[Drift]:
        """Draw new drifts."""
        basis = self.codec.plan.basis
        return drifts(self.traffic.pool, basis, self.topic, self.foreign, self.rng)

    def subtle(self) -> list[Drift]:
        """Draw new ones that are hard to see."""
        return subtle(self.traffic.pool, self.codec.plan.basis, self.topic, self.rng)


class Waterfill:
    """Ours, with a detector's two methods."""

    name = "waterfill"

    def __init__(self, codec: wf.Codec, errors: bool = True) -> None:
        self._codec, self._errors = codec, errors

    def learn(self, window: Window) -> None:
        """Make the baseline."""
        self._monitor = DriftMonitor.from_codec(self._codec, errors=self._errors)
        self._monitor.update(*window)
        if self._monitor.learning:
            raise ValueError(f"a baseline of {len(window[0])} rows: the data set is too small")
        self.nbytes = self._monitor.nbytes

    def report(self, window: Window) -> DriftReport:
        """Judge a window, as if it were the first."""
        self.update(window)
        return self._monitor.report()

    def update(self, window: Window) -> None:
        """See a window, as if it were the first."""
        self._monitor.reset()
        self._monitor._data.looks = 0
        self._monitor.update(*window)

    def alarms(self, window: Window) -> bool:
        """Whether there is drift."""
        return self.report(window).drift


def false_alarms(world: World, detector: Detector, streams: int) -> dict[str, float]:
    """Return the share of streams without drift that give an alarm, by kind of traffic."""
    found = {}
    for part, kind in enumerate(KINDS):
        world.rewind(part)
        alarms = 0
        for i in range(streams):
            if i % _PER_REFERENCE == 0:
                world.traffic.shuffle()
                detector.learn(world.traffic.reference(kind, _REFERENCE))
            alarms += detector.alarms(world.traffic.window(kind, _WINDOW))
        found[kind] = alarms / max(streams, 1)
    return found


def power(
    world: World, detector: Detector, windows: int, made: Callable[[], list[Drift]] | None = None
) -> dict[str, float]:
    """Return the share of drifted windows that give an alarm, by drift."""
    made = made or world.drifts
    alarms: Counter[str] = Counter()
    world.rewind(len(KINDS))
    for i in range(windows):
        if i % _PER_REFERENCE == 0:
            world.traffic.shuffle()
            detector.learn(world.traffic.reference("iid", _REFERENCE))
        rows, blocks = world.traffic.window("iid", _WINDOW)
        for drift in made():
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


def milliseconds(step: Callable[[], object]) -> float:
    """Return what a step takes of one processor: a median."""
    times = []
    for _ in range(_TIMED):
        start = time.process_time()
        step()
        times.append(time.process_time() - start)
    return 1e3 * float(np.median(times))


def detector_costs(world: World, detector: Detector) -> dict[str, float]:
    """Return milliseconds of learning and judging, and bytes of the state."""
    world.rewind(len(KINDS) + 1)
    reference = world.traffic.reference("iid", _REFERENCE)
    window = world.traffic.window("iid", _WINDOW)
    found = {
        "learn, ms": milliseconds(lambda: detector.learn(reference)),
        "window, ms": milliseconds(lambda: detector.alarms(window)),
    }
    if isinstance(detector, Waterfill):
        found["of it update, ms"] = milliseconds(lambda: detector.update(window))
        found["of it report, ms"] = found["window, ms"] - found["of it update, ms"]
    found["vector, us"] = 1e3 * found["window, ms"] / _WINDOW
    return found | {"state, bytes": float(detector.nbytes)}


def findings(
    world: World, detector: Detector, streams: int, windows: int
) -> Iterator[tuple[str, str]]:
    """Yield what a column of the table says of a detector, as it is found."""
    for name, number in detector_costs(world, detector).items():
        yield name, f"{number:,.0f}" if number >= 100 else f"{number:.3g}"
    for kind, share in false_alarms(world, detector, streams).items():
        yield f"false alarms, {kind}", f"{share:.1%}"
    again = [Drift("iid, normalized again", normalized)] if world.normal else []
    for name, share in power(world, detector, windows, lambda: again).items():
        yield f"false alarms, {name}", f"{share:.0%}"
    for made in (world.drifts, world.subtle):
        for name, share in power(world, detector, windows, made).items():
            yield f"power, {name}", f"{share:.0%}"


def side_by_side(world: World, detectors: list[Detector], streams: int, windows: int) -> None:
    """Print what is found of each detector, and a Markdown table of all."""
    columns: dict[str, dict[str, str]] = {}
    for detector in detectors:
        column = columns.setdefault(detector.name, {})
        for name, value in findings(world, detector, streams, windows):
            column[name] = value
            print(f"{detector.name}: {name}: {value}", flush=True)
    print(f"\n| | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
    for name in dict.fromkeys(name for column in columns.values() for name in column):
        print(f"| {name} | {' | '.join(column.get(name, '') for column in columns.values())} |")


def detectors_of(names: str, world: World) -> list[Detector]:
    """Make detectors by their names, with commas between them."""
    known = {Waterfill.name: lambda: Waterfill(world.codec)} | ESTABLISHED
    unknown = [name for name in names.split(",") if name not in known]
    if unknown:
        raise SystemExit(f"--detectors: {unknown[0]!r} is none of {', '.join(known)}")
    return [known[name]() for name in names.split(",")]


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
    parser.add_argument("--detectors", help="side by side, as waterfill,ks,mmd,alibi-ks,alibi-mmd")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    world = world_of(given.data, given.seed)
    if given.detectors:
        wf.set_num_threads(1)
        side_by_side(world, detectors_of(given.detectors, world), given.streams, given.drifts)
        return
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
