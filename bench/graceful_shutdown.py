"""Failed requests during a graceful shutdown of the service, under load and index swaps.

Each round starts ``waterfill serve``, searches it over persistent connections while indexes are
swapped every 50 ms, sends SIGTERM under load, and counts failed requests. The clients behave like a
load balancer: they close a connection after a response with ``Connection: close``, and open no new
one after ``/readyz`` returns 503.
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

FLOATS = {"Content-Type": "application/octet-stream; dtype=float32"}
SAMPLE = Path(__file__).parents[1] / "tests" / "samples"


class Round:
    """One service process and its clients."""

    def __init__(self, folder: Path, queries: np.ndarray, arguments: argparse.Namespace) -> None:
        self.queries, self.arguments = queries, arguments
        self.draining = threading.Event()
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
        match = re.search(r":(\d+) serves", self.child.stderr.readline())
        assert match is not None
        self.port = int(match[1])
        while "ready: " not in self.child.stderr.readline():
            pass
        threading.Thread(target=self.child.stderr.read).start()  # drains the pipe

    def request(
        self, connection: http.client.HTTPConnection, *arguments: Any
    ) -> tuple[int, dict[str, Any], bool]:
        """Send a request; return status, body and whether the server closes the connection."""
        connection.request(*arguments)
        response = connection.getresponse()
        body = json.loads(response.read())
        return response.status, body, response.getheader("connection") == "close"

    def connect(self) -> http.client.HTTPConnection:
        """Open a connection."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def search(self, number: int) -> None:
        """Send one search after the other until the service drains."""
        connection = None
        while connection is not None or not self.draining.is_set():
            connection = connection or self.connect()
            body = self.queries[number % len(self.queries)].tobytes()
            number += 1
            start = time.perf_counter()
            status, result, closes = self.request(connection, "POST", "/search?k=10", body, FLOATS)
            with self.lock:
                self.seconds.append(time.perf_counter() - start)
                if status != 200:
                    self.failed.append(f"{status}: {result}")
                else:
                    self.generations.add(result["generation"])
            if closes or self.draining.is_set():
                connection.close()
                connection = None

    def watch(self) -> None:
        """Poll /readyz until it returns 503."""
        while not self.draining.wait(0.05):
            connection = self.connect()
            if self.request(connection, "GET", "/readyz")[0] == 503:
                self.draining.set()
            connection.close()

    def swap(self) -> None:
        """Swap between two indexes until the service drains."""
        number = 0
        while not self.draining.wait(0.05):
            connection = self.connect()
            body = json.dumps({"file": ("two.wf", "one.wf")[number % 2]})
            headers = {"Content-Type": "application/json"}
            status, result, _ = self.request(connection, "POST", "/swap", body, headers)
            if status != 200:
                self.failed.append(f"swap {status}: {result}")
            connection.close()
            number += 1

    def record_errors(self, call: Callable[..., None], *arguments: Any) -> None:
        """Run a client; record an exception as a failure."""
        try:
            call(*arguments)
        except BaseException as error:
            self.failed.append(repr(error))

    def run(self) -> int:
        """Run until the service has exited; return its exit code."""
        calls = [(self.search, number) for number in range(self.arguments.clients)]
        calls += [(self.watch,), (self.swap,)] if self.arguments.swaps else [(self.watch,)]
        threads = [threading.Thread(target=self.record_errors, args=call) for call in calls]
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
    """Run the rounds and print the failures of each."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=3, help="load before SIGTERM")
    parser.add_argument("--drain", type=float, default=1, help="its --drain-seconds")
    parser.add_argument("--no-swaps", dest="swaps", action="store_false")
    parser.add_argument("--base", type=Path, default=SAMPLE / "base.npy")
    parser.add_argument("--queries", type=Path, default=SAMPLE / "query.npy")
    parser.add_argument("options", nargs="*", help="options of waterfill serve, after --")
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
            p50, p99 = np.percentile(one.seconds, (50, 99)) * 1e3
            print(
                f"round {number + 1}: {len(one.seconds):,} requests, {one.rate:,.0f} per second, "
                f"median {p50:.1f} ms, p99 {p99:.1f} ms, {len(one.generations)} generations, "
                f"{len(one.failed)} failed, exit code {code}",
                *one.failed[:3],
                flush=True,
            )
    print(f"{requests:,} requests, {failures} failed")


if __name__ == "__main__":
    main()
