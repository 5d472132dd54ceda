"""The end of a service: requests that fail while it drains under load and indexes are swapped.

Each round starts ``waterfill serve``, lets clients with connections that stay search it while
indexes are swapped every 50 ms, sends SIGTERM in the middle, and counts what failed. The clients do
what a balancer does: a connection ends with an answer that has ``Connection: close``, and none is
opened once ``/readyz`` says 503.
"""

from __future__ import annotations

import argparse
import http.client
import json
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import waterfill as wf

FLOATS = {"Content-Type": "application/octet-stream"}
SAMPLE = Path(__file__).parents[1] / "tests" / "samples"


class Round:
    """One process, and those who ask it."""

    def __init__(self, folder: Path, queries: np.ndarray, arguments: argparse.Namespace) -> None:
        self.queries, self.arguments = queries, arguments
        self.away = threading.Event()
        self.lock = threading.Lock()
        self.seconds: list[float] = []
        self.failed: list[str] = []
        self.generations: set[int] = set()
        self.child = subprocess.Popen(
            [
                *(sys.executable, "-m", "waterfill.cli", "serve", str(folder / "one.wf")),
                *("--port", "0", "--threads", "1", "--swap-folder", str(folder)),
                *("--limit", str(4 * arguments.clients), "--drain-seconds", str(arguments.drain)),
                *arguments.options,
            ],
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.child.stderr is not None
        found = re.search(r":(\d+) serves", self.child.stderr.readline())
        assert found is not None
        self.port = int(found[1])
        while "ready: " not in self.child.stderr.readline():
            pass
        threading.Thread(target=self.child.stderr.read).start()  # so that it never waits

    def ask(
        self, connection: http.client.HTTPConnection, *request: Any
    ) -> tuple[int, dict[str, Any], bool]:
        """Ask; return status, answer and whether the connection ends."""
        connection.request(*request)
        answer = connection.getresponse()
        found = json.loads(answer.read())
        return answer.status, found, answer.getheader("connection") == "close"

    def connect(self) -> http.client.HTTPConnection:
        """Open a connection."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def search(self, number: int) -> None:
        """Ask for one vector after the other."""
        connection = None
        while connection is not None or not self.away.is_set():
            connection = connection or self.connect()
            body = self.queries[number % len(self.queries)].tobytes()
            number += 1
            start = time.perf_counter()
            status, found, ends = self.ask(connection, "POST", "/search?k=10", body, FLOATS)
            with self.lock:
                self.seconds.append(time.perf_counter() - start)
                if status != 200:
                    self.failed.append(f"{status}: {found}")
                else:
                    self.generations.add(found["generation"])
            if ends or self.away.is_set():
                connection.close()
                connection = None

    def watch(self) -> None:
        """Look at /readyz."""
        while not self.away.wait(0.05):
            connection = self.connect()
            if self.ask(connection, "GET", "/readyz")[0] == 503:
                self.away.set()
            connection.close()

    def swap(self) -> None:
        """Swap two indexes to and fro."""
        number = 0
        while not self.away.wait(0.05):
            connection = self.connect()
            body = json.dumps({"file": ("two.wf", "one.wf")[number % 2]})
            headers = {"Content-Type": "application/json"}
            status, found, _ = self.ask(connection, "POST", "/swap", body, headers)
            if status != 200:
                self.failed.append(f"swap {status}: {found}")
            connection.close()
            number += 1

    def kept(self, call: Callable[..., None], *given: Any) -> None:
        """Count an exception as a failure."""
        try:
            call(*given)
        except BaseException as error:
            self.failed.append(repr(error))

    def run(self) -> int:
        """Run to the end; return the exit code."""
        calls = [(self.search, number) for number in range(self.arguments.clients)]
        calls += [(self.watch,), (self.swap,)] if self.arguments.swaps else [(self.watch,)]
        threads = [threading.Thread(target=self.kept, args=call) for call in calls]
        start = time.perf_counter()
        for thread in threads:
            thread.start()
        time.sleep(self.arguments.seconds)
        self.child.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join()
        self.rate = len(self.seconds) / (time.perf_counter() - start)
        return self.child.wait(120)


def main() -> None:
    """Measure rounds, and say what failed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=3, help="before SIGTERM")
    parser.add_argument("--drain", type=float, default=1)
    parser.add_argument("--no-swaps", dest="swaps", action="store_false")
    parser.add_argument("--base", type=Path, default=SAMPLE / "base.npy")
    parser.add_argument("--queries", type=Path, default=SAMPLE / "query.npy")
    parser.add_argument("options", nargs="*", help="of waterfill serve, after --")
    arguments = parser.parse_args()
    base = np.load(arguments.base).astype(np.float32)
    queries = np.load(arguments.queries).astype("<f4")
    requests = failures = 0
    with tempfile.TemporaryDirectory() as name:
        for seed, file in ((0, "one.wf"), (1, "two.wf")):
            recipe = wf.Recipe(base.shape[1], 48, effort="fast", seed=seed)
            index = wf.IndexFlat(recipe.train(base[:5000], "ip"))
            index.add(base)
            wf.write_index(index, Path(name) / file)
        for number in range(arguments.rounds):
            one = Round(Path(name), queries, arguments)
            code = one.run()
            requests, failures = requests + len(one.seconds), failures + len(one.failed)
            middle, tail = np.percentile(one.seconds, (50, 99)) * 1e3
            print(
                f"round {number + 1}: {len(one.seconds):,} requests, {one.rate:,.0f} a second, "
                f"median {middle:.1f} ms, p99 {tail:.1f} ms, {len(one.generations)} generations, "
                f"{len(one.failed)} failed, exit code {code}",
                *one.failed[:3],
                flush=True,
            )
    print(f"{requests:,} requests, {failures} failed")


if __name__ == "__main__":
    main()
