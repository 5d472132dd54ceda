"""A search service at 3 and 10 times its capacity, with a limiter and without.

``python bench/overload.py --base base.npy --queries query.npy --out overload.json`` runs a service
in one process and its clients in another, over real sockets. Requests arrive at random (Poisson),
are sent once and time out after two seconds. It prints figures; ``overload_plot.py`` plots the
file.
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
from load_generator import BROKEN, REFUSED_CONNECTION, TIMED_OUT, Outcome, Plan, send_plan
from results import write_json
from service_process import served

import waterfill as wf

SERVICE = Path(__file__).with_name("overload_service.py")
TIMEOUT = 2.0
CLIENTS = (1, 2, 3, 4, 6, 8, 12, 16)
NEAR = 0.95  # share of the best rate that defines the knee
TURNS = 5
TURN = 5.0  # seconds


@dataclass(frozen=True)
class Setting:
    """The configuration of the service.

    Attributes
    ----------
    index, bodies : str
        Paths of the index file and of the request bodies.
    k, threads : int
    core : int or None
        Core reserved for the search threads; everything else runs on the others.
    """

    index: str
    bodies: str
    k: int
    threads: int
    core: int | None

    def core_option(self) -> tuple[object, ...]:
        """Return the command-line option that sets the core of the service."""
        return () if self.core is None else ("--core", self.core)


@dataclass(frozen=True)
class Run:
    """The results of one load.

    Attributes
    ----------
    way : str
        ``limiter``, ``none`` or ``uvicorn`` (its own limit, which counts connections).
    factor : float
        Offered load divided by capacity; 0 for a closed loop.
    seconds, offered, goodput, refused : float
        The last three per second. Goodput counts responses before the client's timeout.
    timed_out, no_connection, broken, failed : int
        Numbers of requests; `failed` got a response other than 200 or 503 with Retry-After.
    median, p99 : float
        Seconds from the due time of a request to its response; successful requests only.
    late : float
        99th percentile of the generator's delay in seconds.
    capacity, p99_at_limit : float
        Mean of closed loops before and after the run, with as many clients as the limit.
    load : float
        Load average of the machine at the start.
    by_second : list of tuple
        Offered, successful and refused requests.
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
        """Share of requests that got neither a result nor a clean refusal."""
        errors = self.timed_out + self.no_connection + self.broken + self.failed
        return errors / max(self.offered * self.seconds, 1)


def run(port: int, plan: Plan, way: str, factor: float = 0.0) -> Run:
    """Send a plan and summarize its outcome."""
    load = os.getloadavg()[0]
    return summarize(send_plan(replace(plan, port=port)), plan.seconds, way, factor, load)


def summarize(outcome: Outcome, seconds: float, way: str, factor: float, load: float) -> Run:
    """Return the figures of a run."""
    status, good = outcome.status, outcome.status == 200
    ended = outcome.intended + outcome.took
    within = good & (ended < seconds)  # requests in flight at the end belong to no second
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
    """Run the service in one of the ways; yield the port."""
    limit_option = {"limiter": ("--limit", limit), "uvicorn": ("--connections", limit), "none": ()}[
        way
    ]
    fixed = (setting.index, "--k", setting.k, "--threads", setting.threads, *setting.core_option())
    with served(SERVICE, *fixed, *limit_option) as port:
        yield port


def knee(setting: Setting, seconds: float) -> tuple[int, dict[int, tuple[float, float]]]:
    """Find the number of concurrent clients that saturates the service.

    Turns are short so that other load on the machine affects all client counts alike. Also returns
    the median goodput and 99th-percentile latency of each number of clients.
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
    """Measure an overload, and the capacity before and after it."""
    before = at_limit(setting, limit, seconds / 4)
    rate = factor * before.goodput
    with service(setting, way, limit) as port:
        plan = Plan(port, "/search", setting.bodies, seconds, rate=rate, timeout=TIMEOUT, seed=seed)
        run(port, replace(plan, rate=0.0, seconds=1.0), way)
        result = run(port, plan, way, factor)
    after = at_limit(setting, limit, seconds / 4)
    result = replace(
        result,
        capacity=(before.goodput + after.goodput) / 2,
        p99_at_limit=(before.p99 + after.p99) / 2,
    )
    print_run(f"{way}, {factor:g} x", result)
    return result


def at_limit(setting: Setting, limit: int, seconds: float) -> Run:
    """Measure goodput and latency with as many clients as the limit."""
    with service(setting, "limiter", limit) as port:
        closed = Plan(port, "/search", setting.bodies, seconds, clients=limit)
        run(port, replace(closed, seconds=1.0), "limiter")
        found = run(port, closed, "limiter")
    print_run(f"at the limit, {limit}", found)
    return found


def measure_turns(
    setting: Setting, limit: int, factor: float, turns: int
) -> list[tuple[float, float]]:
    """Measure goodput at the limit and under overload in alternating short turns.

    For shared machines, whose capacity changes within a minute.
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


def print_run(what: str, found: Run) -> None:
    """Print the figures of a run on one line."""
    print(
        f"{what:20} offered {found.offered:7.1f}/s  good {found.goodput:6.1f}/s  "
        f"refused {found.refused:7.1f}/s  errors {100 * found.errors:6.2f} %  "
        f"p50 {1e3 * found.median:6.1f} ms  p99 {1e3 * found.p99:6.1f} ms "
        f"(at the limit {1e3 * found.p99_at_limit:6.1f})  of capacity "
        f"{found.goodput / (found.capacity or found.goodput or 1):5.3f}  "
        f"late {1e3 * found.late:4.1f} ms  load {found.load:.1f}",
        flush=True,
    )


def prepare(args: argparse.Namespace, folder: Path) -> Setting:
    """Write the index and the request bodies to `folder`."""
    index = folder / "overload.wf"
    if args.index:
        index = Path(args.index)
    else:
        base = np.load(args.base, mmap_mode="r")
        flat = wf.IndexFlat(wf.Recipe(base.shape[1], 48).train(base[:60_000], "l2"))
        flat.add(base)
        wf.write_index(flat, index)
    queries = np.load(args.queries).astype(np.float32)
    rows = len(queries) - len(queries) % args.batch
    np.save(folder / "bodies.npy", queries[:rows].reshape(-1, args.batch * queries.shape[1]))
    return Setting(str(index), str(folder / "bodies.npy"), args.k, args.threads, args.core)


def main() -> None:
    """Run the benchmark and write its results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", default="tests/samples/base.npy")
    parser.add_argument("--queries", default="tests/samples/query.npy")
    parser.add_argument("--index", help="index file to serve instead of building one from --base")
    parser.add_argument("--batch", type=int, default=16, help="queries per request")
    parser.add_argument("--k", type=int, default=100)
    parser.add_argument("--threads", type=int, default=1, help="search threads")
    parser.add_argument("--limit", type=int, help="limit; default: twice the knee")
    parser.add_argument("--core", type=int, help="core reserved for searches")
    parser.add_argument("--factors", type=float, nargs="+", default=[3, 10])
    parser.add_argument("--ways", nargs="+", default=["limiter", "none"])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--turns", type=int, default=12, help="pairs of turns, 10 s each")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    if args.core is not None:  # threads and child processes inherit the affinity
        os.sched_setaffinity(0, os.sched_getaffinity(0) - {args.core})
    with tempfile.TemporaryDirectory() as folder:
        setting = prepare(args, Path(folder))
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
            result = overloaded(setting, way, limit, factor, args.seconds, seed)
            runs.append(asdict(result) | {"errors": result.errors})
            write_json(args.out, found | {"runs": runs})
        turns = {
            factor: measure_turns(setting, limit, factor, args.turns)
            for factor in args.factors
            if args.turns
        }
        write_json(args.out, found | {"runs": runs, "turns": turns})


if __name__ == "__main__":
    main()
