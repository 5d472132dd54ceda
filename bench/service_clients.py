"""The HTTP service with one kept-alive connection, and with slow clients beside honest ones.

``rate`` sends one query a request on one connection and counts responses per second. ``slow`` runs
honest clients at a fixed rate, without and then with slow ones (see `support.slow_clients`), and
prints their failures and latencies, and those of ``/healthz``.
"""

from __future__ import annotations

import argparse
import http.client
import json
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from support.slow_clients import SlowClients

import waterfill as wf

JSON = {"Content-Type": "application/json"}
FLOATS = {"Content-Type": "application/octet-stream; dtype=float32"}
TIMEOUT = 30  # seconds
WARM_UP = 200  # requests


@contextmanager
def service(index: Path, options: list[str]) -> Iterator[int]:
    """Run ``waterfill serve``; yield its port."""
    command = [sys.executable, "-m", "waterfill.cli", "serve", str(index), "--port", "0", *options]
    child = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert child.stderr is not None
        match = re.search(r":(\d+) serves", child.stderr.readline())
        assert match is not None
        while "ready: " not in child.stderr.readline():
            pass
        threading.Thread(target=child.stderr.read, daemon=True).start()  # drains the pipe
        yield int(match[1])
    finally:
        child.kill()
        child.wait()


def connect(port: int) -> http.client.HTTPConnection:
    """Open a connection that sends small requests at once."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    connection.connect()
    connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def rate(port: int, queries: np.ndarray, seconds: float, kind: str) -> None:
    """Print responses per second on one connection, with a bare client that costs little."""
    if kind == "json":
        bodies = [json.dumps({"vector": q.astype(float).tolist(), "k": 10}) for q in queries]
        path, headers, contents = "/search", JSON, [body.encode() for body in bodies]
    else:
        path, headers, contents = "/search?k=10", FLOATS, [q.tobytes() for q in queries]
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    requests = [
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{lines}Content-Length: {len(content)}\r\n\r\n"
        .encode()
        + content
        for content in contents
    ]  # fmt: skip
    connection = connect(port).sock
    times = []
    end = np.inf
    while (start := time.perf_counter()) < end:
        if len(times) == WARM_UP:
            end = start + seconds
        connection.sendall(requests[len(times) % len(requests)])
        response = connection.recv(65536)
        head, _, body = response.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), response
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        while len(body) < length:
            body += connection.recv(65536)
        times.append(time.perf_counter() - start)
    taken = np.array(times[WARM_UP:])
    p50, p99 = np.percentile(taken, (50, 99)) * 1e3
    print(f"{kind}: {len(taken) / taken.sum():,.0f} per second, p50 {p50:.2f} ms, p99 {p99:.2f} ms")


class Honest:
    """Clients that search at a fixed rate on kept-alive connections, and a probe of /healthz."""

    def __init__(self, port: int, queries: np.ndarray, per_second: float) -> None:
        self.port, self.queries, self.pause = port, queries, 1 / per_second
        self.times: dict[str, list[float]] = {"/search?k=10": [], "/healthz": []}
        self.failures: list[str] = []

    def ask(self, path: str, end: float) -> None:
        """Send requests until the end; a connection that is closed is a failure."""
        connection, number = connect(self.port), 0
        while (start := time.perf_counter()) < end:
            query = self.queries[number % len(self.queries)].tobytes()
            method, body = ("GET", b"") if path == "/healthz" else ("POST", query)
            number += 1
            try:
                connection.request(method, path, body, FLOATS)
                response = connection.getresponse()
                text = response.read()
                if response.status != 200:
                    self.failures.append(f"{response.status}: {text[:100]!r}")
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
                connection = connect(self.port)
            self.times[path].append(time.perf_counter() - start)
            time.sleep(max(0.0, self.pause - (time.perf_counter() - start)))

    def run(self, clients: int, seconds: float) -> str:
        """Run the clients; return a line on their failures and latencies."""
        end = time.perf_counter() + seconds
        paths = ["/search?k=10"] * clients + ["/healthz"]
        threads = [threading.Thread(target=self.ask, args=(path, end)) for path in paths]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        parts = []
        for path, times in self.times.items():
            p50, p99, most = np.percentile(times, (50, 99, 100)) * 1e3
            parts.append(f"{path} {len(times):,}, {p50:.1f} / {p99:.1f} / {most:.0f} ms")
        return f"{len(self.failures)} failed {self.failures[:3]}; " + "; ".join(parts)


def slow(port: int, queries: np.ndarray, arguments: argparse.Namespace) -> None:
    """Print what honest clients see without and with slow ones."""
    d = queries.shape[1]
    settings = queries, arguments.per_second
    print("alone:", Honest(port, *settings).run(arguments.honest, arguments.seconds), flush=True)
    crowd = SlowClients(port, arguments.pause, d, (300, 1000))
    with crowd.holding(arguments.slow):
        time.sleep(2)
        print(f"beside {arguments.slow} slow clients:", end=" ")
        print(Honest(port, *settings).run(arguments.honest, arguments.seconds), flush=True)
    for name, opened in crowd.opened.items():
        print(f"  {name}: {opened} connections, {crowd.closed[name]} of them closed by the service")


def main() -> None:
    """Build an index of random vectors, serve it, and measure."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("rate", "slow"))
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--d", type=int, default=384)
    parser.add_argument("--bytes", type=int, default=48)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--honest", type=int, default=4, help="honest clients")
    parser.add_argument("--per-second", type=float, default=20, help="requests of each")
    parser.add_argument("--slow", type=int, default=64, help="slow clients")
    parser.add_argument("--pause", type=float, default=0.2, help="seconds between their bytes")
    parser.add_argument("options", nargs="*", help="options of waterfill serve, after --")
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    scale = np.geomspace(3, 0.3, arguments.d)
    base = (rng.standard_normal((arguments.rows, arguments.d)) * scale).astype(np.float32)
    queries = (rng.standard_normal((500, arguments.d)) * scale).astype("<f4")
    with tempfile.TemporaryDirectory() as folder:
        recipe = wf.Recipe(arguments.d, arguments.bytes, effort="fast")
        index = wf.IndexFlat(recipe.train(base[:5000], "ip"))
        index.add(base)
        wf.write_index(index, Path(folder) / "base.wf")
        del base, index
        with service(Path(folder) / "base.wf", arguments.options) as port:
            if arguments.what == "slow":
                slow(port, queries, arguments)
            else:
                for kind in ("json", "float32"):
                    rate(port, queries, arguments.seconds, kind)


if __name__ == "__main__":
    main()
