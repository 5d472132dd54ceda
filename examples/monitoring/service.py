"""A demo service: searched by its own threads, refusing some, drifting and swapping.

python examples/monitoring/service.py [port]

With PROMETHEUS_MULTIPROC_DIR, an empty folder, it publishes its metrics there and answers with what
is merged of all workers, as a service of several does.
"""

from __future__ import annotations

import os
import random
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn

import waterfill as wf
from waterfill.metrics.prometheus import expose

DATA = Path(__file__).parents[2] / "tests" / "samples"
base, queries = (np.load(DATA / f"{name}.npy").astype(np.float32) for name in ("base", "query"))

index = wf.IndexFlat(wf.Recipe(384, code_bytes=24).train(base[:2000], "ip"))
index.add(base)
live = wf.SwapIndex(index)
cache = wf.CachedSearch(live, max_entries=100)
batcher = wf.Batcher(live)
limiter = wf.Limiter(3, name="retrieval", shares={"batch": 0.7})
monitor = wf.DriftMonitor.from_codec(
    index.codec, base[2000:3400], canary=wf.drift.Canary(queries, base[2000:3400])
)
metrics = wf.Metrics(
    limiters=limiter, indexes=live, monitors=monitor, batchers=batcher, caches=cache
)


def search(seed: int) -> None:
    """Search at random times, forever."""
    rng = random.Random(seed)
    while True:
        time.sleep(rng.expovariate(10))
        permit = limiter.try_acquire(priority=rng.choice(["default", "batch"]))
        if permit is not None:
            with permit:
                query = queries[rng.randrange(len(queries))][None]
                rng.choice([cache, batcher]).search(query, 10)
                time.sleep(rng.expovariate(50))


def look() -> None:
    """Let vectors drift more and more, report, retrain and swap."""
    for day in range(1_000_000):
        monitor.update(base[3400:] * np.float32(1 + 0.02 * day))
        monitor.report(wf.drift.Canary(queries, base[3400:]))
        monitor.reset()
        live.swap(wf.retrain(live.index, base[:2000], vectors=base))
        time.sleep(20)


def merged() -> tuple[bytes, str]:
    """Return the metrics of all workers."""
    from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
    from prometheus_client.multiprocess import MultiProcessCollector

    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry), CONTENT_TYPE_LATEST


def scrape() -> tuple[bytes, str]:
    """Return the metrics, of this process or of all."""
    return merged() if "PROMETHEUS_MULTIPROC_DIR" in os.environ else expose(metrics)


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answer every request with the metrics."""
    if scope["type"] == "http":
        text, content_type = scrape()
        own = [(b"content-type", content_type.encode())]
        await send({"type": "http.response.start", "status": 200, "headers": own})
        await send({"type": "http.response.body", "body": text})


if __name__ == "__main__":
    for task, arguments in [(look, ()), *((search, (seed,)) for seed in range(16))]:
        threading.Thread(target=task, args=arguments, daemon=True).start()
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        from waterfill.metrics.multiprocess import Publisher

        Publisher(metrics).start()
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", lifespan="off")
