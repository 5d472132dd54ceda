"""The dashboard in Grafana's own schema, and its queries in a real Prometheus."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
from support.concurrency import until
from support.server_process import serving
from support.store_checks import load

import waterfill as wf

EXAMPLE = Path(__file__).parents[2] / "examples" / "monitoring"
pytestmark = pytest.mark.skipif(not EXAMPLE.exists(), reason="an installed package has no examples")

# What Grafana reads and its schema does not name: how Prometheus's annotations are titled and
# spaced, and the text of a variable's query.
UNNAMED = {"titleFormat", "step", "definition"}
# Panels of what `waterfill serve` has: no monitor, batcher or merged workers.
OF_THE_SERVICE = {
    "Requests by outcome",
    "Share that is refused",
    "In flight, and the limit",
    "Latency of the admitted",
    "Latency, all of it",
    "Generation",
    "Contents in use",
    "Vectors and memory",
}


def dashboard():
    return json.loads((EXAMPLE / "dashboard.json").read_text())


def lost(given, kept, path=()):
    """The places of values that are not in `kept`."""
    if isinstance(given, dict):
        for name, value in given.items():
            there = isinstance(kept, dict) and name in kept
            yield from lost(value, kept[name], (*path, name)) if there else [(*path, name)]
    elif isinstance(given, list) and isinstance(kept, list) and len(given) == len(kept):
        for number, pair in enumerate(zip(given, kept, strict=True)):
            yield from lost(*pair, (*path, number))
    elif given != kept:
        yield path


def as_grafana_reads(given):
    (dashboards, encoder, plugins) = load(
        "grafana_foundation_sdk.models.dashboard",
        "grafana_foundation_sdk.cog.encoder",
        "grafana_foundation_sdk.cog.plugins",
    )
    plugins.register_default_plugins()
    return json.loads(encoder.JSONEncoder().encode(dashboards.Dashboard.from_json(given)))


def test_grafanas_schema_has_every_field():
    given = dashboard()
    assert {path[-1] for path in lost(given, as_grafana_reads(given))} == UNNAMED


def test_grafanas_schema_would_show_a_wrong_field():
    given = dashboard()
    given["panels"][1]["fieldConfig"]["defaults"]["custom"]["fillOpacitty"] = 30
    given["panels"][1]["targets"][0]["legend"] = "?"
    missing = {path[-1] for path in lost(given, as_grafana_reads(given))}
    assert missing == UNNAMED | {"fillOpacitty", "legend"}


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@contextlib.contextmanager
def running(*command, **options):
    child = subprocess.Popen(
        [*map(str, command)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options
    )
    try:
        yield child
    finally:
        child.kill()
        child.wait()


@contextlib.contextmanager
def scraped(target, folder):
    """A function that asks a Prometheus, which scrapes a port, for the values of a query."""
    port = free_port()
    (folder / "prometheus.yml").write_text(
        "global: {scrape_interval: 1s}\n"
        "scrape_configs:\n"
        f"  - {{job_name: search, static_configs: [{{targets: ['127.0.0.1:{target}']}}]}}\n"
    )
    command = [
        "prometheus",
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]

    def ask(query):
        for name, value in (("$job", ".*"), ("$limiter", ".*"), ("$__rate_interval", "5m")):
            query = query.replace(name, value)
        asked = urllib.parse.urlencode({"query": query})
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/query?{asked}") as answer:
            return json.load(answer)["data"]["result"]

    def scrapes():
        with contextlib.suppress(OSError):
            return float(ask("count_over_time(up[5m])")[0]["value"][1]) if ask("up == 1") else 0
        return 0

    with running(*command):
        until(lambda: scrapes() >= 3)
        yield ask


def unanswered(ask, titles=None):
    return [
        (panel["title"], target["expr"])
        for panel in dashboard()["panels"]
        if titles is None or panel["title"] in titles
        for target in panel.get("targets", ())
        if not ask(target["expr"])
    ]


needs_prometheus = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="prometheus is not here"
)


@needs_prometheus
@pytest.mark.slow
def test_every_query_has_an_answer_from_the_example(tmp_path):
    pytest.importorskip("uvicorn")
    pytest.importorskip("prometheus_client")
    shared, port = tmp_path / "shared", free_port()
    shared.mkdir()
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(shared)}
    service = [sys.executable, EXAMPLE / "service.py", port]
    with running(*service, env=environment) as child, scraped(port, tmp_path) as ask:
        assert child.poll() is None
        until(lambda: not unanswered(ask))
        swapped = [one["expr"] for one in dashboard()["annotations"]["list"]]
        until(lambda: all(ask(one) for one in swapped))


@needs_prometheus
def test_queries_have_answers_from_the_service(tmp_path, flat, queries_64):
    pytest.importorskip("uvicorn")
    wf.write_index(flat, tmp_path / "one.wf")
    with serving(tmp_path / "one.wf") as service, scraped(service.port, tmp_path) as ask:
        body = json.dumps({"vectors": queries_64[:2].tolist(), "k": 3}).encode()
        request = urllib.request.Request(
            f"{service.url}/search", body, {"content-type": "application/json"}
        )
        with urllib.request.urlopen(request) as answer:
            assert answer.status == 200
        until(lambda: not unanswered(ask, OF_THE_SERVICE))
