"""False alarms, power, attribution and cost of drift detection on streams of real vectors.

    python bench/drift.py --streams 1000 --drifts 200
    python bench/drift.py --detectors waterfill,ks,mmd --streams 200

Every detector learns a baseline of 3,000 rows and tests windows of 500 at alpha 1 %. The first half
of the rows trains the codec, the second half provides the streams. A new topic is a k-means cluster
excluded from both.
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
_TIMED = 9  # timings per median
_CLUSTERS = 40


class World:
    """One data set: its codec, its traffic, a held-out topic and rows of another model."""

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
        """Reset the random state for a part of the benchmark: all detectors see the same rows."""
        self.rng = self.traffic.rng = np.random.default_rng((self.seed, part))

    def drifts(self) -> list[Drift]:
        """Draw random drifts."""
        basis = self.codec.plan.basis
        return drifts(self.traffic.pool, basis, self.topic, self.foreign, self.rng)

    def subtle(self) -> list[Drift]:
        """Draw random drifts that are hard to detect."""
        return subtle(self.traffic.pool, self.codec.plan.basis, self.topic, self.rng)


class Waterfill:
    """waterfill's monitor behind the interface of a detector."""

    name = "waterfill"

    def __init__(self, codec: wf.Codec, errors: bool = True) -> None:
        self._codec, self._errors = codec, errors

    def learn(self, window: Window) -> None:
        """Learn the baseline."""
        self._monitor = DriftMonitor.from_codec(self._codec, errors=self._errors)
        self._monitor.update(*window)
        if self._monitor.learning:
            raise ValueError(
                f"window: a baseline of {len(window[0])} rows is too small; use more rows"
            )
        self.nbytes = self._monitor.nbytes

    def report(self, window: Window) -> DriftReport:
        """Test a window as if it were the first; return the report."""
        self.update(window)
        return self._monitor.report()

    def update(self, window: Window) -> None:
        """Update the monitor with a window as if it were the first."""
        self._monitor.reset()
        self._monitor._data.looks = 0
        self._monitor.update(*window)

    def alarms(self, window: Window) -> bool:
        """Return whether the monitor reports drift."""
        return self.report(window).drift


def false_alarms(world: World, detector: Detector, streams: int) -> dict[str, float]:
    """Return the share of streams without drift that raise an alarm, by kind of traffic."""
    rates = {}
    for part, kind in enumerate(KINDS):
        world.rewind(part)
        alarms = 0
        for i in range(streams):
            if i % _PER_REFERENCE == 0:
                world.traffic.shuffle()
                detector.learn(world.traffic.reference(kind, _REFERENCE))
            alarms += detector.alarms(world.traffic.window(kind, _WINDOW))
        rates[kind] = alarms / max(streams, 1)
    return rates


def power(
    world: World, detector: Detector, windows: int, draw: Callable[[], list[Drift]] | None = None
) -> dict[str, float]:
    """Return the share of drifted windows that raise an alarm, by drift."""
    draw = draw or world.drifts
    alarms: Counter[str] = Counter()
    world.rewind(len(KINDS))
    for i in range(windows):
        if i % _PER_REFERENCE == 0:
            world.traffic.shuffle()
            detector.learn(world.traffic.reference("iid", _REFERENCE))
        rows, blocks = world.traffic.window("iid", _WINDOW)
        for drift in draw():
            alarms[drift.name] += detector.alarms((drift.change(rows, world.rng), blocks))
    return {name: alarms[name] / windows for name in alarms}


def attribution(world: World, windows: int) -> dict[str, tuple[int, int]]:
    """Count the alarms, and those whose report names the true cause first, by drift."""
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
    """Return the median microseconds per vector of `update` in calls of 500."""
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
    """Return the median CPU time of a step in milliseconds."""
    times = []
    for _ in range(_TIMED):
        start = time.process_time()
        step()
        times.append(time.process_time() - start)
    return 1e3 * float(np.median(times))


def detector_costs(world: World, detector: Detector) -> dict[str, float]:
    """Return the milliseconds of learning and of testing a window, and the bytes of the state."""
    world.rewind(len(KINDS) + 1)
    reference = world.traffic.reference("iid", _REFERENCE)
    window = world.traffic.window("iid", _WINDOW)
    costs = {
        "learn, ms": milliseconds(lambda: detector.learn(reference)),
        "window, ms": milliseconds(lambda: detector.alarms(window)),
    }
    if isinstance(detector, Waterfill):
        costs["of it update, ms"] = milliseconds(lambda: detector.update(window))
        costs["of it report, ms"] = costs["window, ms"] - costs["of it update, ms"]
    costs["vector, us"] = 1e3 * costs["window, ms"] / _WINDOW
    return costs | {"state, bytes": float(detector.nbytes)}


def findings(
    world: World, detector: Detector, streams: int, windows: int
) -> Iterator[tuple[str, str]]:
    """Yield the cells of a detector's column as they are measured."""
    for name, number in detector_costs(world, detector).items():
        yield name, f"{number:,.0f}" if number >= 100 else f"{number:.3g}"
    for kind, share in false_alarms(world, detector, streams).items():
        yield f"false alarms, {kind}", f"{share:.1%}"
    harmless = [Drift("iid, normalized again", normalized)] if world.normal else []
    for name, share in power(world, detector, windows, lambda: harmless).items():
        yield f"false alarms, {name}", f"{share:.0%}"
    for draw in (world.drifts, world.subtle):
        for name, share in power(world, detector, windows, draw).items():
            yield f"power, {name}", f"{share:.0%}"


def side_by_side(world: World, detectors: list[Detector], streams: int, windows: int) -> None:
    """Print the results of each detector and a Markdown table of all."""
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
    """Create detectors from their comma-separated names."""
    known = {Waterfill.name: lambda: Waterfill(world.codec)} | ESTABLISHED
    unknown = [name for name in names.split(",") if name not in known]
    if unknown:
        raise SystemExit(f"--detectors: unknown {unknown[0]!r}; known: {', '.join(known)}")
    return [known[name]() for name in names.split(",")]


def world_of(name: str, seed: int) -> World:
    """Load a data set, with rows of another model (or rotated rows) of the same dimensions."""
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
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="minilm-wordnet-384")
    parser.add_argument("--streams", type=int, default=100, help="streams without drift per kind")
    parser.add_argument("--drifts", type=int, default=50, help="windows per drift")
    parser.add_argument(
        "--detectors", help="detectors to compare: waterfill,ks,mmd,alibi-ks,alibi-mmd"
    )
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    world = world_of(args.data, args.seed)
    if args.detectors:
        wf.set_num_threads(1)
        side_by_side(world, detectors_of(args.detectors, world), args.streams, args.drifts)
        return
    detector = Waterfill(world.codec)
    print(
        f"{args.data}: {cost(world, False):.1f} us per vector, {cost(world, True):.1f} with errors"
    )
    for kind, share in false_alarms(world, detector, args.streams).items():
        print(f"false alarms, {kind}: {share:.2%} of {args.streams}", flush=True)
    for name, share in power(world, detector, args.drifts).items():
        print(f"power, {name}: {share:.1%} of {args.drifts}", flush=True)
    for name, (named, alarmed) in attribution(world, args.drifts).items():
        print(f"named first, {name}: {named} of {alarmed} alarms", flush=True)


if __name__ == "__main__":
    main()
