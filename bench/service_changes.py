"""Changes by HTTP of an index in a folder, for each ``--sync``, and searches beside them.

Clients upsert vectors on connections of their own, as fast as they are answered; one more client
searches. Prints vectors per second, and the latencies of both. What a sync costs depends on the
disk of ``--directory``, so the first line is the time of ``fdatasync`` alone.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from service_clients import JSON, connect, service

import waterfill as wf


def timed(port: int, path: str, bodies: list[bytes], end: float) -> list[float]:
    """Send requests one after the other until a time; return their latencies."""
    connection, found = connect(port), []
    while (start := time.perf_counter()) < end:
        connection.request("POST", path, bodies[len(found) % len(bodies)], JSON)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200, answer.status
        found.append(time.perf_counter() - start)
    connection.close()
    return found


def upserts(rng: np.random.Generator, d: int, n: int, client: int) -> list[bytes]:
    """Return bodies that replace the same vectors over and over."""
    return [
        json.dumps(
            {
                "ids": [client * 10**6 + each * n + i for i in range(n)],
                "vectors": rng.standard_normal((n, d)).astype(np.float32).tolist(),
            }
        ).encode()
        for each in range(20)
    ]


def measure(port: int, arguments: argparse.Namespace, clients: int, n: int) -> str:
    """Let clients change the folder while one searches; return a line about both."""
    rng = np.random.default_rng(clients)
    query = json.dumps({"vector": rng.standard_normal(arguments.d).tolist(), "k": 10}).encode()
    changes = [upserts(rng, arguments.d, n, client) for client in range(clients)]
    end, results = time.perf_counter() + arguments.seconds, {}

    def run(name: Any, *call: Any) -> None:
        results[name] = timed(port, *call, end)

    calls = [(client, "/upsert", bodies) for client, bodies in enumerate(changes)]
    threads = [
        threading.Thread(target=run, args=call) for call in (*calls, ("s", "/search", [query]))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    searches = results.pop("s")
    latencies = [each for found in results.values() for each in found]
    rate = len(latencies) * n / arguments.seconds
    return f"{rate:8,.0f} vectors/s, upsert {shown(latencies)}, search {shown(searches)}"


def shown(seconds: list[float]) -> str:
    """Return p50 and p99 in milliseconds."""
    p50, p99 = np.percentile(seconds, [50, 99]) * 1000
    return f"{p50:.1f} / {p99:.1f} ms"


def sync_seconds(directory: str) -> float:
    """Return the median time to sync a small write."""
    found = []
    with tempfile.TemporaryFile(dir=directory) as file:
        for _ in range(100):
            start = time.perf_counter()
            os.pwrite(file.fileno(), bytes(500), len(found) * 500)
            os.fdatasync(file.fileno())
            found.append(time.perf_counter() - start)
    return float(np.median(found))


def main() -> None:
    """Serve a folder of random vectors with each sync mode, and measure."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--d", type=int, default=384)
    parser.add_argument("--bytes", type=int, default=48)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--directory", default=None, help="on the disk to measure")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.directory) as directory:
        print(f"fdatasync: {sync_seconds(directory) * 1000:.2f} ms")
        base = np.random.default_rng(0).standard_normal((arguments.rows, arguments.d), np.float32)
        codec = wf.Recipe(arguments.d, arguments.bytes, effort="fast").train(base[:5000], "ip")
        path = Path(directory) / "base.wfx"
        with wf.open_index(path, "w", codec=codec, sync="none") as index:
            index.add(base)
        for sync in ("commit", "interval", "none"):
            with service(path, ["--sync", sync]) as port:
                for clients, n in ((1, 1), (8, 1), (1, 100)):
                    line = measure(port, arguments, clients, n)
                    print(f"{sync:9} {clients} clients, {n:3} a request: {line}", flush=True)


if __name__ == "__main__":
    main()
