"""A search service under 3 and 10 times the load that it can take, with a limiter and without.

``python bench/overload.py --base base.npy --queries query.npy --out overload.json``: a service in
one process, real sockets, and clients in another, who come by chance, send each request once and
give up after two seconds. Prints a table; ``overload_plot.py`` draws the file.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
from load_generator import BROKEN, REFUSED_CONNECTION, TIMED_OUT, Outcome, Plan, sent
from results import write_json
from service_process import served

import waterfill as wf

SERVICE = Path(__file__).with_name("overload_service.py")
TIMEOUT = 2.0
CLIENTS = (1, 2, 3, 4, 6, 8, 12, 16)
NEAR = 0.95  # of the best rate: what counts as the knee
TURNS = 5
TURN = 5.0  # seconds


@dataclass(frozen=True)
class Setting:
    """What is served.

    Attributes
    ----------
    index, bodies : str
        Files.
    k, threads : int
    core : int or None
        That searching threads run on, while all else runs on the others.
    """

    index: str
    bodies: str
    k: int
    threads: int
    core: int | None

    def settled(self) -> tuple[object, ...]:
        """Return what tells the service its core."""
        return () if self.core is None else ("--core", self.core)


@dataclass(frozen=True)
class Run:
    """One load for some time.

    Attributes
    ----------
    way : str
        ``limiter``, ``none`` or ``uvicorn``, whose own limit counts connections.
    factor : float
        Offered load by capacity; 0 for a closed loop.
    seconds, offered, goodput, refused : float
        The last three a second. Good are answers that came before their client gave up.
    timed_out, no_connection, broken, failed : int
        Requests: `failed` have an answer that is neither 200 nor 503 with Retry-After.
    median, p99 : float
        Seconds from when a request was due until its answer; of good ones.
    late : float
        99th percentile of the seconds that the generator was late.
    capacity, p99_at_limit : float
        Of closed loops just before and just after, with as many clients as the limit. Their mean.
    load : float
        Of the machine, all of its programs together, at the beginning.
    by_second : list of tuple
        Offered, good, refused.
    """

    way: str
    factor: float
    seconds: float
    offered: float
    goodput: float
    refused: float
    timed_out: int
    no_connection: int
    broken: int
    failed: int
    median: float
    p99: float
    late: float
    load: float
    capacity: float = 0.0
    p99_at_limit: float = 0.0
    by_second: tuple[tuple[int, int, int], ...] = ()

    @property
    def errors(self) -> float:
        """What is neither an answer nor a clean refusal, as a part of all requests."""
        wrong = self.timed_out + self.no_connection + self.broken + self.failed
        return wrong / max(self.offered * self.seconds, 1)


def run(port: int, plan: Plan, way: str, factor: float = 0.0) -> Run:
    """Send a plan and sum up what became of it."""
    load = os.getloadavg()[0]
    return summed(sent(replace(plan, port=port)), plan.seconds, way, factor, load)


def summed(outcome: Outcome, seconds: float, way: str, factor: float, load: float) -> Run:
    """Return a run's figures."""
    status, good = outcome.status, outcome.status == 200
    ended = outcome.intended + outcome.took
    within = good & (ended < seconds)  # what was under way at the end is of no second
    median, p99 = np.percentile(outcome.took[good], [50, 99]) if good.any() else (0.0, 0.0)
    edges = np.arange(int(seconds) + 1)
    counts = [
        np.histogram(moments, edges)[0].tolist()
        for moments in (outcome.intended, ended[good], ended[status == 503])
    ]
    known = (200, 503, TIMED_OUT, REFUSED_CONNECTION, BROKEN)
    return Run(
        way,
        factor,
        seconds,
        len(status) / seconds,
        int(within.sum()) / seconds,
        int((status == 503).sum()) / seconds,
        int((status == TIMED_OUT).sum()),
        int((status == REFUSED_CONNECTION).sum()),
        int((status == BROKEN).sum()),
        int((~np.isin(status, known)).sum()),
        float(median),
        float(p99),
        float(np.percentile(outcome.late, 99)),
        load,
        by_second=tuple(zip(*counts, strict=True)),
    )


@contextmanager
def service(setting: Setting, way: str, limit: int) -> Iterator[int]:
    """Serve in one of the ways; give the port."""
    own = {"limiter": ("--limit", limit), "uvicorn": ("--connections", limit), "none": ()}[way]
    fixed = (setting.index, "--k", setting.k, "--threads", setting.threads, *setting.settled())
    with served(SERVICE, *fixed, *own) as port:
        yield port


def knee(setting: Setting, seconds: float) -> tuple[int, dict[int, tuple[float, float]]]:
    """Find how many clients at once keep the service busy.

    Short turns, so that whatever else slows the machine slows all of them. Also returns, of each
    number of clients, answers a second and the 99th percentile of their seconds: medians.
    """
    turns: dict[int, list[tuple[float, float]]] = {clients: [] for clients in CLIENTS}
    with service(setting, "none", 0) as port:
        closed = Plan(port, "/search", setting.bodies, seconds)
        run(port, closed, "none")
        for _ in range(TURNS):
            for clients in CLIENTS:
                one = run(port, replace(closed, clients=clients), "none")
                turns[clients].append((one.goodput, one.p99))
    found = {clients: tuple(np.median(each, axis=0).tolist()) for clients, each in turns.items()}
    for clients, (rate, p99) in found.items():
        print(f"{clients:3} clients  {rate:6.1f}/s  p99 {1e3 * p99:6.1f} ms", flush=True)
    best = max(rate for rate, _ in found.values())
    return min(c for c, (rate, _) in found.items() if rate >= NEAR * best), found


def overloaded(
    setting: Setting, way: str, limit: int, factor: float, seconds: float, seed: int
) -> Run:
    """Measure the capacity, overload, and measure the capacity again."""
    before = at_limit(setting, limit, seconds / 4)
    rate = factor * before.goodput
    with service(setting, way, limit) as port:
        plan = Plan(port, "/search", setting.bodies, seconds, rate=rate, timeout=TIMEOUT, seed=seed)
        run(port, replace(plan, rate=0.0, seconds=1.0), way)
        done = run(port, plan, way, factor)
    after = at_limit(setting, limit, seconds / 4)
    done = replace(
        done,
        capacity=(before.goodput + after.goodput) / 2,
        p99_at_limit=(before.p99 + after.p99) / 2,
    )
    say(f"{way}, {factor:g} x", done)
    return done


def at_limit(setting: Setting, limit: int, seconds: float) -> Run:
    """Measure what is answered, and how fast, while as many are admitted as may be."""
    with service(setting, "limiter", limit) as port:
        closed = Plan(port, "/search", setting.bodies, seconds, clients=limit)
        run(port, replace(closed, seconds=1.0), "limiter")
        found = run(port, closed, "limiter")
    say(f"at the limit, {limit}", found)
    return found


def kept(setting: Setting, limit: int, factor: float, turns: int) -> list[tuple[float, float]]:
    """Measure goodput at the limit and in overload in short turns of one service.

    For machines that others use too, where capacity changes within a minute.
    """
    found = []
    with service(setting, "limiter", limit) as port:
        closed = Plan(port, "/search", setting.bodies, 1.0, clients=limit, timeout=TIMEOUT)
        rate = run(port, closed, "limiter").goodput
        for turn in range(turns):
            plan = replace(closed, seconds=TURN, seed=turn)
            free = run(port, plan, "limiter").goodput
            load = run(port, replace(plan, rate=factor * (free or rate)), "limiter", factor)
            found.append((free, load.goodput))
    free, busy = np.sum(found, axis=0)
    print(
        f"{turns} turns at {factor:g} x: {busy / free:.3f} of the goodput at the limit", flush=True
    )
    return found


def say(what: str, found: Run) -> None:
    """Print a line of figures."""
    print(
        f"{what:20} offered {found.offered:7.1f}/s  good {found.goodput:6.1f}/s  "
        f"refused {found.refused:7.1f}/s  errors {100 * found.errors:6.2f} %  "
        f"p50 {1e3 * found.median:6.1f} ms  p99 {1e3 * found.p99:6.1f} ms "
        f"(at the limit {1e3 * found.p99_at_limit:6.1f})  of capacity "
        f"{found.goodput / (found.capacity or found.goodput or 1):5.3f}  "
        f"late {1e3 * found.late:4.1f} ms  load {found.load:.1f}",
        flush=True,
    )


def prepared(args: argparse.Namespace, folder: Path) -> Setting:
    """Write the index and the bodies of requests."""
    index = folder / "overload.wf"
    if args.index:
        index = Path(args.index)
    else:
        base = np.load(args.base, mmap_mode="r")
        made = wf.IndexFlat(wf.Recipe(base.shape[1], 48).train(base[:60_000], "l2"))
        made.add(base)
        wf.write_index(made, index)
    queries = np.load(args.queries).astype(np.float32)
    rows = len(queries) - len(queries) % args.batch
    np.save(folder / "bodies.npy", queries[:rows].reshape(-1, args.batch * queries.shape[1]))
    return Setting(str(index), str(folder / "bodies.npy"), args.k, args.threads, args.core)


def main() -> None:
    """Measure, and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", default="tests/samples/base.npy")
    parser.add_argument("--queries", default="tests/samples/query.npy")
    parser.add_argument("--index", help="a file to serve, instead of --base")
    parser.add_argument("--batch", type=int, default=16, help="queries of a request")
    parser.add_argument("--k", type=int, default=100)
    parser.add_argument("--threads", type=int, default=1, help="that search")
    parser.add_argument("--limit", type=int, help="instead of twice the knee")
    parser.add_argument("--core", type=int, help="that searches run on, and nothing else of this")
    parser.add_argument("--factors", type=float, nargs="+", default=[3, 10])
    parser.add_argument("--ways", nargs="+", default=["limiter", "none"])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--turns", type=int, default=12, help="of 10 s, goodput measured in pairs")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    if args.core is not None:  # its threads and processes begin where this one is
        os.sched_setaffinity(0, os.sched_getaffinity(0) - {args.core})
    with tempfile.TemporaryDirectory() as folder:
        setting = prepared(args, Path(folder))
        least, sweep = knee(setting, args.seconds / 40)
        limit = args.limit or 2 * least
        found = {
            "python": sys.version.split()[0],
            "knee": least,
            "limit": limit,
            "core": args.core,
            "timeout": TIMEOUT,
            "sweep": sweep,
        }
        runs = []
        for seed, factor, way in product(range(args.rounds), args.factors, args.ways):
            done = overloaded(setting, way, limit, factor, args.seconds, seed)
            runs.append(asdict(done) | {"errors": done.errors})
            write_json(args.out, found | {"runs": runs})
        turns = {
            factor: kept(setting, limit, factor, args.turns)
            for factor in args.factors
            if args.turns
        }
        write_json(args.out, found | {"runs": runs, "turns": turns})


if __name__ == "__main__":
    main()
